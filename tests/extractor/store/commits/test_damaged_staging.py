"""Logs of staging that are torn, damaged, hostile or of an earlier version: never wrong rows, never a traceback."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import tracemalloc

import numpy as np
import pytest

from extractor.store import CommitStatus, FeatureStore, StagingLog, commit_shard, new_attempt, staged_items
from extractor.store.check import check_store_files
from extractor.store.commits.staged_rows import DamagedItemError, damages
from extractor.store.disk.append_only import encode_line
from schemas.errors import FailureClass
from schemas.records import Failure
from tests.extractor.store.making import fail, item_arrays, item_clips, make_run, stage, staged_rows, write_run

IDS = ("a", "b", "bad")


@pytest.fixture
def tiny(attempt):
    """An attempt of few outputs, so that its log is small."""
    run = make_run(num_frames=2, outputs=("frame", "displacement"))
    attempt.paths.run.unlink()
    attempt.paths.copy(attempt.paths.run).unlink(missing_ok=True)
    return new_attempt(attempt.paths, write_run(attempt.paths, run), attempt.shard, "token")


def stage_all(attempt):
    """Two items and a failure in one log; returns its files."""
    with StagingLog(attempt) as log:
        for seed, video_id in enumerate(IDS[:2]):
            with log.item(video_id) as writer:
                writer.append(item_arrays(attempt.run, 1, seed))
                writer.finish(item_clips(attempt.run, 1))
        log.fail(Failure("bad", FailureClass.CORRUPT, "it is broken"))
    (records,) = attempt.staging.glob("*.items")
    return records, records.with_suffix(".rows")


def read(attempt):
    """Everything that is staged: failures, rows as bytes, and the word damaged."""
    found = {}
    for video_id, item in staged_items(attempt.paths, attempt.run, attempt.shard).items():
        found[video_id] = item.failure
        if item.failure is None:
            try:
                rows, columns = staged_rows(attempt.run, item)
                found[video_id] = ({path: array.tobytes() for path, array in rows.items()}, columns)
            except DamagedItemError:
                found[video_id] = "damaged"
    return found


def damaged_files(attempt, *, deep):
    return {path for log in attempt.staging.glob("*.items") for path, _ in damages(log, attempt.run, deep=deep)}


def test_every_flipped_bit_of_a_record_costs_that_record_and_is_named(tiny):
    records, _ = stage_all(tiny)
    data, wanted = records.read_bytes(), read(tiny)
    for offset in range(len(data)):
        for bit in range(8) if data[offset] == ord("\n") else (offset % 8,):
            changed = bytearray(data)
            changed[offset] ^= 1 << bit
            records.write_bytes(changed)
            found = read(tiny)
            assert len(found) >= 2, (offset, bit)
            assert all(found[video_id] == wanted[video_id] for video_id in found), (offset, bit)
            assert damaged_files(tiny, deep=False) == {records}, (offset, bit)


def test_every_flipped_bit_of_rows_is_seen(tiny):
    _, rows = stage_all(tiny)
    data, wanted = rows.read_bytes(), read(tiny)
    for offset in range(len(data)):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        rows.write_bytes(changed)
        found = read(tiny)
        assert found.keys() == wanted.keys() and "damaged" in (found["a"], found["b"]), offset
        assert sum(found[video_id] != wanted[video_id] for video_id in found) == 1, offset
        assert damaged_files(tiny, deep=True) == {rows}, offset


def test_every_torn_end_costs_what_was_not_written_and_is_no_damage(tiny):
    records, rows = stage_all(tiny)
    data, wanted = records.read_bytes(), read(tiny)
    ends = [len(data.removesuffix(b"\n")) - len(rest) for rest in data.split(b"\n\n")]
    assert len(ends) == 3
    counts = set()
    for size in range(len(data)):
        records.write_bytes(data[:size])
        found = read(tiny)
        assert all(found[video_id] == wanted[video_id] for video_id in found), size
        assert damaged_files(tiny, deep=True) == set(), size
        counts.add(len(found))
    assert counts == {0, 1, 2}
    records.write_bytes(data)
    whole = rows.read_bytes()
    for size in range(len(whole)):
        rows.write_bytes(whole[:size])
        found = read(tiny)
        assert "b" not in found and found["bad"] == wanted["bad"]
        assert ("a" in found) == (size >= len(whole) // 2), size
        assert damaged_files(tiny, deep=True) == {rows}
    rows.unlink()
    assert read(tiny).keys() == {"bad"} and damaged_files(tiny, deep=True) == set()


def test_records_behind_a_damaged_stretch_are_read(tiny):
    records, _ = stage_all(tiny)
    data = records.read_bytes()
    records.write_bytes(os.urandom(5000) + data)
    assert read(tiny).keys() == set(IDS)
    records.write_bytes(bytes(5000) + data)
    assert read(tiny).keys() == set(IDS)


def test_damaged_rows_are_set_aside_and_the_item_is_staged_again(tiny):
    _, rows = stage_all(tiny)
    with rows.open("r+b") as file:
        file.write(b"\xff")
    assert commit_shard(tiny, IDS) is CommitStatus.INCOMPLETE
    other = new_attempt(tiny.paths, tiny.run, tiny.shard, "token")
    assert staged_items(tiny.paths, tiny.run, tiny.shard).keys() == {"b", "bad"}
    assert damaged_files(tiny, deep=True) == set(), "it is known"
    assert list(tiny.paths.shards.iterdir()) == []
    stage(other, "a", clips=1)
    assert commit_shard(other, IDS) is CommitStatus.WON
    wanted = item_arrays(tiny.run, 1, 0)["frames/feature"].astype(np.float16)
    np.testing.assert_array_equal(FeatureStore(tiny.paths.root).video("a")["frame"], wanted)
    assert list(tiny.paths.staging.iterdir()) == []


def forged(attempt, **changes):
    """The record of a staged item with some keys replaced, and a seal that holds."""
    records, _ = stage_all(attempt)
    line = records.read_bytes().split(b"\n")[1]
    return records, json.loads(line.partition(b" ")[2]) | changes


HUGE = [
    {"parts": [[0, [2**62, 2**62, 2**62], [0] * 6]]},
    {"parts": [[2**62, [1, 2, 1], [0] * 6]]},
    {"parts": [[10**30, [1, 2, 1], [0] * 6]]},
    {"parts": [[0, [1, 2, 1], [0] * 6], [0, [10**18, 0, 0], [0] * 6]]},
    {"parts": [[-8, [1, 2, 1], [0] * 6]]},
    {"parts": [[0, [1, 2, 1], [0] * 5]]},
    {"parts": [[0, [1, 2], [0] * 6]]},
    {"parts": [[0.0, [1, 2, 1], [0] * 6]]},
    {"parts": [[True, [1, 2, 1], [0] * 6]]},
    {"parts": [[[], [1, 2, 1], [0] * 6]]},
    {"parts": [0]},
    {"parts": {"0": 1}},
    {"parts": None},
    {"parts": []},
    {"video_id": 7},
    {"video_id": None},
    {"columns": []},
    {"columns": {"listed": {"clip_number": [0]}, "constant": {}}},
    {"columns": {"listed": {"clip_number": 10**9}, "constant": {}}},
    {"digest": None},
    {"failure": {"video_id": "a"}},
    {"failure": [1]},
    {"failure": {"video_id": "a", "failure": "strange", "message": ""}},
]


@pytest.mark.parametrize("changes", HUGE)
def test_record_that_claims_what_cannot_be_is_passed_over(tiny, changes):
    records, document = forged(tiny, **changes)
    records.write_bytes(encode_line(document) + records.read_bytes())
    tracemalloc.start()
    assert read(tiny).keys() == set(IDS)
    check_store_files(tiny.paths, tiny.run, deep=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20


def test_huge_claim_within_a_huge_file_of_holes_is_read_in_little_memory(tiny):
    """A sparse file of a terabyte holds the rows that a record claims, as zeros of another checksum."""
    records, document = forged(tiny)
    frames = 1_000_000
    columns = document["columns"]
    columns["listed"] |= {"frame_stop": [frames], "pair_stop": [frames - 1]}
    parts = [[0, [1, frames, frames - 1], document["parts"][0][2]]]
    records.write_bytes(encode_line(document | {"parts": parts}))
    os.truncate(records.with_suffix(".rows"), 2**40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(damaged_files(tiny, deep=True)) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_junk_is_passed_over(attempt):
    stage(attempt, "a")
    fail(attempt, "bad")
    good = staged_items(attempt.paths, attempt.run, attempt.shard)
    data = good["a"].path.read_bytes()
    folder = attempt.paths.staged(attempt.shard) / "other"
    folder.mkdir()
    (folder / "orphan.items").write_bytes(data)
    (folder / "half.items").write_bytes(data[: len(data) // 2])
    (folder / "junk.items").write_bytes(b"{}\n\xff\xfe\0 \n\n" * 1000)
    (folder / "deep.items").write_bytes(encode_line({}).replace(b"{}", b"[" * 100_000))
    (folder / "nested.items").write_bytes(sealed(b"[" * 100_000))
    (folder / "array.items").write_bytes(sealed(b"[1]"))
    (folder / "number.items").write_bytes(sealed(b"9" * 10_000))
    (folder / "text.items").write_bytes(sealed(b"\xff\xff"))
    (folder / "empty.items").write_bytes(b"")
    (folder / "folder.items").mkdir()
    (folder / "link.items").symlink_to(folder / "nowhere")
    (folder / "hole.items").write_bytes(b"")
    os.truncate(folder / "hole.items", 2**40)
    (folder / "junk.rows").write_bytes(b"x")
    (folder / "none.damaged").write_bytes(b"x")
    (attempt.paths.staged(attempt.shard) / "file").write_text("")
    assert staged_items(attempt.paths, attempt.run, attempt.shard) == good
    check_store_files(attempt.paths, attempt.run, deep=True)


def sealed(text):
    return b"\n%s %s\n" % (hashlib.sha256(text).hexdigest().encode(), text)


def test_files_of_earlier_versions_are_not_read_and_swept_at_the_commit(attempt):
    attempt.staging.mkdir(parents=True)
    key = "0" * 32
    for name in (f"{key}.h5", f"{key}.json", f"{key}.h5.damaged", f".{key}.h5.0123456789ab.tmp"):
        (attempt.staging / name).write_bytes(b"of an earlier version")
    assert staged_items(attempt.paths, attempt.run, attempt.shard) == {}
    assert check_store_files(attempt.paths, attempt.run, deep=True) == []
    assert commit_shard(attempt, ["a"]) is CommitStatus.INCOMPLETE
    stage(attempt, "a")
    assert commit_shard(attempt, ["a"]) is CommitStatus.WON
    assert list(attempt.paths.staging.iterdir()) == []
