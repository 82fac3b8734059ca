from __future__ import annotations

import random

import pytest

from extractor.store import FeatureStore, read_inventory, read_run, write_inventory
from extractor.store.disk.sealed import Kind, decode_json, encode_json, is_sound, keep_copy, mend, read_whole
from schemas.errors import StoreError
from schemas.seals import sealed
from tests.extractor.store.making import make_inventory, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def flipped(data: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def test_no_bit_of_a_sealed_document_can_change_unseen():
    data = encode_json({"a": [1, 2.5, None], "é": {"b": "x\n"}}, Kind.RUN)
    assert decode_json(data, Kind.RUN)["a"] == [1, 2.5, None]
    for at in range(len(data)):
        for bit in range(8):
            assert not is_sound(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], Kind.RUN)


def test_one_kind_does_not_pass_for_another(store):
    data = store.failures.read_bytes()
    assert is_sound(data, Kind.FAILURES) and not is_sound(data, Kind.INVENTORY)
    with pytest.raises(ValueError, match="seal does not hold"):
        decode_json(store.run.read_bytes(), Kind.CRASHES)


@pytest.mark.parametrize("name", ["run", "inventory"])
@pytest.mark.parametrize("how", ["flipped", "missing", "emptied", "seal taken out"])
def test_copy_is_read_and_put_back_in_the_place_of_a_damaged_file(store, name, how):
    path = getattr(store, name)
    sound, run, inventory = path.read_bytes(), read_run(store), read_inventory(store)
    for seed in range(20 if how == "flipped" else 1):
        if how == "flipped":
            path.write_bytes(flipped(sound, seed))
        elif how == "missing":
            path.unlink()
        else:
            path.write_bytes(
                b"" if how == "emptied" else sound.replace(b"seal", b"Seal").replace(b"sha256 ", b"sha255 ")
            )
        assert read_run(store) == run and read_inventory(store).equals(inventory)
        assert FeatureStore(store.root).run == run
        (told,) = mend(store)
        assert f"{path} was {'missing' if how == 'missing' else 'damaged'}" in told
        assert path.read_bytes() == sound and mend(store) == []


@pytest.mark.parametrize("name", ["run", "inventory"])
def test_damaged_missing_or_old_copy_is_made_again(store, name):
    path = getattr(store, name)
    copy, sound = store.copy(path), path.read_bytes()
    older = sealed(b"PAR1" + bytes(8), Kind.INVENTORY) if name == "inventory" else encode_json({}, Kind.RUN)
    for content in (None, flipped(sound, 0), older):
        copy.unlink() if content is None else copy.write_bytes(content)
        assert mend(store) == []
        assert copy.read_bytes() == path.read_bytes() == sound


@pytest.mark.parametrize("name", ["run", "inventory"])
def test_where_both_are_damaged_nothing_is_written_and_reading_says_so(store, name):
    path = getattr(store, name)
    for place in (path, store.copy(path)):
        place.write_bytes(flipped(place.read_bytes(), 3))
    before = path.read_bytes(), store.copy(path).read_bytes()
    assert mend(store) == []
    assert (path.read_bytes(), store.copy(path).read_bytes()) == before
    with pytest.raises(StoreError, match="restore"):
        read_run(store) if name == "run" else read_inventory(store)


def test_rescan_replaces_the_copy_with_the_inventory(store):
    write_inventory(store, make_inventory([["new.mp4"]]), replace=True)
    store.inventory.unlink()
    assert read_inventory(store)["video_id"].tolist() == ["new.mp4"]


def test_manifest_of_which_a_bit_flipped_is_not_used(store):
    expected, sound = FeatureStore(store.root).manifest, store.manifest.read_bytes()
    for seed in range(20):
        store.manifest.write_bytes(flipped(sound, seed))
        assert FeatureStore(store.root).manifest.equals(expected)


def test_what_has_no_end_is_not_read(store):
    store.inventory.unlink()
    store.inventory.symlink_to("/dev/zero")
    with pytest.raises(StoreError, match="expected a plain file"):
        read_whole(store.inventory)
    assert len(read_inventory(store)) == 5
    keep_copy(store, store.run)
