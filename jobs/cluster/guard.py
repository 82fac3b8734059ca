"""Kills what a local Ray leaves behind. It runs in a process of its own, so it outlives a driver that is killed.

Ray's agents end when the head tells them to. A head that is killed with the driver cannot, and they stay for half a
minute; workers that lost their raylet keep working for a while. The guard finds both by a file that they have open for
writing below the session's folder (processes that read Ray's logs are left alone).

As a script: `python guard.py TEMPORARY_FOLDER PID`, with the PID of the driver. Standard input carries the session's
folder once it is known, and ends when the driver does. Needs the standard library and /proc; without /proc it does
nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

_PROCESSES = Path("/proc")
_ROUNDS = 60  # more than one: a worker may be starting another process
_PAUSE_SECONDS = 0.03
_QUIET_ROUNDS = 2  # in a row without a process left, which end the guard
_END_SECONDS = 10.0  # for the guard to finish at the end of a run


class RayGuard:
    """The guard, as its driver sees it. Create it before Ray starts."""

    def __init__(self, temporary: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(temporary), str(os.getpid())]
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it
        )

    def watch(self, session: Path) -> None:
        """Restrict the guard to processes of this session."""
        assert self._process.stdin is not None
        with suppress(OSError):  # the guard was killed; nothing depends on it
            self._process.stdin.write(os.fsencode(session) + b"\n")

    def end(self) -> None:
        """Kill what is left of the session; returns when it is gone."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def processes_of(pattern: str) -> list[int]:
    """Ids of processes with a file open for writing in or below a folder that matches a pattern."""
    found = []
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # the process ended meanwhile, or belongs to another user
            if any(_writes(folder, entry, pattern) for entry in (folder / "fd").iterdir()):
                found.append(int(folder.name))
    return found


def _writes(process: Path, opened: Path, pattern: str) -> bool:
    try:
        if not fnmatch(str(opened.readlink()), f"{pattern}/*"):
            return False
        lines = (process / "fdinfo" / opened.name).read_text().splitlines()
        flags = next(line for line in lines if line.startswith("flags:"))
    except (OSError, StopIteration):
        return False
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _main(temporary: str, driver: int) -> None:
    pattern = f"{_escaped(temporary)}/session_*_{driver}"
    for line in sys.stdin.buffer:
        pattern = _escaped(os.fsdecode(line.rstrip(b"\n")))
    quiet = 0
    for _ in range(_ROUNDS):
        left = [pid for pid in processes_of(pattern) if pid not in (driver, os.getpid())]
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if left else quiet + 1
        if quiet == _QUIET_ROUNDS:
            return
        time.sleep(_PAUSE_SECONDS)


def _escaped(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
