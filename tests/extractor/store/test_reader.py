from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from extractor.store import FeatureStore, Lease, commit_shard, new_attempt, retire
from extractor.store.commits.commit import stored_file
from extractor.store.commits.records import encode_record, read_record
from extractor.store.disk.sealed import Kind
from extractor.store.tables import encode_table, write_table
from schemas.errors import DamagedShardError, FailureClass, StoreError
from schemas.layout import StorePaths, unpack_tied
from schemas.manifest import MANIFEST_COLUMNS
from schemas.seals import sealed
from tests.extractor.store.making import fail, item_arrays, make_store, stage

TENSORS = ("clip", "frame", "motion", "time_seconds", "index", "valid", "displacement", "confidence", "tied")


def written(store: FeatureStore, video_id: str, clips: int = 2) -> dict[str, np.ndarray]:
    """What making.py put into an item, by the reader's names."""
    arrays = item_arrays(store.run, clips, sum(video_id.encode()))
    half = {path: rows.astype(np.float16) if rows.dtype == np.float32 else rows for path, rows in arrays.items()}
    return {
        "clip": half["clips/feature"],
        "frame": half["frames/feature"],
        "motion": half["frames/motion"],
        "time_seconds": half["frames/time_seconds"],
        "index": half["frames/index"],
        "valid": half["frames/valid"].astype(bool),
        "displacement": half["pairs/displacement"],
        "confidence": half["pairs/confidence"],
        "tied": unpack_tied(half["pairs/tied"], 11),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name].dtype == rows.dtype, name
        np.testing.assert_array_equal(found[name], rows, err_msg=name)


def cut(tensors, clip):
    """The tensors of one clip of T = 4 frames."""
    rows = {
        "clip": slice(clip, clip + 1),
        "frame": slice(4 * clip, 4 * clip + 4),
        "pair": slice(3 * clip, 3 * clip + 3),
    }
    level = dict.fromkeys(("displacement", "confidence", "tied"), "pair") | {"clip": "clip"}
    return {name: array[rows[level.get(name, "frame")]] for name, array in tensors.items()}


def test_video_and_clip_give_what_was_written(store):
    reader = FeatureStore(store.root)
    assert reader.tensors == TENSORS
    assert reader.video_ids == ("a.mp4", "b.mp4", "c/d.mp4", "e.mp4")
    assert (len(reader), reader.num_clips) == (4, 8)
    for k, video_id in enumerate(reader.video_ids):
        assert_same(reader.video(video_id), written(reader, video_id))
        for clip in range(2):
            assert_same(reader.clip(2 * k + clip), cut(written(reader, video_id), clip))
    assert_same(reader.clip(-1), reader.clip(7))


def test_tensors_are_chosen_by_name(store):
    reader = FeatureStore(store.root)
    assert list(reader.video("a.mp4", ["motion", "clip"])) == ["motion", "clip"]
    assert list(reader.clip(0, ["tied"])) == ["tied"]
    for wrong in (["colour"], "frame", ["frames/feature"]):
        with pytest.raises(StoreError, match="names among"):
            reader.video("a.mp4", wrong)


def test_many_clips_at_once_equal_one_by_one(store):
    reader = FeatureStore(store.root)
    indices = [7, 0, 3, 3, 5, 2, 1, 6, 4, 0]
    batch = reader.clips(indices)
    for index, found in zip(indices, batch, strict=True):
        assert_same(found, reader.clip(index))
    batch[1]["frame"][:] = 0  # a copy of its own, also where a clip was asked for twice
    assert_same(batch[-1], reader.clip(0))
    assert reader.clips([]) == []


def test_neighbouring_clips_are_read_together(store, monkeypatch):
    from extractor.store.disk.shard import ShardReader

    reader = FeatureStore(store.root)
    reads = []
    read = ShardReader.read
    monkeypatch.setattr(ShardReader, "read", lambda self, *args: reads.append(args) or read(self, *args))
    reader.clips(range(8), ["frame"])
    assert sorted(reads) == [("frames/feature", 0, 16), ("frames/feature", 0, 16)]


def test_blocks_give_a_video_piece_by_piece(store):
    reader = FeatureStore(store.root)
    clips = reader.video_clips("b.mp4")
    assert reader.shape("tied", clips) == (6, 5, 11)
    blocks = list(reader.blocks("tied", clips, 4))
    assert [len(block) for block in blocks] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), reader.video("b.mp4")["tied"])
    for name in reader.tensors:
        whole = np.concatenate(list(reader.blocks(name, clips)))
        assert (whole.dtype, whole.shape) == (reader.dtype(name), reader.shape(name, clips))


def test_manifest_and_failures(store):
    reader = FeatureStore(store.root)
    assert list(reader.manifest.columns) == list(MANIFEST_COLUMNS)
    assert reader.manifest["video_id"].tolist() == [v for v in reader.video_ids for _ in range(2)]
    assert reader.failures.to_dict("records") == [
        {
            "video_id": "bad.mp4",
            "failure": "corrupt",
            "message": "bad.mp4 is broken",
            "attempts": 2,
            "seconds": 0.5,
            "shard": "shard-00000",
        }
    ]
    with pytest.raises(StoreError, match=r"it failed: bad\.mp4 is broken"):
        reader.video("bad.mp4")
    with pytest.raises(StoreError, match=r"no features of 'x\.mp4'"):
        reader.video("x.mp4")
    for index in (8, -9):
        with pytest.raises(IndexError):
            reader.clip(index)


@pytest.mark.parametrize("spoil", ["remove", "junk", "stale"])
def test_manifest_is_rebuilt_where_the_cache_does_not_agree(store, spoil, tmp_path):
    expected = FeatureStore(store.root).manifest
    if spoil == "remove":
        store.manifest.unlink()
    elif spoil == "junk":
        store.manifest.write_bytes(b"junk")
    else:
        other = make_store(tmp_path / "other", (("x.mp4",),))
        store.manifest.write_bytes(other.manifest.read_bytes())
    assert FeatureStore(store.root).manifest.equals(expected)


def test_files_that_a_foreign_cache_names_are_not_followed(store, tmp_path):
    expected = FeatureStore(store.root).manifest
    other = make_store(tmp_path / "other", (("a.mp4",),))
    outside = next(other.shards.glob("*.h5"))
    metadata = pq.read_schema(store.manifest).metadata
    for file in (f"../other/shards/{outside.name}", str(outside)):
        forged = encode_table(expected.assign(file=file), metadata)
        store.manifest.write_bytes(sealed(forged, Kind.MANIFEST))
        assert FeatureStore(store.root).manifest.equals(expected)


@pytest.mark.parametrize("column", ["file", "shard"])
def test_fragment_that_names_another_file_is_refused(store, column):
    record = read_record(store, "shard-00000")
    path = store.root / record.fragment.path
    write_table(path, pd.read_parquet(path).assign(**{column: "../../other.h5"}))
    changed = dataclasses.replace(record, fragment=stored_file(store, path, path))
    store.commit("shard-00000").write_bytes(encode_record(changed))
    with pytest.raises(DamagedShardError, match="rows of another shard or file"):
        len(FeatureStore(store.root))


def test_fragment_is_not_read_beyond_its_recorded_size(store):
    store.manifest.unlink()
    store.index.unlink()
    fragment = store.root / read_record(store, "shard-00000").fragment.path
    fragment.unlink()
    fragment.symlink_to("/dev/zero")
    with pytest.raises(DamagedShardError, match="bytes"):
        len(FeatureStore(store.root))
    fragment.unlink()
    with fragment.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DamagedShardError, match="bytes"):
        len(FeatureStore(store.root))


def test_unfinished_store_gives_what_is_committed(store):
    store.commit("shard-00001").unlink()
    reader = FeatureStore(store.root)
    assert reader.video_ids == ("a.mp4", "b.mp4")
    store.commit("shard-00000").unlink()
    reader = FeatureStore(store.root)
    assert (len(reader), reader.num_clips, reader.video_ids) == (0, 0, ())


def test_what_is_no_store_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreError, match="not a store"):
            FeatureStore(path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match="not what extract wrote"):
        FeatureStore(tmp_path)


def test_video_in_two_shards_counts_in_the_last(tmp_path):
    paths = make_store(tmp_path / "store", (("a.mp4", "bad.mp4"), ("c.mp4",)))
    run = FeatureStore(paths.root).run
    retried = new_attempt(paths, run, "shard-00002", "token")
    stage(retried, "bad.mp4", clips=3, seed=5)
    commit_shard(retried, ["bad.mp4"])
    assert FeatureStore(paths.root).failures.empty
    with Lease(paths) as lease:
        retire(paths, "shard-00000")
        again = new_attempt(paths, run, "shard-00000", lease.token)
        for video_id in ("a.mp4", "bad.mp4"):
            stage(again, video_id)
        commit_shard(again, ["a.mp4", "bad.mp4"])
    reader = FeatureStore(paths.root)
    assert reader.video_ids == ("a.mp4", "c.mp4", "bad.mp4")
    assert reader.video("bad.mp4")["clip"].shape[0] == 3


def test_latest_failure_of_a_video_counts(tmp_path):
    paths = make_store(tmp_path / "store", (("a.mp4", "bad.mp4"),))
    attempt = new_attempt(paths, FeatureStore(paths.root).run, "shard-00001", "token")
    fail(attempt, "bad.mp4", FailureClass.TIMED_OUT)
    commit_shard(attempt, ["bad.mp4"])
    assert FeatureStore(paths.root).failures[["failure", "shard"]].values.tolist() == [["timed_out", "shard-00001"]]


def test_open_files_are_bounded(tmp_path):
    paths = make_store(tmp_path / "store", [(f"{k}.mp4",) for k in range(5)], clips=1)

    def held() -> int:
        return [path.resolve().parent for path in Path("/proc/self/fd").iterdir()].count(paths.shards.resolve())

    with FeatureStore(paths.root, max_open_files=2) as reader:
        for _ in range(2):
            for video_id in reader.video_ids:
                assert_same(reader.video(video_id), written(reader, video_id, 1))
        assert held() == 2
    assert held() == 0
    assert_same(reader.video("0.mp4"), written(reader, "0.mp4", 1))


def test_store_can_be_pickled_while_files_are_open(store):
    reader = FeatureStore(store.root)
    reader.clip(0)
    other = pickle.loads(pickle.dumps(reader))
    assert_same(other.clip(5), reader.clip(5))
    assert len(pickle.dumps(reader)) < 2000


def test_pickled_store_keeps_its_clip_numbers(tmp_path):
    paths = make_store(tmp_path / "store", (("a.mp4",), ("b.mp4",)))
    later = paths.commit("shard-00000").read_bytes()
    paths.commit("shard-00000").unlink()
    state = pickle.dumps(FeatureStore(paths.root))
    paths.commit("shard-00000").write_bytes(later)
    other = pickle.loads(state)
    assert other.video_ids == ("b.mp4",)
    with Lease(paths):
        retire(paths, "shard-00001")
    with pytest.raises(StoreError, match="changed since"):
        pickle.loads(state)


def test_forked_workers_open_their_own_files(store):
    script = f"""
import os
from extractor.store import FeatureStore
store = FeatureStore({str(store.root)!r})
expected = [store.clip(k)["frame"].tobytes() for k in range(8)]
children = []
for worker in range(4):
    pid = os.fork()
    if pid == 0:
        same = all(store.clip(k)["frame"].tobytes() == expected[k] for k in list(range(8)) * 20)
        os._exit(0 if same else 1)
    children.append(pid)
for _ in range(50):
    assert [store.clip(k)["frame"].tobytes() for k in range(8)] == expected
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=False, timeout=60)
    assert done.returncode == 0


def test_spawned_workers_read_the_same(store):
    reader = FeatureStore(store.root)
    expected = [reader.clip(k, ["frame"]) for k in range(8)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(reader.clip, range(8))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["frame"], other["frame"])


def test_threads_take_turns(tmp_path):
    paths = make_store(tmp_path / "store", [(f"{k}.mp4",) for k in range(4)], clips=1)
    reader = FeatureStore(paths.root, max_open_files=1)
    expected = {video_id: written(reader, video_id, 1)["frame"] for video_id in reader.video_ids}
    wrong = []

    def work(offset):
        for k in range(20):
            video_id = f"{(k + offset) % 4}.mp4"
            if not np.array_equal(reader.video(video_id, ["frame"])["frame"], expected[video_id]):
                wrong.append(video_id)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_damaged_and_missing_files_are_named(store):
    path = next(store.shards.glob("shard-00001.*.h5"))
    path.write_bytes(path.read_bytes()[:-1000])
    reader = FeatureStore(store.root)
    reader.clip(0)
    with pytest.raises(DamagedShardError) as caught:
        reader.clip(7)
    assert caught.value.shard == "shard-00001"
    path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        reader.clip(7)


def test_store_without_some_tensors(tmp_path):
    paths = make_store(tmp_path / "store", outputs=("frame",))
    reader = FeatureStore(paths.root)
    assert reader.tensors == ("frame", "time_seconds", "index", "valid")
    assert_same(reader.clip(1), cut(written_frames(reader), 1))


def written_frames(reader: FeatureStore) -> dict[str, np.ndarray]:
    """What a.mp4 has in a store of frame features alone."""
    arrays = item_arrays(reader.run, 2, sum(b"a.mp4"))
    return {
        "frame": arrays["frames/feature"].astype(np.float16),
        "time_seconds": arrays["frames/time_seconds"],
        "index": arrays["frames/index"],
        "valid": arrays["frames/valid"].astype(bool),
    }


def test_importing_the_store_loads_neither_torch_nor_ray_nor_a_decoder():
    script = (
        "import sys; from extractor.store import FeatureStore, commit_shard, Lease; "
        "sys.exit(bool({'torch', 'ray', 'av', 'decord'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=False, timeout=60)
    assert done.returncode == 0


def test_public_names_exist():
    import extractor.store

    assert all(getattr(extractor.store, name) is not None for name in extractor.store.__all__)
    assert sorted(extractor.store.__all__) == extractor.store.__all__
    with pytest.raises(AttributeError):
        extractor.store.nothing  # noqa: B018


def test_paths_are_taken_as_text_too(store):
    assert FeatureStore(str(store.root)).paths == StorePaths(store.root)


@pytest.mark.parametrize("locking", [True, False, None])
def test_users_may_have_a_file_open_too(store, locking):
    reader = FeatureStore(store.root)
    with h5py.File(next(store.shards.glob("shard-00000.*.h5")), "r", locking=locking):
        assert_same(reader.clip(0), cut(written(reader, "a.mp4"), 0))
