"""Processes that write below the folder of a Ray session are killed with its driver; readers are not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cluster.guard import RayGuard, processes_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="processes are found by /proc")

HOLD = "import sys, time; file = open(sys.argv[1], sys.argv[2]); print(flush=True); time.sleep(600)"
DRIVER = """
import sys, time
from pathlib import Path
from jobs.cluster.guard import RayGuard
guard = RayGuard(Path(sys.argv[1]).parent)
if sys.argv[2] == "known":
    guard.watch(Path(sys.argv[1]))
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def holders() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(holders: list[subprocess.Popen[bytes]], *command: str) -> subprocess.Popen[bytes]:
    """A process, once it has printed a line."""
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE)
    holders.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def log_of(session: Path) -> str:
    (session / "logs").mkdir(parents=True, exist_ok=True)
    (session / "logs" / "raylet.out").touch()
    return str(session / "logs" / "raylet.out")


def test_guard_ends_those_who_write_in_the_session(tmp_path: Path, holders: list[subprocess.Popen[bytes]]) -> None:
    session = tmp_path / "session_[1]"  # special characters of patterns are literal
    writer = start(holders, HOLD, log_of(session), "a")
    reader = start(holders, HOLD, log_of(session), "r")
    other = start(holders, HOLD, log_of(tmp_path / "session_1"), "a")
    guard = RayGuard(tmp_path)
    guard.watch(session)
    assert writer.poll() is None
    guard.end()
    assert writer.wait(10) == -9
    assert reader.poll() is None and other.poll() is None


@pytest.mark.parametrize("session_is", ["known", "unknown"])
def test_guard_outlives_a_killed_driver(
    session_is: str, tmp_path: Path, holders: list[subprocess.Popen[bytes]]
) -> None:
    session = tmp_path / "session_1"
    driver = start(holders, DRIVER, str(session), session_is)
    if session_is == "unknown":  # it is found by the driver's PID, which Ray puts in the name
        session = tmp_path / f"session_2026-01-01_00-00-00_000000_{driver.pid}"
    writer = start(holders, HOLD, log_of(session), "a")
    driver.kill()
    assert writer.wait(10) == -9


def test_guard_that_was_killed_disturbs_nobody(tmp_path: Path) -> None:
    guard = RayGuard(tmp_path)
    guard._process.kill()
    time.sleep(0.2)
    guard.watch(tmp_path / "session_1")
    guard.end()
    assert processes_of(str(tmp_path)) == []
