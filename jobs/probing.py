"""Demuxing every file of a dataset before anything is planned, in processes that a bad file may kill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from extractor.video.probing import ProbedItem
from schemas.errors import FailureClass
from schemas.records import FileJob

__all__ = ["probe_files"]

_FILES_A_CALL = 32
_SILENCE_SECONDS = 60.0
_SLOWEST_STORAGE_BYTES_A_SECOND = 10e6


def probe_files(
    jobs: Sequence[FileJob], spawn: Callable[[], Any], processes: int
) -> Iterator[tuple[FileJob, list[ProbedItem]]]:
    """What every file would give, in any order. `spawn` starts a process with a method `probe` (see `Decoder`).

    A call that dies or is silent for too long is repeated file by file; a file that does it alone is without frames.
    """
    batches = deque(list(jobs[i : i + _FILES_A_CALL]) for i in range(0, len(jobs), _FILES_A_CALL))
    idle = [spawn() for _ in range(min(processes, len(batches)))]
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
                idle.append(spawn())
                if len(batch) > 1:
                    batches.extend([job] for job in batch)
                else:
                    yield batch[0], _unreadable(batch[0], error)
    for actor in idle:
        ray.kill(actor)


def _limit_seconds(running: dict[Any, tuple[Any, list[FileJob]]]) -> float:
    size = max(sum(job.size_bytes or 0 for job in batch) for _, batch in running.values())
    return _SILENCE_SECONDS + size / _SLOWEST_STORAGE_BYTES_A_SECOND


def _unreadable(job: FileJob, error: RayError) -> list[ProbedItem]:
    timed_out = isinstance(error, ray.exceptions.GetTimeoutError)
    failure = FailureClass.TIMED_OUT if timed_out else FailureClass.DECODER_CRASHED
    message = "reading the file did not end" if timed_out else "reading the file ended its process"
    return [ProbedItem(item.video_id, failure=failure, message=message) for item in job.items]
