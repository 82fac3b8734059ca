from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict

import pytest

from extractor.store import Lease
from extractor.store.commits.lease import Holder, other_holders
from extractor.store.commits.process import has_ended, machine, process_start
from extractor.store.disk.sealed import Kind, encode_json
from schemas.errors import StorageError
from schemas.layout import StorePaths


def leave_lease(paths: StorePaths, *, age_seconds: float = 0.0, name: str = "store.000001", **changes) -> None:
    """A lease file as another process would leave it."""
    fields = asdict(Holder("elsewhere", "another machine", 1, "1", "other", (0, 1), "2026-01-01T00:00:00+00:00"))
    paths.leases.mkdir(parents=True, exist_ok=True)
    path = paths.leases / f"{name}.json"
    path.write_bytes(encode_json(fields | changes, Kind.LEASE))
    then = time.time() - age_seconds
    os.utime(path, (then, then))


def test_lease_is_exclusive_and_names_the_holder(tmp_path):
    paths = StorePaths(tmp_path)
    with Lease(paths) as lease:
        with pytest.raises(StorageError, match=f"process {os.getpid()} on"), Lease(paths):
            pass
        assert not other_holders(paths, lease.token)
        assert other_holders(paths, "someone else")
    assert not other_holders(paths, "someone else")
    with Lease(paths):
        pass


def test_parts_exclude_only_what_overlaps(tmp_path):
    paths = StorePaths(tmp_path)
    with Lease(paths, (0, 4)) as first, Lease(paths, (1, 4)):
        for part in ((0, 1), (0, 2), (1, 2), (0, 4), (2, 3)):
            with pytest.raises(StorageError), Lease(paths, part):
                pass
        assert [holder.covers(5) for holder in other_holders(paths, first.token)] == [True]
        assert [holder.covers(4) for holder in other_holders(paths, first.token)] == [False]
        with Lease(paths, (2, 4)), Lease(paths, (3, 8)):
            pass


def test_holder_on_another_machine_is_replaced_when_its_heartbeat_is_old(tmp_path):
    paths = StorePaths(tmp_path)
    leave_lease(paths, age_seconds=100)
    with pytest.raises(StorageError, match="elsewhere"), Lease(paths, stale_seconds=120):
        pass
    with Lease(paths, stale_seconds=60) as lease:
        assert not lease.lost


@pytest.mark.parametrize(("ahead_seconds", "is_free"), [(10, False), (60, True), (10**6, True)])
def test_heartbeat_of_before_the_clock_was_set_back_holds_nothing(tmp_path, ahead_seconds, is_free):
    paths = StorePaths(tmp_path)
    leave_lease(paths, age_seconds=-ahead_seconds)
    with nullcontext() if is_free else pytest.raises(StorageError, match="in use"), Lease(paths):
        pass


def test_dead_process_on_this_machine_is_replaced_at_once(tmp_path):
    paths = StorePaths(tmp_path)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    leave_lease(paths, machine=machine(), pid=done.pid, started="1")
    with Lease(paths):
        pass


def test_reused_pid_is_not_taken_for_the_holder(tmp_path):
    paths = StorePaths(tmp_path)
    leave_lease(paths, machine=machine(), pid=os.getpid(), started=process_start(os.getpid()))
    with pytest.raises(StorageError), Lease(paths):
        pass
    leave_lease(paths, machine=machine(), pid=os.getpid(), started="12345")
    if process_start(os.getpid()):
        with Lease(paths):
            pass


def test_unreadable_lease_holds_until_it_is_old(tmp_path):
    paths = StorePaths(tmp_path)
    leave_lease(paths)
    path = paths.leases / "store.000001.json"
    path.write_text("junk")
    with pytest.raises(StorageError, match="unknown"), Lease(paths):
        pass
    os.utime(path, (1, 1))
    with Lease(paths):
        pass


def test_heartbeat_renews_and_notices_a_takeover(tmp_path):
    paths = StorePaths(tmp_path)
    with Lease(paths, heartbeat_seconds=0.01) as lease:
        file = next(path for path in paths.leases.iterdir() if path.suffix == ".json")
        os.utime(file, (1, 1))
        deadline = time.monotonic() + 5
        while file.stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_mtime > 1
        leave_lease(paths, name="store.000002")
        while not lease.lost and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lease.lost


@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_exactly_one_of_several_takes_over_from_a_dead_holder(crashing, rounds):
    assert crashing("race_leases", rounds) == {"held": {"1": rounds}, "errors": {}}


def test_has_ended_counts_a_zombie():
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    started = process_start(child.pid)
    while not has_ended(child.pid, started) and time.monotonic() < deadline:
        time.sleep(0.01)
    ended = has_ended(child.pid, started)
    child.wait()
    assert ended or not process_start(os.getpid())  # without /proc a zombie cannot be told
    assert has_ended(child.pid, started)
    assert not has_ended(os.getpid(), process_start(os.getpid()))


def test_part_out_of_range_is_refused(tmp_path):
    with pytest.raises(StorageError, match="part"):
        Lease(StorePaths(tmp_path), (3, 3))
