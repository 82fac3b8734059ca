"""Judges files in a child process, which is replaced if it dies, hangs, or takes too much memory.

A file whose process died is judged a second time with PyAV alone, as the product's pool of decoders does it.
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

from benchmarks.mutations.judge import Decode, KnownFrames, faults_of, result_of, truth_of
from jobs.cluster.machine import private_memory_bytes
from schemas.errors import FailureClass

__all__ = ["Verdict", "WatchedChild"]

_POLL_SECONDS = 0.2
_START_SECONDS = 120.0
_FILES_A_CHILD = 500
_MOST_BYTES = 4 * 1024**3  # these two as in the pool's DecoderLimits, which would load Ray in every child
_SILENT_SECONDS = 5.0  # without an event at the deadline: the pool waits for events, not for whole files


@dataclass
class Verdict:
    """The verdict on one file.

    outcome: the value of a FailureClass, "sound", "flagged" (flags that the sound file lacks, or times made up) or
    "fault". caught: what the product's pool of decoders would have caught and tried again. faults: kind and text.
    no_truth: why PyAV's own decoding is missing. frames: how many were returned. unseen: PyAV finds them sound, but
    some are not the sound file's.
    """

    outcome: str
    message: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    caught: str = ""
    no_truth: str = ""
    frames: int = 0
    unseen: bool = False


def _verdict(
    decode: Decode, path: str, flags: frozenset[str], known: KnownFrames, distrust: str, link: Connection
) -> Verdict:
    result = result_of(decode, path, lambda: link.send("event"), distrust)
    if result.exception:
        return Verdict("fault", faults=(("exception", result.exception),))
    if result.failure:
        return Verdict(result.failure, result.message)
    flagged = result.info is not None and bool(result.info.times_made_up or set(result.info.flags) - flags)
    outcome = "flagged" if flagged else "sound"
    link.send(outcome)
    truth = truth_of(path)
    faults = tuple(faults_of(result, truth, known))
    unseen = not faults and any(known.get(digest) is None for digest in truth.digests())
    return Verdict(outcome, faults=faults, frames=len(result.frames), unseen=unseen)


def _serve(link: Connection, decode: Decode, known: KnownFrames) -> None:
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FFmpeg's messages of two thousand damaged files
    link.send("ready")
    while True:
        path, flags, distrust = link.recv()
        link.send(_verdict(decode, path, flags, known, distrust, link))


class WatchedChild:
    """Judges what `decode` returns for files, one at a time. Use it in a `with` block."""

    def __init__(self, decode: Decode, known: KnownFrames, deadline_seconds: float) -> None:
        self._arguments = (decode, known)
        self._deadline_seconds = deadline_seconds
        self._process: Any = None
        self._link: Connection | None = None
        self._files = 0

    def __enter__(self) -> WatchedChild:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def judge(self, path: Path, flags: frozenset[str] = frozenset()) -> Verdict:
        """The verdict on a file. flags: those of the sound file that it was made from.

        As in the pool, a process that dies or takes too much memory is no fault if the second attempt, by PyAV alone,
        ends well.
        """
        first = self._once(path, flags, "")
        if not first.caught:
            return first
        second = self._once(path, flags, first.caught)
        if second.caught:
            second.outcome = first.outcome
        return replace(second, faults=first.faults + second.faults, caught=first.caught)

    def _once(self, path: Path, flags: frozenset[str], distrust: str) -> Verdict:
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
            if isinstance(answer, Verdict):
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
            told = "the pool would end it as timed_out" if silent else "it sends events: the pool would wait on"
            verdict.faults = (("hang", f"no end after {self._deadline_seconds:.0f} s; {told}"),)
        return verdict

    def _ended(self, failure: FailureClass, how: str, decoded: str) -> Verdict:
        """End the child. decoded: its outcome for the file, if it had one before PyAV's own decoding began."""
        self._end()
        if decoded:
            return Verdict(decoded, no_truth=f"PyAV's own decoding {how}")
        return Verdict(failure.value, f"the decoder's process {how}", caught=f"the decoder's process {how}")

    def _start(self) -> None:
        self._end()
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._files = 0
        if not self._link.poll(_START_SECONDS) or self._link.recv() != "ready":
            raise RuntimeError(
                f"expected the decoding process to start within {_START_SECONDS:.0f} s; got no answer. Try again"
            )

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
