"""Demux every file of a dataset before planning it, in processes that a bad file may kill."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from extractor.video.probing import ProbedItem
from schemas.errors import FailureClass, ResourceError
from schemas.records import FileJob
from schemas.wording import in_a_line, what_to_mend

_FILES_A_CALL = 32
_START_SECONDS = 120.0  # for a process to start; no file is charged for it
_MOST_DEATHS_AT_START = 5  # of processes, in a row
_SILENCE_SECONDS = 60.0
_SLOWEST_STORAGE_BYTES_A_SECOND = 10e6


def probe_files(
    jobs: Sequence[FileJob], spawn: Callable[[], Any], processes: int
) -> Iterator[tuple[FileJob, list[ProbedItem]]]:
    """Yield what demuxing finds for each file, in any order. spawn: starts a process with the methods of `Decoder`.

    If a call dies or is silent too long, its files are tried again one by one; a file that does it alone fails, without
    frames. Raises ResourceError if processes do not start.
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
    """Start processes and wait until they answer, so that no file is charged for their start."""
    actors = [spawn() for _ in range(count)]
    return [_started(actor, spawn) for actor in actors]


def _started(actor: Any, spawn: Callable[[], Any]) -> Any:
    """Wait until a process answers; replace it if it dies while starting."""
    for attempt in range(1, _MOST_DEATHS_AT_START + 1):
        try:
            ray.get(actor.process_id.remote(), timeout=_START_SECONDS)
            return actor
        except RayError as error:
            ray.kill(actor)
            if attempt == _MOST_DEATHS_AT_START:
                reason = in_a_line(error)
                raise ResourceError(
                    f"expected processes that read files to start; {attempt} did not ({reason}). {what_to_mend(reason)}"
                ) from error
        actor = spawn()
    raise AssertionError("the last attempt returns or raises")


def _limit_seconds(running: dict[Any, tuple[Any, list[FileJob]]]) -> float:
    size = max(sum(job.size_bytes or 0 for job in batch) for _, batch in running.values())
    return _SILENCE_SECONDS + size / _SLOWEST_STORAGE_BYTES_A_SECOND


def _unreadable(job: FileJob, error: RayError) -> list[ProbedItem]:
    timed_out = isinstance(error, ray.exceptions.GetTimeoutError)
    failure = FailureClass.TIMED_OUT if timed_out else FailureClass.DECODER_CRASHED
    message = "reading the file did not end" if timed_out else "reading the file killed its process"
    return [ProbedItem(item.video_id, failure=failure, message=message) for item in job.items]
