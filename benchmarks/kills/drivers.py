"""How long Ray outlives a driver that is killed: `python -m benchmarks.kills.drivers [--runs 20] [--unguarded 4]`.

Each run starts an extraction, kills the command with SIGKILL while it works, and waits until its Ray is gone.
For comparison, some runs kill the guard first (see jobs/cluster/guard.py); they take a minute longer.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jobs.cluster.guard import processes_of
from training.world.videos import write_demo_videos

_LONGEST_SECONDS = 120.0
_POLL_SECONDS = 0.05
_NETWORK = ("--model", "msnet_resnet18", "--weights", "random", "--size", "64", "--device", "cpu")


def main() -> None:
    """Kill drivers and print the seconds with and without the guard."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills.drivers", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--unguarded", type=int, default=4)
    options = parser.parse_args()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="kill") as place:
        folder = Path(place)
        write_demo_videos(folder / "videos", 2)
        for run in range(options.runs + options.unguarded):
            guarded = run < options.runs
            seconds[guarded].append(_seconds_left(folder, run, guarded))
            print(f"{'guarded' if guarded else 'unguarded'}: {seconds[guarded][-1]:.1f} s", flush=True)
    for guarded, found in seconds.items():
        if found:
            name = "guarded" if guarded else "unguarded"
            print(f"{name}: median {statistics.median(found):.1f} s, longest {max(found):.1f} s of {len(found)}")


def _seconds_left(folder: Path, run: int, guarded: bool) -> float:
    """Kill a working driver; returns the seconds until no process of its Ray is left."""
    command = [sys.executable, "-m", "msnet_features", "extract", str(folder / "videos")]
    driver = subprocess.Popen(
        [*command, "--out", str(folder / f"store-{run}"), *_NETWORK],
        env={**os.environ, "RAY_TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sessions = f"{folder}/ray/session_*_{driver.pid}"
    _wait(lambda: any(b"ray::Decoder" in _command(pid) for pid in processes_of(sessions)) or driver.poll() is not None)
    if not guarded:
        for pid in _guards_of(driver.pid):
            os.kill(pid, signal.SIGKILL)
    driver.kill()
    driver.wait()
    began = time.monotonic()
    _wait(lambda: not processes_of(sessions))
    return time.monotonic() - began


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _guards_of(driver: int) -> list[int]:
    found = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [
        pid for pid in found if b"cluster/guard.py" in (line := _command(pid)) and line.endswith(b"\0%d\0" % driver)
    ]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


if __name__ == "__main__":
    main()
