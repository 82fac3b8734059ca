"""What came of a run: counts, seconds by stage, and which stage is the bottleneck."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

import pandas as pd

from jobs.devices import Workers
from jobs.events import ShardProgress, StageSeconds
from schemas.records import Failure

__all__ = ["Bottleneck", "Outcome"]

_WAITING_SHARE = 0.25  # of an extractor's time, from which on the decoders are what it waits for


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The stage that decides how long a run takes, and the option that would help."""

    stage: str
    advice: str


@dataclass(slots=True)
class Outcome:
    """Counts of one run (`done`, `failed`, `clips`, `frames`) and, after `settle`, of the whole store."""

    workers: Workers
    video_ids: set[str] = field(default_factory=set)  # of this job's part of the inventory
    done_before: int = 0
    failed_before: int = 0
    staged_before: int = 0
    done: int = 0
    failed: int = 0
    clips: int = 0
    frames: int = 0
    seconds: StageSeconds = field(default_factory=StageSeconds)
    wall_seconds: float = 0.0
    given_up: tuple[str, ...] = ()
    interrupted: bool = False
    failures: Counter[str] = field(default_factory=Counter)  # of the part, by class
    videos_stored: int = 0
    videos_staged: int = 0  # finished, in shards that are not committed
    videos_left: int = 0  # neither finished nor failed for good
    clips_stored: int = 0
    _began: float | None = None

    @property
    def settled(self) -> int:
        """Videos that are done or failed so far, before this run or in it."""
        return self.done_before + self.failed_before + self.staged_before + self.done + self.failed

    @property
    def complete(self) -> bool:
        """Whether every shard of the part is committed."""
        return self.videos_staged + self.videos_left == 0

    @property
    def exit_code(self) -> int:
        """0 all done, 2 finished with failed videos, 130 interrupted, 1 a shard was given up."""
        if self.interrupted:
            return 130
        if self.given_up or not self.complete:
            return 1
        return 2 if self.failures else 0

    def start_clock(self) -> None:
        """Extractors are ready; start-up is not counted."""
        self._began = time.monotonic()

    def stop_clock(self) -> None:
        """The last shard is done."""
        if self._began is not None:
            self.wall_seconds = time.monotonic() - self._began

    def add(self, progress: ShardProgress) -> None:
        """Count what an extractor told."""
        for result in progress.finished:
            if isinstance(result, Failure):
                self.failed += 1
            else:
                self.done += 1
                self.clips += result.clips
                self.frames += result.frames
        self.seconds.add(progress.seconds)
        self.stop_clock()

    def settle(
        self,
        manifest: pd.DataFrame,
        failures: pd.DataFrame,
        pending: Set[str] = frozenset(),
        staged: Set[str] = frozenset(),
    ) -> None:
        """Take the final counts from the store's tables. `pending`: videos of shards that are not committed, of which
        `staged` are finished; a video that is being tried again counts as pending, not as failed.
        """
        mine = manifest[manifest["video_id"].isin(self.video_ids)]
        self.videos_stored, self.clips_stored = int(mine["video_id"].nunique()), len(mine)
        self.failures = Counter(failures[failures["video_id"].isin(self.video_ids - pending)]["failure"])
        self.videos_staged, self.videos_left = len(staged), len(pending - staged)

    def bottleneck(self) -> Bottleneck | None:
        """What to change for more speed; None where there is too little to tell."""
        seconds, workers = self.seconds, self.workers
        busy = seconds.network + seconds.write + seconds.waiting
        if busy <= 0 or self.done == 0:
            return None
        decoding = seconds.decode + seconds.transform
        # less than that, and what was waited for is the first frames of a short run
        if seconds.waiting > _WAITING_SHARE * busy and decoding > seconds.network + seconds.write:
            more = f"--decoders {2 * workers.decoders}"
            stage = "decode" if seconds.decode >= seconds.transform else "transform"
            return Bottleneck(stage, f"more decoders would help, as far as there are cores: {more}")
        if seconds.write > seconds.network:
            return Bottleneck("write", "fewer or smaller --outputs, --compression none, or faster storage would help")
        if workers.gpu:
            return Bottleneck(
                "network", "--dtype float16 (on a GPU), more GPUs with --extractors, or a smaller --model would help"
            )
        return Bottleneck("network", "a GPU, more cores, or a smaller --model would help")

    def one_line(self) -> str:
        """For the log."""
        return (
            f"{self.videos_stored} videos with {self.clips_stored} clips stored, {self.failures.total()} failed, "
            f"of {len(self.video_ids)}; this run {self.done} done, {self.failed} failed in {self.wall_seconds:.1f} s"
        )
