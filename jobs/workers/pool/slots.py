"""The processes of a pool, and the files they are at."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from extractor.video.objects.cache import MOST_WAIT_SECONDS
from extractor.video.sampling import suggested_deadline_seconds
from jobs.cluster.machine import private_memory_bytes
from jobs.cluster.options import DecoderLimits
from jobs.workers.pool.sharing import SharedFile
from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob, is_address


@dataclass(slots=True)
class QueuedFile:
    """A file, or one decoder's part of it: then `shared` is the same for all. alone: no other decoder may join."""

    job: FileJob
    attempts: int = 1
    distrust: str = ""
    alone: bool = False
    shared: SharedFile | None = None
    began: bool = True  # before any other decoder
    sent: bool = False
    has_header: bool = False
    leaves: bool = False  # was asked to end its part
    duration_seconds: float = 0.0

    def again(self, **changes: Any) -> QueuedFile:
        """The file as it waits to be decoded."""
        return replace(QueuedFile(self.job, self.attempts, self.distrust, self.alone), **changes)

    def sending(self) -> tuple[FileJob, str]:
        """What a decoder is told of it."""
        self.sent = True
        return replace(self.job, shared=not self.alone), self.distrust


@dataclass(slots=True)
class Slot:
    """One decoder process and its work."""

    actor: Any
    # References to requested answers, in order: the process id first, then events. A file is sent once the first has
    # come, so that a process that died before it read a file is not mistaken for a file that kills it, or the reverse.
    answers: deque[Any]
    asks: bool  # Ray for a core, and may wait for it
    retiring: bool = False
    process_id: int | None = None
    tasks: deque[QueuedFile] = field(default_factory=deque)
    head_since: float = 0.0
    files: int = 0

    def verdict(self, limits: DecoderLimits, *, silent: bool) -> VideoError | None:
        """Why a decoder must be replaced, if it must: its memory, or how long it has been silent."""
        memory = private_memory_bytes(self.process_id) if self.process_id else None
        if memory is not None and memory > limits.memory_bytes:
            most = limits.memory_bytes / 1024**3
            return VideoError(FailureClass.OUT_OF_MEMORY, f"decoding took more than {most:.1f} GiB of memory")
        task = self.tasks[0]
        fetched = is_address(task.job.path) and not task.has_header
        waits = MOST_WAIT_SECONDS if fetched else 0.0  # for room in the cache
        limit = suggested_deadline_seconds(
            task.job.size_bytes, task.duration_seconds, base_seconds=limits.silence_seconds + waits
        )
        if silent and time.monotonic() - self.head_since > limit:
            return VideoError(FailureClass.TIMED_OUT, f"the decoder returned nothing for {limit:.0f} s")
        return None


def joinable(slots: Iterable[Slot]) -> QueuedFile | None:
    """The file that most needs another decoder, if one does."""
    heads = [slot.tasks[0] for slot in slots if slot.tasks]
    shared = [task for task in heads if task.shared is not None and task.shared.wants_decoders]
    return max(shared, key=lambda task: task.shared.left if task.shared else 0, default=None)
