"""A process beside an extractor that stages rows and commits shards, so that the extractor only feeds its device."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from extractor.pipeline.messages import ItemDone, Message
from extractor.pipeline.writing import RowsWriter
from extractor.store.commits.records import CommitStatus
from extractor.store.commits.staging import Attempt, StagingLog
from jobs.workers.imports import without_collection
from schemas.records import Failure

_COMMITS = "commits"
"""Concurrency group: a shard is committed while rows of the next one are staged."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became durable with a call, each with its shard, and the seconds that it took."""

    reports: tuple[tuple[str, ItemDone | Failure], ...]
    seconds: float


class Writer:
    """Stages the rows of shards and commits them. A plain class; `spawn_writer` makes an actor of it."""

    def __init__(self) -> None:
        with without_collection():  # here, as the extractor, which imports this class first, needs no pandas
            from extractor.store.commits.commit import commit_shard

        self._commit_shard = commit_shard
        self._logs: dict[str, StagingLog] = {}
        self._rows = RowsWriter(self._logs.__getitem__)

    def process_id(self) -> int:
        """Id of this process."""
        return os.getpid()

    def begin(self, attempt: Attempt) -> None:
        """Open an attempt at a shard."""
        self._logs[attempt.shard] = StagingLog(attempt)

    def write(self, messages: Sequence[Message]) -> Written:
        """Handle messages in order; what they finished is durable when this returns."""
        began = time.perf_counter()
        reports = self._rows.handle(messages)
        for shard in {shard for shard, _ in reports}:
            self._logs[shard].sync()
        return Written(tuple(reports), time.perf_counter() - began)

    def end(self, shard: str) -> None:
        """Close an attempt: all of its rows were sent."""
        self._logs.pop(shard).close()

    @ray.method(concurrency_group=_COMMITS)
    def commit(self, attempt: Attempt, video_ids: Sequence[str]) -> tuple[CommitStatus, float]:
        """Write the shard from what is staged and publish it; also returns the seconds that it took."""
        began = time.perf_counter()
        status = self._commit_shard(attempt, video_ids)
        return status, time.perf_counter() - began


def spawn_writer() -> Any:
    """A writer on this node. It reserves no core: it is a tenth of what its extractor and decoders need."""
    node = ray.get_runtime_context().get_node_id()
    remote: Any = ray.remote(concurrency_groups={_COMMITS: 1})  # type: ignore[call-overload]
    actor = remote(Writer).options(
        num_cpus=0, max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    return actor.remote()
