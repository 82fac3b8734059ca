"""One attempt at one shard in an extractor: which files are left, what became of its items, what to report."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable

from extractor.pipeline.feeder import Feeder
from extractor.pipeline.files import FileFrames
from extractor.pipeline.messages import ItemDone, ItemFailed, Message
from extractor.store.commits.run import Run
from extractor.store.commits.staging import new_attempt, staged_items
from jobs.workers.decoder_pool import FileEvent
from jobs.workers.events import ShardCommitted, ShardProgress, ShardTask, StageSeconds
from schemas.errors import VideoError
from schemas.layout import StorePaths
from schemas.records import Decoded, Failure, FileJob, Header, Restart

_LOOK_SECONDS = 1.0  # between two looks at the store for the commit of another attempt


class ShardAttempt:
    """One attempt at one shard.

    events: what `Extractor.run_shard` yields; an exception ends it with that, None without one. rounds: how often its
    files were begun, which is more than once if staged items turned out to be damaged.
    """

    def __init__(
        self, task: ShardTask, paths: StorePaths, run: Run, feeder: Feeder, tell: Callable[[Message], None]
    ) -> None:
        self.task = task
        self.attempt = new_attempt(paths, run, task.shard, task.lease_token)
        self.events: queue.SimpleQueue[ShardProgress | ShardCommitted | Exception | None] = queue.SimpleQueue()
        self.seconds = StageSeconds()
        self.rounds = 0
        self.waiting: list[FileJob] = []  # files that no decoder was given
        self.told_last_files = False
        self.reported = time.monotonic()
        self._paths = paths
        self._run = run
        self._feeder = feeder
        self._tell = tell
        self._files: dict[FileJob, FileFrames | None] = {}  # given to decoders; None before their first event
        self._unwritten: set[str] = set()  # their items that the writer has not reported
        self._started: list[str] = []
        self._finished: list[ItemDone | Failure] = []
        self._notes: list[str] = []
        self._looked = -math.inf
        self._committed = False

    @property
    def done(self) -> bool:
        """Whether every file came to its end and every item is durable."""
        return not (self.waiting or self._files or self._unwritten)

    def is_committed(self) -> bool:
        """Whether any attempt has committed the shard; looks at the store now and then."""
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked, self._committed = now, self._paths.commit(self.task.shard).exists()
        return self._committed

    def begin(self) -> None:
        """Find the files with items that no attempt has staged, and fail those that killed their extractors."""
        self.rounds += 1
        staged = staged_items(self._paths, self._run, self.task.shard)
        poisonous = dict(self.task.poisonous)
        for job in self.task.jobs:
            items = tuple(item for item in job.items if item.video_id not in staged)
            if not items:
                continue
            if (error := poisonous.get(job.path)) is None:
                self.waiting.append(FileJob(job.path, items, job.size_bytes, job.mtime_ns, job.fps))
                continue
            for item in items:
                self._unwritten.add(item.video_id)
                self._tell(ItemFailed(self.task.shard, Failure(item.video_id, error.failure, error.message, 3)))

    def take_files(self) -> list[FileJob]:
        """Files to decode now: all that wait, or one if they run one by one."""
        count = len(self.waiting)
        if self.task.one_by_one:
            count = 0 if self._files or self._unwritten else 1
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        for job in taken:
            self._files[job] = None
            self._unwritten |= {item.video_id for item in job.items}
        return taken

    def handle(self, event: FileEvent) -> None:
        """Handle an event of a decoder."""
        if event.job not in self._files:  # it was cancelled
            return
        file = self._files[event.job]
        if file is None:
            file = self._files[event.job] = FileFrames(event.job, self.task.shard, self._feeder, self._tell)
            self._started.append(event.job.path)
            if self.task.one_by_one:  # so that the driver knows which file is at hand if this process dies
                self.report()
        match event.event:
            case VideoError():
                file.fail(event.event, event.attempts)
            case _:
                file.handle(event.event)
        if file.ended:
            del self._files[event.job]
        self._note(event)

    def wrote(self, result: ItemDone | Failure) -> None:
        """Take note that an item is durable, or its failure."""
        self._unwritten.discard(result.video_id)
        self._finished.append(result)

    def cancel(self) -> list[FileJob]:
        """Give up all files that are not finished; returns those that were given to decoders."""
        for file in self._files.values():
            if file is not None:
                file.cancel()
        jobs = list(self._files)
        self._unwritten -= {item.video_id for job in jobs for item in job.items}
        self._files.clear()
        self.waiting.clear()
        return jobs

    def report(self, decoders: int = 0, *, last_files: bool = False) -> None:
        """Report what happened since the last report."""
        self.events.put(
            ShardProgress(
                self.task.shard,
                self.attempt.name,
                tuple(self._started),
                tuple(self._finished),
                tuple(self._notes),
                self.seconds,
                decoders,
                last_files,
            )
        )
        self._started, self._finished, self._notes, self.seconds = [], [], [], StageSeconds()
        self.reported = time.monotonic()
        self.told_last_files |= last_files

    def note(self, lines: list[str]) -> None:
        """Add lines to the next report, for the log."""
        self._notes += lines

    def _note(self, event: FileEvent) -> None:
        match event.event:
            case Header(info=info) if info.flags:
                self._notes.append(f"{event.job.path}: not decoded by decord ({', '.join(info.flags)})")
            case Restart(reason=reason):
                self._notes.append(f"{event.job.path}: restarted: {reason}")
            case Decoded() as decoded:
                self.seconds.decode += decoded.decode_seconds
                self.seconds.transform += decoded.transform_seconds
                if "from_start" in decoded.flags:
                    self._notes.append(f"{event.job.path}: decoded from its start, though its segments lie late")
