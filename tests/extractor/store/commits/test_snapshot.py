from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from extractor.store import Lease, commit_shard, committed, new_attempt, read_run, retire, write_manifest_cache
from extractor.store.check import check_shard
from extractor.store.commits import snapshot
from extractor.store.commits.records import encode_record, read_record
from extractor.store.commits.snapshot import Commits, is_among, refresh_commits_cache, write_commits_cache
from schemas.errors import DamagedShardError
from schemas.layout import StorePaths
from schemas.records import CommitRecord
from tests.extractor.store.making import make_store, stage

LONG_AGO = 1_000_000_000  # ns since 1970


@pytest.fixture
def cached(store: StorePaths) -> StorePaths:
    """A store whose records are old, and stand in the cache."""
    for path in store.commits.iterdir():
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    write_commits_cache(store, committed(store))
    assert committed(store).unknown == 0
    return store


def truth(paths: StorePaths) -> dict[str, CommitRecord]:
    found = {path.stem: read_record(paths, path.stem) for path in sorted(paths.commits.iterdir())}
    return {shard: record for shard, record in found.items() if record is not None}


def renamed(record: CommitRecord) -> CommitRecord:
    """The record of another attempt, of the same length in bytes."""
    attempt = record.attempt[::-1].swapcase() if record.attempt[::-1] != record.attempt else "x" * len(record.attempt)
    data, fragment = (
        dataclasses.replace(file, path=file.path.replace(record.attempt, attempt))
        for file in (record.data, record.fragment)
    )
    return dataclasses.replace(record, attempt=attempt, data=data, fragment=fragment)


def replaced(paths: StorePaths, shard: str, data: bytes) -> None:
    """Replace a record, with the time that it had."""
    path = paths.commit(shard)
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def test_records_of_the_cache_are_those_on_disk(cached: StorePaths) -> None:
    found = committed(cached)
    assert dict(found) == truth(cached) == {record.shard: record for record in found.records()}
    assert found["shard-00000"].failures and found.clips.tolist() == [4, 4]
    assert (list(found), "shard-00001" in found, "x" in found) == (["shard-00000", "shard-00001"], True, False)


def test_known_records_are_not_read(cached: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dict(committed(cached))
    monkeypatch.setattr(snapshot, "read_record_bytes", None)
    assert dict(committed(cached)) == expected


def test_a_copy_with_other_times_is_compared_by_its_bytes(cached: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dict(committed(cached))
    for path in cached.commits.iterdir():
        os.utime(path, ns=(LONG_AGO, 2 * LONG_AGO))
    monkeypatch.setattr(snapshot, "decode_record", None)
    found = committed(cached)
    assert (dict(found), found.unknown) == (expected, 2)


def test_record_that_is_replaced_within_its_second_while_caches_are_written_is_read_again(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times on disk are whole seconds. The manifest of a large store takes minutes, after which no record is new."""
    now = snapshot.time.time_ns()
    for path in store.commits.iterdir():
        os.utime(path, ns=(now, now // 10**9 * 10**9))
    monkeypatch.setattr(snapshot.time, "time_ns", lambda: now)
    read = committed(store)
    replaced(store, "shard-00001", encode_record(renamed(read["shard-00001"])))
    monkeypatch.setattr(snapshot.time, "time_ns", lambda: now + 300 * 10**9)
    write_commits_cache(store, read)
    assert dict(committed(store)) == truth(store)


def spoiled(data: bytes) -> Iterator[bytes]:
    rng = random.Random(0)
    yield from (b"", b"junk", data[:-1], data[: len(data) // 2])
    for _ in range(60):
        bit = rng.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_a_damaged_cache_counts_as_none(cached: StorePaths) -> None:
    expected = truth(cached)
    for data in spoiled(cached.commits_cache.read_bytes()):
        cached.commits_cache.write_bytes(data)
        found = committed(cached)
        assert (dict(found), found.unknown) == (expected, 2)


def test_a_cache_of_another_version_or_of_nulls_counts_as_none(cached: StorePaths) -> None:
    commits = committed(cached)
    for key, table in (
        ({b"msnet_commits_version": b"2"}, commits._table),
        ({b"msnet_commits_version": b"1"}, commits._table.drop_columns(["counts"])),
        ({b"msnet_commits_version": b"1"}, commits._table.take([0, None])),
    ):
        cached.commits_cache.write_bytes(snapshot._encoded(table.replace_schema_metadata(key)))
        assert committed(cached).unknown == 2


def test_a_shard_that_another_attempt_committed_again_is_read_anew(cached: StorePaths) -> None:
    old = committed(cached)["shard-00000"]
    with Lease(cached) as lease:
        retire(cached, "shard-00000")
        assert list(committed(cached)) == ["shard-00001"]
        attempt = new_attempt(cached, read_run(cached), "shard-00000", lease.token)
        stage(attempt, "a.mp4", clips=3)
        commit_shard(attempt, ["a.mp4"])
    found = committed(cached)
    assert (found["shard-00000"].attempt, found.unknown) == (attempt.name, 1)
    assert found["shard-00000"].attempt != old.attempt and found.clips.tolist() == [3, 4]


def test_a_moment_old_record_is_not_known_by_its_time(store: StorePaths) -> None:
    """Another one may get the same time, and be of the same size."""
    os.utime(store.commit("shard-00000"))
    write_commits_cache(store, committed(store))
    other = renamed(committed(store)["shard-00000"])
    replaced(store, "shard-00000", encode_record(other))
    assert committed(store)["shard-00000"] == other


def test_a_record_that_the_disk_damaged_is_read_from_the_cache_and_found_by_verify(cached: StorePaths) -> None:
    expected = dict(committed(cached))
    data = cached.commit("shard-00001").read_bytes()
    replaced(cached, "shard-00001", data.replace(b"c/d.mp4", b"c/D.mp4"))
    assert dict(committed(cached)) == expected
    (damage,) = check_shard(cached, read_run(cached), "shard-00001", deep=False)
    assert "not as written" in damage.message


def test_a_damaged_record_that_the_cache_lacks_is_refused(cached: StorePaths) -> None:
    cached.commit("shard-00001").write_bytes(b"junk")
    with pytest.raises(DamagedShardError, match="commit record of shard-00001"):
        committed(cached)


@pytest.mark.parametrize(
    "change", [{"video_ids": ("\ud800",)}, {"generation": 2**70}, {"rows": {"clips": -1}}, {"digest": "\udfff"}]
)
def test_a_record_that_no_table_holds_is_refused(store: StorePaths, change: dict[str, object]) -> None:
    record = dataclasses.replace(committed(store)["shard-00000"], **change)
    store.commit("shard-00000").write_bytes(encode_record(record))
    with pytest.raises(DamagedShardError):
        committed(store)


def test_a_record_that_vanishes_while_it_is_listed_is_left_out(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commits_cache.unlink()
    listed = snapshot._listed(store)
    monkeypatch.setattr(snapshot, "_listed", lambda paths: listed)
    store.commit("shard-00000").unlink()
    assert list(committed(store)) == ["shard-00001"]


def test_shards_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    paths = make_store(tmp_path / "store", (("a.mp4",), ("b.mp4",)))
    attempt = new_attempt(paths, read_run(paths), "shard-100000", "token")
    stage(attempt, "a.mp4")
    commit_shard(attempt, ["a.mp4"])
    found = committed(paths)
    assert list(found) == ["shard-00000", "shard-00001", "shard-100000"]
    assert found.moved() == {"shard-00000": {"a.mp4"}} and found.counts.tolist() == [False, True, True]
    assert Commits.of(reversed([*found.values()])).attempts == found.attempts
    assert list(found.only(["shard-100000", "shard-00001", "x"])) == ["shard-00001", "shard-100000"]


def test_the_cache_is_written_again_where_it_lacks_many_records(
    store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commits_cache.unlink()
    refresh_commits_cache(store)
    assert not store.commits_cache.exists()
    monkeypatch.setattr(snapshot, "_WORTH_WRITING", 2)
    refresh_commits_cache(store)
    assert dict(committed(store)) == truth(store) and store.commits_cache.exists()
    store.commit("shard-00000").write_bytes(b"junk")
    refresh_commits_cache(store)  # what reads the records next reports it


def test_a_store_without_shards_has_no_commits(tmp_path: Path) -> None:
    found = committed(StorePaths(tmp_path))
    assert (len(found), len(found.done), len(found.failed), found.bytes, found.most_rows) == (0, 0, 0, 0, 0)
    write_commits_cache(StorePaths(tmp_path), found)
    assert found.moved() == {} and found.state == Commits.of([]).state


def test_caches_of_a_store_without_videos_agree(tmp_path: Path) -> None:
    paths = make_store(tmp_path / "store", (("bad.mp4",),))
    write_manifest_cache(paths)
    assert committed(paths).failed["video_id"].to_pylist() == ["bad.mp4"]


def test_is_among_equals_membership() -> None:
    assert is_among(["a", "b", "a", "é"], ["é", "a", "c"]).tolist() == [True, False, True, True]
    assert is_among([], ["a"]).tolist() == [] and is_among(["a"], []).tolist() == [False]
