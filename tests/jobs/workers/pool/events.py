"""All events of files that a pool of decoders decodes, for tests and benchmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import ray

from jobs.workers.decoder_pool import DecoderPool, FileEvent
from schemas.records import FileJob


def file_events(pool: DecoderPool, jobs: Sequence[FileJob]) -> Iterator[FileEvent]:
    """Events of files until all have ended."""
    pool.add(jobs)
    ready: list[Any] = []
    while True:
        yield from pool.poll(ready)
        if pool.idle:
            return
        awaited = pool.awaited()
        ray.wait(awaited, num_returns=1, timeout=0.5)
        ready = ray.wait(awaited, num_returns=len(awaited), timeout=0)[0]


def events_of(pool: DecoderPool, jobs: Sequence[FileJob]) -> dict[FileJob, list[FileEvent]]:
    found = defaultdict(list)
    for event in file_events(pool, jobs):
        found[event.job].append(event)
    return dict(found)
