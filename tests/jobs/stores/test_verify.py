from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from extractor.store import FeatureStore, Lease, commit_shard, new_attempt, write_inventory
from extractor.store.commits.records import encode_record, read_record
from jobs.stores.verify import verify_store
from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass, StoreError
from schemas.layout import StorePaths
from tests.extractor.store.making import fail, make_inventory, make_store, stage


def data_file(paths: StorePaths, shard: str = "shard-00000") -> Path:
    return next(paths.shards.glob(f"{shard}.*.h5"))


def owners(path: Path) -> dict[str, list[range]]:
    """Offsets of the chunks of every dataset in the file."""
    found: dict[str, list[range]] = {}

    def visit(name, dataset):
        if isinstance(dataset, h5py.Dataset):
            chunks = [dataset.id.get_chunk_info(k) for k in range(dataset.id.get_num_chunks())]
            found[name] = [range(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def flip(path: Path, offset: int, bit: int) -> bytes:
    """Flip one bit and return the original content."""
    before = path.read_bytes()
    after = bytearray(before)
    after[offset] ^= 1 << bit
    path.write_bytes(after)
    return before


def test_sound_store_is_clean(store):
    for deep in (False, True):
        report = verify_store(store.root, deep=deep)
        assert report.clean
        assert (report.shards, report.videos, report.failed, report.clips, report.unfinished) == (2, 4, 1, 8, 0)
        assert report.bytes == sum(path.stat().st_size for path in store.shards.iterdir())


def test_unfinished_store_is_clean_and_says_what_is_left(store):
    store.commit("shard-00001").unlink()
    report = verify_store(store.root)
    assert report.clean
    assert report.unfinished == 2


def flips(path: Path, count: int, seed: int) -> Iterator[tuple[int, int, str | None]]:
    """(offset, bit, dataset that the offset lies in): in every dataset, in the metadata, and anywhere."""
    rng = random.Random(seed)
    where = owners(path)
    size = path.stat().st_size
    inside = {offset for chunks in where.values() for chunk in chunks for offset in chunk}
    metadata = [offset for offset in range(size) if offset not in inside]
    regions = [*where.values(), [metadata], [range(size)]]
    for k in range(count):
        offset = rng.choice(rng.choice(regions[k % len(regions)]))
        names = [name for name, chunks in where.items() if any(offset in chunk for chunk in chunks)]
        yield offset, rng.randrange(8), names[0] if names else None


@pytest.mark.parametrize(
    ("compression", "count"),
    [
        ("none", 16),
        ("zstd", 16),
        *(
            pytest.param(name, count, marks=pytest.mark.slow)
            for name, count in (("none", 40), ("zstd", 30), ("gzip", 1500))
        ),
    ],
)
def test_every_flipped_bit_is_found_and_blamed_on_its_dataset(tmp_path, compression, count):
    paths = make_store(tmp_path / "store", compression=compression)
    path = data_file(paths)
    for offset, bit, dataset in list(flips(path, count, seed=count)):
        before = flip(path, offset, bit)
        damages = verify_store(paths.root, deep=True).damages
        assert {damage.shard for damage in damages} == {"shard-00000"}, (offset, bit)
        if dataset is not None:
            assert [damage.dataset for damage in damages] == [dataset], (offset, bit)
        path.write_bytes(before)
    assert verify_store(paths.root, deep=True).clean


def test_every_flipped_bit_of_a_manifest_fragment_is_found_without_deep(store):
    path = next(store.shards.glob("shard-00001.*.parquet"))
    rng = random.Random(0)
    for offset in rng.sample(range(path.stat().st_size), 30):
        before = flip(path, offset, rng.randrange(8))
        damages = verify_store(store.root).damages
        assert [(damage.shard, damage.dataset) for damage in damages] == [("shard-00001", None)]
        assert damages[0].file.endswith(".parquet")
        path.write_bytes(before)


def test_every_flipped_bit_of_a_commit_record_is_found_without_deep(store):
    path = store.commit("shard-00000")
    rng = random.Random(1)
    for offset in rng.sample(range(path.stat().st_size), 30):
        before = flip(path, offset, rng.randrange(8))
        assert [damage.shard for damage in verify_store(store.root).damages] == ["shard-00000"]
        path.write_bytes(before)


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_the_stores_own_files_is_found_without_deep(store, count):
    Ledger(store).crashed("shard-00000", None, FailureClass.EXTRACTOR_CRASHED, "died")
    with Lease(store):
        pass
    stage(new_attempt(store, FeatureStore(store.root).run, "shard-00007", "token"), "x.mp4")
    fail(new_attempt(store, FeatureStore(store.root).run, "shard-00007", "token"), "bad.mp4")
    assert verify_store(store.root, deep=True).clean
    rng = random.Random(2)
    names = (
        "run.json",
        "*.parquet",
        "clips.index",
        "copies/*",
        "ledger/*.json",
        "leases/*.json",
        "staging/*/*/*.items",
    )
    paths = [path for name in names for path in sorted(store.root.glob(name))]
    assert len(paths) == 12
    for path in paths:
        for offset in rng.sample(range(path.stat().st_size), count):
            before = flip(path, offset, rng.randrange(8))
            damages = verify_store(store.root, retire_damaged=True).damages
            assert [damage.file for damage in damages] == [path.relative_to(store.root).as_posix()], offset
            path.write_bytes(before)


def test_damage_of_both_inventories_does_not_end_the_check(store):
    for path in (store.inventory, store.copy(store.inventory)):
        path.write_bytes(b"junk")
    report = verify_store(store.root)
    assert [damage.file for damage in report.damages] == ["inventory.parquet", "copies/inventory.parquet"]
    assert report.videos == 4


def test_inventory_that_does_not_fit_the_records_is_found_both_ways(store):
    ids = [["a.mp4", "b.mp4", "bad.mp4", "lost.mp4"], ["e.mp4"]]
    write_inventory(store, make_inventory(ids), replace=True)
    report = verify_store(store.root)
    assert [damage.file for damage in report.damages] == ["inventory.parquet"] * 2
    assert "lacks 1 video that" in report.damages[0].message
    assert "plans 1 video into shards" in report.damages[1].message
    assert report.unfinished == 1


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("spoil", ["missing", "short", "longer", "junk", "another", "no fragment"])
def test_files_that_are_not_as_recorded_are_found(store, spoil, deep):
    path = data_file(store)
    if spoil == "missing":
        path.unlink()
    elif spoil == "short":
        path.write_bytes(path.read_bytes()[:-100])
    elif spoil == "longer":
        path.write_bytes(path.read_bytes() + b"\0")
    elif spoil == "junk":
        path.write_bytes(b"j" * path.stat().st_size)
    elif spoil == "another":
        path.write_bytes(data_file(store, "shard-00001").read_bytes())
    else:
        next(store.shards.glob("shard-00000.*.parquet")).unlink()
    report = verify_store(store.root, deep=deep)
    assert {damage.shard for damage in report.damages} == {"shard-00000"}
    assert report.retired == ()
    assert report.videos == 2


def test_shard_of_another_configuration_is_found(store, tmp_path):
    other = make_store(tmp_path / "other", rate_hz=5.0)
    store.commit("shard-00000").write_bytes(other.commit("shard-00000").read_bytes())
    for path in other.shards.iterdir():
        (store.shards / path.name).write_bytes(path.read_bytes())
    assert "another configuration" in verify_store(store.root).damages[0].message


def test_damaged_shard_is_retired_and_made_anew(store):
    flip(data_file(store), owners(data_file(store))["pairs/displacement"][0][10], 3)
    report = verify_store(store.root, deep=True, retire_damaged=True)
    assert report.retired == ("shard-00000",)
    assert not verify_store(store.root).damages
    reader = FeatureStore(store.root)
    assert reader.video_ids == ("c/d.mp4", "e.mp4")
    assert verify_store(store.root).unfinished == 3
    attempt = new_attempt(store, reader.run, "shard-00000", "token")
    for video_id in ("a.mp4", "b.mp4"):
        stage(attempt, video_id, 2, sum(video_id.encode()))
    fail(attempt, "bad.mp4")
    commit_shard(attempt, ["a.mp4", "b.mp4", "bad.mp4"])
    report = verify_store(store.root, deep=True)
    assert report.clean
    assert report.unfinished == 0
    assert len(list(store.shards.iterdir())) == 4  # the damaged files are gone


def test_the_only_shard_of_a_store_is_retired_like_any_other(tmp_path):
    store = make_store(tmp_path / "store", (("a.mp4", "b.mp4"),))
    flip(data_file(store), 20000, 3)
    report = verify_store(store.root, deep=True, retire_damaged=True)
    assert (report.retired, len(report.damages)) == (("shard-00000",), 1)
    assert FeatureStore(store.root).video_ids == ()
    assert verify_store(store.root).unfinished == 2


def test_damaged_record_is_retired_too(store):
    store.commit("shard-00001").write_bytes(b"\0" * 50)
    assert verify_store(store.root, retire_damaged=True).retired == ("shard-00001",)
    assert verify_store(store.root).clean


def test_retiring_needs_the_lease(store):
    flip(data_file(store), 0, 0)
    with Lease(store):
        report = verify_store(store.root, retire_damaged=True)
    assert report.retired == ()
    assert "in use" in report.not_retired
    assert store.commit("shard-00000").exists()
    assert verify_store(store.root, retire_damaged=True).retired == ("shard-00000",)


def test_store_in_use_can_be_verified(store):
    with Lease(store):
        assert verify_store(store.root, deep=True, retire_damaged=True).clean


def test_progress_counts_shards(store):
    seen = []
    verify_store(store.root, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_fragment_that_disagrees_with_its_record_is_found(store):
    record = read_record(store, "shard-00000")
    changed = dataclasses.replace(record, video_ids=("a.mp4", "z.mp4"))
    store.commit("shard-00000").write_bytes(encode_record(changed))
    assert "do not agree" in verify_store(store.root).damages[0].message


def test_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="not a store"):
        verify_store(tmp_path)
