"""Judges file after file in a process of its own, which is replaced where it dies, hangs or swells.

As the product's pool of decoders does: a file whose process died is tried once more with PyAV alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.mutations.judge import Decode, Known, faults_of, given_by, truth_of
from jobs.cluster.machine import private_memory_bytes
from schemas.errors import FailureClass

__all__ = ["Judged", "WatchedChild"]

_POLL_SECONDS = 0.2
_START_SECONDS = 120.0
_FILES_A_CHILD = 500
_MOST_BYTES = 4 * 1024**3  # these two as the pool's DecoderLimits, which would bring Ray into every child
_SILENT_SECONDS = 5.0  # without an event, when the deadline is over: the pool waits for events, not for whole files


@dataclass
class Judged:
    """What became of one file.

    outcome: the value of a FailureClass, "sound", "flagged" (flags that the sound file has not, or times made up) or
    "fault". caught: what the product's pool of decoders would have caught and tried again. faults: kind and text.
    frames: how many were given. unseen: they are sound by all that PyAV tells, and some are not the sound file's.
    """

    outcome: str
    message: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    caught: str = ""
    no_truth: str = ""
    frames: int = 0
    unseen: bool = False


def _judged(decode: Decode, path: str, flags: frozenset[str], known: Known, distrust: str, link: Connection) -> Judged:
    given = given_by(decode, path, lambda: link.send("event"), distrust)
    if given.exception:
        return Judged("fault", faults=(("exception", given.exception),))
    if given.failure:
        return Judged(given.failure, given.message)
    flagged = given.info is not None and bool(given.info.times_made_up or set(given.info.flags) - flags)
    outcome = "flagged" if flagged else "sound"
    link.send(outcome)
    truth = truth_of(path)
    faults = tuple(faults_of(given, truth, known))
    unseen = not faults and any(known.get(digest) is None for digest in truth.digests())
    return Judged(outcome, faults=faults, frames=len(given.frames), unseen=unseen)


def _serve(link: Connection, decode: Decode, known: Known) -> None:
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FFmpeg's messages of two thousand damaged files
    link.send("ready")
    while True:
        path, flags, distrust = link.recv()
        link.send(_judged(decode, path, flags, known, distrust, link))


class WatchedChild:
    """Judges what `decode` gives for files, one at a time. Close it by `with`."""

    def __init__(self, decode: Decode, known: Known, deadline_seconds: float) -> None:
        self._arguments = (decode, known)
        self._deadline_seconds = deadline_seconds
        self._process: Any = None
        self._link: Connection | None = None
        self._files = 0

    def __enter__(self) -> WatchedChild:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def judge(self, path: Path, flags: frozenset[str] = frozenset()) -> Judged:
        """What becomes of a file. flags: those of the sound file that it was made of.

        A process that dies or swells is no fault where the second try, by PyAV alone, ends well: so does the pool.
        """
        first = self._once(path, flags, "")
        if not first.caught:
            return first
        second = self._once(path, flags, first.caught)
        if second.caught:
            second.outcome = first.outcome
        return replace(second, faults=first.faults + second.faults, caught=first.caught)

    def _once(self, path: Path, flags: frozenset[str], distrust: str) -> Judged:
        if self._process is None or self._files >= _FILES_A_CHILD:
            self._start()
        self._files += 1
        link = self._link
        assert link is not None
        link.send((str(path), flags, distrust))
        started = last_event = time.monotonic()
        decoded = ""
        while time.monotonic() - started < self._deadline_seconds:
            try:
                answer = link.recv() if link.poll(_POLL_SECONDS) else None
            except (EOFError, OSError):
                return self._ended(FailureClass.DECODER_CRASHED, f"died ({self._exit_code()})", decoded)
            if isinstance(answer, Judged):
                return answer
            if answer is not None:
                last_event = time.monotonic()
                decoded = "" if answer == "event" else answer
            memory = private_memory_bytes(self._process.pid)
            if memory is not None and memory > _MOST_BYTES:
                return self._ended(FailureClass.OUT_OF_MEMORY, "took too much memory", decoded)
        silent = time.monotonic() - last_event > min(_SILENT_SECONDS, self._deadline_seconds / 2)
        verdict = self._ended(FailureClass.TIMED_OUT, "hung", decoded)
        if not decoded:
            told = "the pool would end it as timed_out" if silent else "it gives events: the pool would wait on"
            verdict.faults = (("hang", f"no end after {self._deadline_seconds:.0f} s; {told}"),)
        return verdict

    def _ended(self, failure: FailureClass, how: str, decoded: str) -> Judged:
        """The child is gone, or must go. decoded: what it had said of the file before PyAV's own decoding began."""
        self._end()
        if decoded:
            return Judged(decoded, no_truth=f"PyAV's own decoding {how}")
        return Judged(failure.value, f"the decoder's process {how}", caught=f"the decoder's process {how}")

    def _start(self) -> None:
        self._end()
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._files = 0
        if not self._link.poll(_START_SECONDS) or self._link.recv() != "ready":
            raise RuntimeError("the process that decodes was expected to start, and did not")

    def _exit_code(self) -> str:
        self._process.join(_START_SECONDS)
        code = self._process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._link is not None:
            self._link.close()
            self._link = None
