"""Demuxing every file of a dataset before anything is planned, in processes that a bad file may kill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from extractor.video.probing import ProbedItem
from schemas.errors import FailureClass, ResourceError
from schemas.records import FileJob

__all__ = ["probe_files"]

_FILES_A_CALL = 32
_START_SECONDS = 120.0  # that processes may take to start; no file is charged for it
_MOST_DEATHS_AT_START = 5  # of processes, one after another
_SILENCE_SECONDS = 60.0
_SLOWEST_STORAGE_BYTES_A_SECOND = 10e6


def probe_files(
    jobs: Sequence[FileJob], spawn: Callable[[], Any], processes: int
) -> Iterator[tuple[FileJob, list[ProbedItem]]]:
    """What every file would give, in any order. `spawn` starts a process with the methods of `Decoder`.

    A call that dies or is silent for too long is repeated file by file; a file that does it alone is without frames.
    Raises ResourceError where processes do not start.
    """
    batches = deque(list(jobs[i : i + _FILES_A_CALL]) for i in range(0, len(jobs), _FILES_A_CALL))
    idle = _start(spawn, min(processes, len(batches)))
    running: dict[Any, tuple[Any, list[FileJob]]] = {}
    while batches or running:
        while idle and batches:
            actor, batch = idle.pop(), batches.popleft()
            running[actor.probe.remote(batch)] = actor, batch
        ready, _ = ray.wait(list(running), num_returns=1, timeout=_limit_seconds(running))
        for reference in ready or list(running):
            actor, batch = running.pop(reference)
            try:
                if not ready:
                    raise ray.exceptions.GetTimeoutError
                yield from zip(batch, ray.get(reference), strict=True)
                idle.append(actor)
            except RayError as error:
                ray.kill(actor)
                idle += _start(spawn, 1)
                if len(batch) > 1:
                    batches.extend([job] for job in batch)
                else:
                    yield batch[0], _unreadable(batch[0], error)
    for actor in idle:
        ray.kill(actor)


def _start(spawn: Callable[[], Any], count: int) -> list[Any]:
    """Processes that answer: the time they took to start is not silence of the files they get."""
    actors = [spawn() for _ in range(count)]
    return [_started(actor, spawn) for actor in actors]


def _started(actor: Any, spawn: Callable[[], Any]) -> Any:
    """A process that answers; another in place of one that dies as it starts."""
    for attempt in range(1, _MOST_DEATHS_AT_START + 1):
        try:
            ray.get(actor.process_id.remote(), timeout=_START_SECONDS)
            return actor
        except RayError as error:
            ray.kill(actor)
            if attempt == _MOST_DEATHS_AT_START:
                reason = str(error).splitlines()[0]
                raise ResourceError(
                    f"processes that read files were expected to start, {attempt} did not ({reason}): is there memory,"
                    " shared memory and room for processes?"
                ) from error
        actor = spawn()
    raise AssertionError("the last attempt returns or raises")


def _limit_seconds(running: dict[Any, tuple[Any, list[FileJob]]]) -> float:
    size = max(sum(job.size_bytes or 0 for job in batch) for _, batch in running.values())
    return _SILENCE_SECONDS + size / _SLOWEST_STORAGE_BYTES_A_SECOND


def _unreadable(job: FileJob, error: RayError) -> list[ProbedItem]:
    timed_out = isinstance(error, ray.exceptions.GetTimeoutError)
    failure = FailureClass.TIMED_OUT if timed_out else FailureClass.DECODER_CRASHED
    message = "reading the file did not end" if timed_out else "reading the file ended its process"
    return [ProbedItem(item.video_id, failure=failure, message=message) for item in job.items]
