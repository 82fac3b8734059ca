"""Running `msnet` as a user does, in a process of its own, and finding the processes that belong to a run."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from extractor.store import read_run
from extractor.store.commits.staging import all_staged
from jobs.cli.main import main
from jobs.cluster.machine import private_memory_bytes
from schemas.layout import StorePaths

MARK = "MSNET_TEST_RUN"

SMALL = ("--model", "msnet_resnet18", "--weights", "random", "--size", "64", "--device", "cpu")


class Running:
    """A started `msnet`; its workers inherit a mark in their environment, by which they are found."""

    def __init__(self, *arguments: str | Path, cwd: Path | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "msnet_features", *map(str, arguments)],
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
        )
        self.out = self.err = ""

    def workers(self, kind: str) -> list[int]:
        """Process ids of this run's Ray actors of a class, "Extractor", "Decoder" or "Writer"."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                command = (folder / "cmdline").read_bytes()
                if f"ray::{kind}".encode() in command and self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def wait_for(self, condition: object, seconds: float = 90.0) -> None:
        """Wait until `condition()` is true or the run has ended."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def kill(self, pid: int | None = None) -> None:
        """kill -9 of the driver, or of the process with this id."""
        try:
            os.kill(self.process.pid if pid is None else pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def end(self, seconds: float = 240.0) -> int:
        """Wait for the end; its exit code."""
        self.out, self.err = self.process.communicate(timeout=seconds)
        return self.process.returncode


def msnet(*arguments: str | Path) -> Running:
    """Run to the end."""
    running = Running(*arguments)
    running.end()
    return running


class Ended(NamedTuple):
    """Exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def here(*arguments: str | Path) -> Ended:
    """Run `msnet` to the end in this process, which may start Ray; `msnet()` takes seconds longer to import torch."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return Ended(end.value.code, out.getvalue(), err.getvalue())


def staged(store: Path) -> dict[str, set[str]]:
    """Ids of what is staged, with the attempts that staged it."""
    found: dict[str, set[str]] = {}
    paths = StorePaths(store)
    for folder in store.glob("staging/*"):
        for video_id, items in all_staged(paths, read_run(paths), folder.name).items():
            found.setdefault(video_id, set()).update(item.path.parent.name for item in items)
    return found


def decoded(store: Path) -> list[tuple[str, str]]:
    """(attempt, path) of every file whose decoding was begun, by the store's logs, in order."""
    found = []
    for log in sorted((store / "logs").glob("*.log")):
        found += re.findall(r"shard-\d+\.([0-9a-f]+): decoding (.+)", log.read_text())
    return found


def lines_with(texts: Sequence[str], word: str) -> list[str]:
    """Lines of several texts that hold a word."""
    return [line for text in texts for line in text.splitlines() if word in line]


def peak_memory_bytes(*arguments: str | Path) -> int:
    """Run to the end; the sum over its processes of the most memory that each had to itself at a time."""
    running = Running(*arguments)
    peaks: dict[int, int] = {}
    while running.process.poll() is None:
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if running.mark.encode() not in (folder / "environ").read_bytes():
                    continue
            except OSError:
                continue
            pid = int(folder.name)
            peaks[pid] = max(peaks.get(pid, 0), private_memory_bytes(pid) or 0)
        time.sleep(0.1)
    assert running.end() == 0, running.err
    return sum(peaks.values())
