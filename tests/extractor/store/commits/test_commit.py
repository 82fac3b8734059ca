from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from extractor.store import (
    CommitStatus,
    FeatureStore,
    Lease,
    StagingLog,
    commit_shard,
    committed,
    new_attempt,
    next_generation,
    retire,
    staged_items,
    sweep,
)
from extractor.store.commits import staged_rows
from extractor.store.commits.records import decode_record, encode_record, read_record
from extractor.store.disk.atomic import is_temporary
from jobs.stores.compare import compare_stores
from jobs.stores.verify import verify_store
from schemas.errors import DamagedShardError, FailureClass, StorageError, StoreError
from schemas.records import Failure
from schemas.tensors import TENSORS
from tests.extractor.store.making import fail, item_arrays, item_clips, make_store, stage

IDS = ["b.mp4", "a.mp4", "bad.mp4"]


def stage_all(attempt, video_ids=IDS):
    for video_id in video_ids:
        fail(attempt, video_id) if "bad" in video_id else stage(attempt, video_id, 2, sum(video_id.encode()))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_commit_names_its_files_and_sweeps_its_staging(attempt):
    stage_all(attempt)
    assert commit_shard(attempt, IDS) is CommitStatus.WON
    assert list(committed(attempt.paths)) == ["shard-00000"]
    record = read_record(attempt.paths, "shard-00000")
    assert record.attempt == attempt.name
    assert record.video_ids == ("b.mp4", "a.mp4")
    assert [failure.video_id for failure in record.failures] == ["bad.mp4"]
    assert record.failures[0].attempts == 2
    assert record.rows == {"clips": 4, "frames": 16, "pairs": 12}
    for stored in (record.data, record.fragment):
        assert (attempt.paths.root / stored.path).stat().st_size == stored.bytes
    assert names(attempt.paths.shards) == sorted(s.path.split("/")[1] for s in (record.data, record.fragment))
    assert names(attempt.paths.commits) == ["shard-00000.json"]
    assert names(attempt.paths.staging) == []


def test_rows_lie_in_the_order_of_the_items(attempt):
    stage_all(attempt)
    commit_shard(attempt, IDS)
    store = FeatureStore(attempt.paths.root)
    assert store.video_ids == ("b.mp4", "a.mp4")
    expected = item_arrays(attempt.run, 2, sum(b"a.mp4"))["pairs/displacement"]
    assert (store.video("a.mp4")["displacement"] == expected.astype("float16")).all()


def test_shard_of_failures_alone_is_a_shard(attempt):
    fail(attempt, "bad.mp4")
    assert commit_shard(attempt, ["bad.mp4"]) is CommitStatus.WON
    store = FeatureStore(attempt.paths.root)
    assert len(store.manifest) == 0
    assert store.failures["video_id"].tolist() == ["bad.mp4"]


def test_items_of_several_logs_are_merged_in_the_given_order(attempt, monkeypatch):
    """Blocks are smaller than items, and items smaller than blocks; a level may have more rows than a block."""
    attempts = [new_attempt(attempt.paths, attempt.run, attempt.shard, "token") for _ in range(3)]
    ids = [f"{k}.mp4" for k in range(9)]
    for k, video_id in enumerate(ids):
        stage(attempts[k % 3], video_id, clips=1 + k, seed=k)
    for size in (1, 2000, 10_000):
        monkeypatch.setattr(staged_rows, "_BLOCK_BYTES", size)
        assert commit_shard(attempt, ids[::-1]) is CommitStatus.WON
        store = FeatureStore(attempt.paths.root)
        assert store.video_ids == tuple(ids[::-1])
        for k, video_id in enumerate(ids):
            wanted = item_arrays(attempt.run, 1 + k, k)
            found = store.video(video_id)
            for name in ("displacement", "index", "frame", "clip"):
                np.testing.assert_array_equal(found[name], wanted[PATHS[name]].astype(found[name].dtype))
        retire(attempt.paths, attempt.shard)
        attempt = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
        for k, video_id in enumerate(ids):
            stage(attempts[k % 3], video_id, clips=1 + k, seed=k)


PATHS = {name: stored.path for name, stored in TENSORS.items()}


def test_commit_of_a_log_that_is_still_written(attempt):
    """The process that writes a log commits it, and goes on with it if items are missing."""
    with StagingLog(attempt) as log:
        log.fail(Failure("bad.mp4", FailureClass.CORRUPT, ""))
        assert commit_shard(attempt, IDS) is CommitStatus.INCOMPLETE
        for video_id in IDS[:2]:
            with log.item(video_id) as writer:
                writer.append(item_arrays(attempt.run, 2, sum(video_id.encode())))
                writer.finish(item_clips(attempt.run, 2))
        assert commit_shard(attempt, IDS) is CommitStatus.WON
        log.fail(Failure("late.mp4", FailureClass.CORRUPT, ""))
        log.sync()
    assert names(attempt.paths.staging) == []
    assert verify_store_is_sound(attempt)


def test_nothing_is_written_while_items_are_missing(attempt):
    stage(attempt, "a.mp4")
    assert commit_shard(attempt, IDS) is CommitStatus.INCOMPLETE
    assert names(attempt.paths.shards) == []


def test_second_attempt_loses_and_removes_only_its_own(attempt):
    stage_all(attempt)
    other = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
    stage_all(other)
    commit_shard(attempt, IDS)
    before, record = names(attempt.paths.shards), read_record(attempt.paths, attempt.shard)
    assert commit_shard(other, IDS) is CommitStatus.LOST
    assert read_record(attempt.paths, attempt.shard) == record
    assert names(attempt.paths.shards) == before
    assert commit_shard(attempt, IDS) is CommitStatus.WON  # asked again, it still is the winner


def test_attempt_that_loses_at_the_last_moment_removes_its_files(attempt, monkeypatch):
    stage_all(attempt)
    other = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
    link = os.link

    def other_first(source, target, **options):
        monkeypatch.setattr(os, "link", link)
        assert commit_shard(other, IDS) is CommitStatus.WON
        stage(attempt, "a.mp4")  # after the winner has swept
        link(source, target, **options)

    monkeypatch.setattr(os, "link", other_first)
    assert commit_shard(attempt, IDS) is CommitStatus.LOST
    assert read_record(attempt.paths, attempt.shard).attempt == other.name
    assert all(other.name in name for name in names(attempt.paths.shards))
    assert names(attempt.paths.staging) == []
    assert verify_store_is_sound(attempt)


def test_winner_leaves_no_staging_where_a_loser_removes_the_same_folders(attempt, monkeypatch):
    stage_all(attempt)
    rmdir = Path.rmdir

    def loser_first(folder):
        monkeypatch.setattr(Path, "rmdir", rmdir)
        rmdir(folder)
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", loser_first)
    assert commit_shard(attempt, IDS) is CommitStatus.WON
    assert names(attempt.paths.staging) == []


def verify_store_is_sound(attempt) -> bool:
    from extractor.store.check import check_shard

    return not check_shard(attempt.paths, attempt.run, attempt.shard, deep=True)


def test_repeated_link_that_meets_its_own_success_is_won(attempt, monkeypatch):
    stage_all(attempt)
    link = os.link

    def link_twice(source, target, **options):
        link(source, target, **options)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", link_twice)
    assert commit_shard(attempt, IDS) is CommitStatus.WON
    assert verify_store_is_sound(attempt)


@pytest.mark.parametrize("rounds", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_races_have_one_winner_and_leave_nothing_behind(crashing, rounds):
    found = crashing("race_commits", rounds)
    assert found == {"outcomes": {"won": rounds, "lost": 2 * rounds}, "wrong": 0, "leftovers": 0}


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_at_every_call_that_changes_a_file_lose_nothing(crashing, step):
    assert crashing("kill_at_writes", step) == {"lost": 0, "unequal": 0, "leftovers": 0, "enough": True}


def test_attempt_that_stages_while_another_commits_ends_well(crashing):
    found = crashing("race_staging")
    assert set(found.pop("outcomes")) <= {"lost won"} and found == {"unequal": 0, "leftovers": 0}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_an_item(crashing):
    short, long = crashing("long_item", 1)["peak"], crashing("long_item", 20)["peak"]
    assert long < 1.1 * short


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments_lose_nothing(crashing, tmp_path, rounds):
    assert crashing("kill_attempts", rounds) == {"lost": 0, "said": "done"}
    folder = tmp_path / f"kill_attempts{rounds}"
    assert verify_store(folder / "killed", deep=True).clean
    report = compare_stores(folder / "killed", folder / "undisturbed")
    assert report.equal
    assert report.clips == 8 * max(3, rounds // 8)


def test_damaged_item_is_set_aside_and_another_attempts_is_used(attempt):
    other = new_attempt(attempt.paths, attempt.run, attempt.shard, "token")
    for one in (attempt, other):
        stage(one, "a.mp4", seed=1)
    first = staged_items(attempt.paths, attempt.run, attempt.shard)["a.mp4"].rows_path
    flip_data(first)
    assert commit_shard(attempt, ["a.mp4"]) is CommitStatus.WON
    assert verify_store_is_sound(attempt)


def test_damaged_item_without_another_has_to_be_made_anew(attempt):
    stage_all(attempt)
    item = staged_items(attempt.paths, attempt.run, attempt.shard)["a.mp4"]
    flip_data(item.rows_path)
    assert commit_shard(attempt, IDS) is CommitStatus.INCOMPLETE
    assert staged_items(attempt.paths, attempt.run, attempt.shard).keys() == set(IDS) - {"a.mp4"}
    assert [path.name for path in attempt.paths.shards.iterdir()] == []
    stage(attempt, "a.mp4")
    assert commit_shard(attempt, IDS) is CommitStatus.WON


def test_damaged_items_are_set_aside_together(attempt, monkeypatch):
    """The shard is begun anew once, however many are damaged."""
    from extractor.store.commits import commit

    begun = []
    write = commit._write_files
    monkeypatch.setattr(commit, "_write_files", lambda *args: begun.append(args) or write(*args))
    stage_all(attempt, [f"{k}.mp4" for k in range(6)])
    for path in sorted(attempt.staging.glob("*.rows"))[:4]:
        flip_data(path)
    assert commit_shard(attempt, [f"{k}.mp4" for k in range(6)]) is CommitStatus.INCOMPLETE
    assert len(begun) == 1
    assert len(staged_items(attempt.paths, attempt.run, attempt.shard)) == 2


def flip_data(path):
    data = bytearray(path.read_bytes())
    data[5] ^= 4
    path.write_bytes(data)


def test_storage_that_reads_back_something_else_is_refused(attempt, monkeypatch):
    from extractor.store.disk.shard import ShardReader

    stage_all(attempt)
    checksum = ShardReader.checksum
    monkeypatch.setattr(ShardReader, "checksum", lambda self, path: checksum(self, path) ^ 1)
    with pytest.raises(StorageError, match="reads back differently"):
        commit_shard(attempt, IDS)
    assert names(attempt.paths.shards) == []
    assert committed(attempt.paths) == {}


def test_full_disk_is_noticed_before_writing_and_staging_stays(attempt, monkeypatch):
    stage_all(attempt)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(StorageError, match=r"expected [\d,]+ bytes left in .*; got [\d,]+\. Free"):
        commit_shard(attempt, IDS)
    assert staged_items(attempt.paths, attempt.run, attempt.shard).keys() == set(IDS)


def test_files_that_vanish_without_a_commit_are_an_error(attempt, monkeypatch):
    from extractor.store.commits import commit

    stage_all(attempt)

    def vanish(items, run, emit):
        raise FileNotFoundError(2, "No such file", str(items[0].rows_path))

    monkeypatch.setattr(commit, "read_staged", vanish)
    with pytest.raises(StoreError, match="vanished"):
        commit_shard(attempt, IDS)


def test_item_named_twice_is_refused(attempt):
    with pytest.raises(StoreError, match="once"):
        commit_shard(attempt, ["a.mp4", "a.mp4"])


def test_retired_shard_is_replaced_by_the_next_generation(store):
    run = FeatureStore(store.root).run
    old = read_record(store, "shard-00000")
    late = new_attempt(store, run, "shard-00000", "token")
    with Lease(store) as lease:
        assert retire(store, "shard-00000") == 2
        assert "shard-00000" not in committed(store)
        attempt = new_attempt(store, run, "shard-00000", lease.token)
        assert attempt.generation == next_generation(store, "shard-00000") == 2
        stage_all(attempt)
        assert commit_shard(late, IDS) is CommitStatus.LOST  # its generation has passed
        commit_shard(attempt, IDS)
        assert read_record(store, "shard-00000").generation == 2
        assert not (store.root / old.data.path).exists()
        assert retire(store, "shard-00000") == 3
    assert len(names(store.retired)) == 2


def test_damaged_record_can_be_retired(store):
    store.commit("shard-00000").write_text("junk")
    with pytest.raises(DamagedShardError):
        committed(store)
    assert retire(store, "shard-00000") == 2
    assert list(committed(store)) == ["shard-00001"]


def test_any_changed_bit_of_a_record_is_seen(store):
    data = store.commit("shard-00000").read_bytes()
    assert encode_record(decode_record(data, "shard-00000")) == data
    for offset in range(0, len(data), 7):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        with pytest.raises(DamagedShardError):
            decode_record(bytes(changed), "shard-00000")


@pytest.mark.parametrize("field", ["data", "fragment"])
@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/dev/zero",
        "shards/other.h5",
        "shards/../shards/{name}",
        "./shards/{name}",
        "shards//{name}",
    ],
)
def test_record_that_names_other_files_is_refused(store, field, path):
    record = read_record(store, "shard-00000")
    stored = getattr(record, field)
    foreign = dataclasses.replace(stored, path=path.format(name=stored.path.split("/")[1]))
    changed = encode_record(dataclasses.replace(record, **{field: foreign}))
    with pytest.raises(DamagedShardError, match="commit record of shard-00000"):
        decode_record(changed, "shard-00000")
    store.commit("shard-00000").write_bytes(changed)
    assert [damage.file for damage in verify_store(store.root).damages] == ["commits/shard-00000.json"]
    kept = names(store.shards)
    sweep(store, "token")
    assert names(store.shards) == kept


@pytest.mark.parametrize("attempt", ["", "x/../../secret", "..", "a.b", "a" * 65, "a\n"])
def test_record_of_an_attempt_that_is_no_plain_name_is_refused(store, attempt):
    record = read_record(store, "shard-00000")
    files = {
        field: dataclasses.replace(getattr(record, field), path=f"shards/shard-00000.{attempt}{suffix}")
        for field, suffix in (("data", ".h5"), ("fragment", ".parquet"))
    }
    changed = encode_record(dataclasses.replace(record, attempt=attempt, **files))
    with pytest.raises(DamagedShardError):
        decode_record(changed, "shard-00000")


def test_sweep_leaves_what_may_still_be_needed(store):
    run = FeatureStore(store.root).run
    lost = store.shards / "shard-00000.abc.h5"
    pending = store.shards / "shard-00007.abc.h5"
    for path in (lost, pending):
        path.write_bytes(b"x" * 10)
    attempt = new_attempt(store, run, "shard-00007", "token")
    stage(attempt, "z.mp4")
    with Lease(store) as lease:
        sweep(store, "another")
        assert lost.exists()
        sweep(store, lease.token)
    assert pending.exists()
    assert not lost.exists()
    assert staged_items(store, run, "shard-00007").keys() == {"z.mp4"}
    assert verify_store(store.root, deep=True).clean


def test_sweep_looks_at_the_leases_once(tmp_path, monkeypatch):
    from extractor.store.commits import sweeping

    store = make_store(tmp_path / "store", [(f"{k}.mp4",) for k in range(4)], clips=1)
    looks = []
    look = sweeping.other_holders
    monkeypatch.setattr(sweeping, "other_holders", lambda *args: looks.append(args) or look(*args))
    for k in range(4):
        (store.shards / f"shard-{k:05d}.abc.h5").write_bytes(b"x")
    with Lease(store, (1, 2)):
        sweep(store, "another")
    assert len(looks) == 1
    assert [path.name for path in sorted(store.shards.glob("*.abc.h5"))] == ["shard-00001.abc.h5", "shard-00003.abc.h5"]


def test_sweep_clears_temporaries_of_the_stores_own_files(store):
    temporary = store.root / ".manifest.parquet.123456.tmp"
    temporary.write_bytes(b"half")
    assert is_temporary(temporary)
    sweep(store, "token")
    assert not temporary.exists()


def test_order_and_attempts_do_not_change_the_bytes_of_rows(tmp_path):
    one, two = make_store(tmp_path / "one"), make_store(tmp_path / "two")
    first, second = (read_record(paths, "shard-00000") for paths in (one, two))
    assert first.checksums == second.checksums
    assert json.loads(one.commit("shard-00000").read_bytes())["record"]["checksums"] == first.checksums
