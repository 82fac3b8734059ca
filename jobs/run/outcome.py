"""The outcome of a run: counts, seconds by stage, and which stage is the bottleneck."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from jobs.cluster.placement import Placement
from jobs.run.limits import LEAST_SECONDS, LimitingStage, limit_of_run
from jobs.stores.run_times import RunTimes
from jobs.stores.standing import Standing
from jobs.workers.events import ShardProgress, StageSeconds
from schemas.records import Failure
from schemas.wording import counted


@dataclass(slots=True)
class Outcome:
    """Counts of one run (`done`, `failed`, `clips`, `frames`), and the standing of the videos `before` and `after` it.

    Both standings are of this job's part of the store; `after` is `before` until the run has ended.
    """

    workers: Placement
    before: Standing = field(default_factory=Standing)
    done: int = 0
    failed: int = 0
    clips: int = 0
    frames: int = 0
    seconds: StageSeconds = field(default_factory=StageSeconds)
    wall_seconds: float = 0.0
    given_up: tuple[str, ...] = ()
    interrupted: bool = False
    _after: Standing | None = None
    _new: dict[str, bool] = field(default_factory=dict)  # videos settled by this run: whether each failed
    _began: float | None = None
    decoders: int = 0  # of all extractors; 0 before the first report
    _device_seconds: float = 0.0  # of extractors, until `wall_seconds`

    @property
    def after(self) -> Standing:
        """The standing of the videos after the run."""
        return self.before if self._after is None else self._after

    @property
    def settled(self) -> int:
        """Videos that are done, staged or failed so far, before this run or in it."""
        return self.before.settled + len(self._new)

    @property
    def failed_so_far(self) -> int:
        """How many of the settled videos failed."""
        return len(self.before.failed) + sum(self._new.values())

    @property
    def complete(self) -> bool:
        """Whether every video of the part is planned and every shard committed."""
        return self.after.complete

    @property
    def exit_code(self) -> int:
        """0 all done, 2 finished with failed videos, 130 interrupted, 1 a shard was given up."""
        if self.interrupted:
            return 130
        if self.given_up or not self.complete:
            return 1
        return 2 if self.after.failed else 0

    def start_clock(self) -> None:
        """Start the clock: extractors are ready, and start-up does not count."""
        self._began = time.monotonic()

    def stop_clock(self) -> None:
        """Set `wall_seconds` to the time since `start_clock`."""
        if self._began is not None:
            self.wall_seconds = time.monotonic() - self._began

    def staff(self, workers: Placement, decoders: int) -> None:
        """Take note of the workers that there are from now on: nodes come and go, decoders follow the device."""
        self._account()
        if workers.groups:
            self.workers, self.decoders = workers, decoders

    def _account(self) -> None:
        before = self.wall_seconds
        self.stop_clock()
        self._device_seconds += (self.wall_seconds - before) * self.workers.extractors

    def add(self, progress: ShardProgress) -> None:
        """Count what an extractor reports."""
        for result in progress.finished:
            if not self.before.is_settled(result.video_id):
                self._new[result.video_id] = isinstance(result, Failure)
            if isinstance(result, Failure):
                self.failed += 1
            else:
                self.done += 1
                self.clips += result.clips
                self.frames += result.frames
        self.seconds.add(progress.seconds)
        self._account()

    def end(self, after: Standing) -> None:
        """Set the standing of the videos at the end of the run."""
        self._after = after

    def bottleneck(self) -> LimitingStage | None:
        """What to change for more speed; None after a run without videos, or one too short to tell."""
        if self.seconds.network <= 0 or self.done == 0 or self.wall_seconds < LEAST_SECONDS:
            return None
        of_devices = self._device_seconds or self.wall_seconds * self.workers.extractors
        decoders = max(self.decoders, self.workers.decoders)
        return limit_of_run(self.seconds, self.wall_seconds, of_devices, decoders, self.workers)

    def times(self) -> RunTimes:
        """Where the time of the run went, once it has ended."""
        began = datetime.now(UTC) - timedelta(seconds=self.wall_seconds)
        return RunTimes(
            began.isoformat(timespec="seconds"),
            self.wall_seconds,
            **asdict(self.seconds),
            done=self.done,
            failed=self.failed,
            frames=self.frames,
        )

    def one_line(self) -> str:
        """The outcome as one line of the log."""
        now = f"{self.after}, {counted(self.after.clips, 'clip')}"
        return f"{now}; this run {self.done} extracted, {self.failed} failed in {self.wall_seconds:.1f} s"
