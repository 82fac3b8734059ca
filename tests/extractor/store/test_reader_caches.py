"""A reader shows the same with caches, without them, and with caches that are stale or damaged in any part."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from extractor.store import FeatureStore, Lease, commit_shard, new_attempt, retire, write_manifest_cache
from extractor.store.index import blocks
from extractor.store.index.blocks import BlockFile, BlockWriter
from schemas.errors import StoreError
from schemas.layout import StorePaths
from tests.extractor.store.making import make_store, stage
from tests.templates import copy_of

SHARDS = (("a.mp4", "bad.mp4"), ("c/é.mp4", "d.mp4"), ("bad-2.mp4",), ("e.mp4", "f.mp4"))
CACHES = ("manifest", "index", "commits_cache")


def commit(paths: StorePaths, shard: str, *video_ids: str, clips: int = 2) -> None:
    attempt = new_attempt(paths, FeatureStore(paths.root).run, shard, "token")
    for video_id in video_ids:
        stage(attempt, video_id, clips)
    commit_shard(attempt, video_ids)


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    """A store with failed videos, one of which was tried again and has moved, and a shard with no rows that count."""
    copy_of("tried again", _tried_again, tmp_path / "store")
    return StorePaths(tmp_path / "store")


def _tried_again(root: Path) -> None:
    paths = make_store(root, SHARDS)
    commit(paths, "shard-00004", "bad.mp4", clips=5)
    with Lease(paths) as lease:
        retire(paths, "shard-00000")
        attempt = new_attempt(paths, FeatureStore(paths.root).run, "shard-00000", lease.token)
        for video_id in SHARDS[0]:
            stage(attempt, video_id, 3)
        commit_shard(attempt, SHARDS[0])
    write_manifest_cache(paths)


def content(store: FeatureStore) -> dict[str, object]:
    """All that a reader shows, but the rows of tensors."""
    names = ["video_id", "fps", "flags", "file"]
    ranges = {video_id: store.video_clips(video_id) for video_id in store.video_ids}
    return {
        "length": (len(store), store.num_clips),
        "ranges": ranges,
        "known": [name in store for name in ("a.mp4", "bad-2.mp4", "x", "\ud800")],
        "first": store.first_clips().tolist(),
        "rows": store.row_ranges().tolist(),
        "files": store.files(np.arange(store.num_clips)).tolist(),
        "videos": store.of_videos(names).to_json(),
        "table": [store.manifest_rows(clips).to_json() for clips in ranges.values()],
        "clips": [
            {name: rows.tobytes() for name, rows in store.clip(k, ["clip"]).items()} for k in range(store.num_clips)
        ],
        "failures": store.failures.to_json(),
        "records": dict(store.records),
        "manifest": store.manifest.to_json(),  # last: what follows could use it
    }


def without_caches(paths: StorePaths) -> dict[str, object]:
    """What the commit records and fragments say."""
    kept = {name: getattr(paths, name).read_bytes() for name in CACHES}
    for name in CACHES:
        getattr(paths, name).unlink()
    found = content(FeatureStore(paths.root))
    for name, data in kept.items():
        getattr(paths, name).write_bytes(data)
    return found


def test_caches_show_what_records_and_fragments_say(paths: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = without_caches(paths)
    assert list(expected["ranges"]) == ["a.mp4", "c/é.mp4", "d.mp4", "e.mp4", "f.mp4", "bad.mp4"]  # type: ignore[call-overload]
    monkeypatch.setattr("extractor.store.manifest.read_fragment", None)
    assert content(FeatureStore(paths.root)) == expected


def test_the_manifest_is_not_needed_to_read_videos_and_clips(
    paths: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureStore, "manifest", property(lambda self: pytest.fail("all of it was loaded")))
    store = FeatureStore(paths.root)
    assert store.video("bad.mp4")["clip"].shape[0] == 5 and len(store.clips(range(store.num_clips))) == store.num_clips
    assert len(store.of_videos(["fps"])) == len(store.video_ids) and len(store.manifest_rows(range(1, 3))) == 2


@pytest.mark.parametrize("name", CACHES)
def test_a_cache_that_is_gone_damaged_or_stale_changes_nothing(paths: StorePaths, name: str, tmp_path: Path) -> None:
    expected, path = without_caches(paths), getattr(paths, name)
    data, rng = path.read_bytes(), random.Random(name)
    stale = getattr(make_store(tmp_path / "other", SHARDS), name).read_bytes()
    for spoiled in (b"", b"junk", data[:-9], stale):
        path.write_bytes(spoiled)
        assert content(FeatureStore(paths.root)) == expected
    for _ in range(6):
        bit = rng.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert content(FeatureStore(paths.root)) == expected
    path.unlink()
    assert content(FeatureStore(paths.root)) == expected
    path.symlink_to("/dev/zero")
    assert content(FeatureStore(paths.root)) == expected


def test_an_index_whose_blocks_are_damaged_while_it_is_open_is_made_again(paths: StorePaths) -> None:
    expected, store = without_caches(paths), FeatureStore(paths.root)
    with paths.index.open("rb+") as file:
        file.write(b"\xff" * 400)
    assert content(store) == expected


def test_an_index_of_other_lengths_is_refused(paths: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, index = without_caches(paths), BlockFile(paths.index)
    for name in ("shard_clips", "hashes", "id_edges", "clips"):
        writer = BlockWriter(paths.index.with_name("other"))
        for section in index._sections:
            writer.write(section, index.rows(section)[: -1 if section == name else None])
        writer.close({key: index.document[key] for key in ("version", "commits")})
        paths.index.with_name("other").replace(paths.index)
        assert content(FeatureStore(paths.root)) == expected


@pytest.mark.parametrize("again", [lambda store: store, lambda store: pickle.loads(pickle.dumps(store))])
def test_a_reader_shows_what_was_committed_when_it_was_opened(
    paths: StorePaths, again: Callable[[FeatureStore], FeatureStore]
) -> None:
    expected, store = without_caches(paths), FeatureStore(paths.root)
    commit(paths, "shard-00005", "new.mp4")
    commit(paths, "shard-00006", "bad-2.mp4")  # it has rows now
    assert content(again(store)) == expected
    store = again(FeatureStore(paths.root))
    assert {"new.mp4", "bad-2.mp4"} <= set(store.video_ids)
    write_manifest_cache(paths)
    after = content(FeatureStore(paths.root))
    assert content(again(store)) == after == without_caches(paths) != expected


def test_a_reader_that_is_open_while_caches_are_written_keeps_its_numbers(paths: StorePaths) -> None:
    expected, store = without_caches(paths), FeatureStore(paths.root)
    commit(paths, "shard-00005", "a.mp4")  # it has moved
    write_manifest_cache(paths)
    assert content(store) == expected


def test_a_pickled_reader_of_a_shard_that_was_committed_again_says_so(paths: StorePaths) -> None:
    state = pickle.dumps(FeatureStore(paths.root))
    with Lease(paths):
        retire(paths, "shard-00003")
    commit(paths, "shard-00003", "e.mp4")
    write_manifest_cache(paths)
    with pytest.raises(StoreError, match="changed since"):
        pickle.loads(state)


def test_caches_are_written_from_those_of_the_last_run(paths: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only fragments that are new, or have lost or gained videos that count, are read."""
    from extractor.store import manifest

    read: list[str] = []
    read_fragment = manifest.read_fragment
    monkeypatch.setattr(
        manifest, "read_fragment", lambda paths, record: read.append(record.shard) or read_fragment(paths, record)
    )
    for change, expected in (
        (lambda: None, ["shard-00000"]),  # of which one video has moved
        (lambda: commit(paths, "shard-00005", "new.mp4"), ["shard-00000", "shard-00005"]),
        (lambda: commit(paths, "shard-00006", "e.mp4"), ["shard-00000", "shard-00003", "shard-00006"]),
        (lambda: paths.commit("shard-00006").unlink(), ["shard-00000", "shard-00003"]),
    ):
        change()
        read.clear()
        write_manifest_cache(paths)
        assert read == expected
        assert content(FeatureStore(paths.root)) == without_caches(paths)
    for spoil in (paths.manifest.unlink, lambda: paths.manifest.write_bytes(b"junk")):
        spoil()
        write_manifest_cache(paths)
        assert content(FeatureStore(paths.root)) == without_caches(paths)


def test_a_large_index_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 64)
    paths = make_store(tmp_path / "store", [(f"{k}.mp4", f"{k}x.mp4") for k in range(6)], clips=3)
    assert content(FeatureStore(paths.root)) == without_caches(paths)
    store = FeatureStore(paths.root)
    child = os.fork()
    if child == 0:
        os._exit(int(store.video_clips("5x.mp4") != range(33, 36)))
    assert os.waitpid(child, 0)[1] == 0
