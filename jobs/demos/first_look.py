"""`msnet demo`: extracts short procedural videos with the bundled weights, and detects where their motion changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from extractor.extraction.request import Request
from extractor.store.reader import FeatureStore
from gebd.detection.detector import detect
from jobs.cluster.options import Options
from jobs.demos.folder import begin_demo
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from schemas.config import Sampling
from training.world.videos import TRUTH_NAME, DemoVideo, read_demo_videos, write_demo_videos

_MODEL = "msnet_resnet18"

NEAR_SECONDS = 0.25
"""From a change within which what was detected counts as found: changes are most of a second apart, or more."""


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One video: its frames, when its motion truly changes, and when that was detected, in seconds."""

    video_id: str
    seconds: float
    frames: int
    changes: tuple[float, ...]
    detected: tuple[float, ...]

    @property
    def found(self) -> int:
        """How many of the changes were detected."""
        return sum(_is_near(change, self.detected) for change in self.changes)

    @property
    def wrong(self) -> int:
        """How many of those detected are no change."""
        return sum(not _is_near(time, self.changes) for time in self.detected)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Folders of the videos and the store, their annotations, how the extraction ended, and one row per video."""

    folder: Path
    truth: Path
    store: Path
    outcome: Outcome
    videos: tuple[DemoRow, ...]


def run_demo(out: Path, count: int = 6, seed: int = 0, watcher: Watcher | None = None) -> DemoResult:
    """Write `count` videos to out/videos, their truth to out, and extract them, dense at 10 Hz, into out/store.

    A second call continues; another count or seed is refused (see `begin_demo`).
    """
    watcher = watcher or Watcher()
    folder, truth, store = out / "videos", out / TRUTH_NAME, out / "store"
    begin_demo(out, {"videos": count, "seed": seed})
    videos = read_demo_videos(folder, truth)
    if not videos:  # rewritten files would count as changed when an interrupted demonstration continues
        watcher.say(f"writing {count} procedural videos to {folder}")
        videos = write_demo_videos(folder, count, seed, truth=truth)
    request = Request(model=_MODEL, sampling=Sampling.DENSE)
    outcome = extract(folder, store, request, Options(), watcher)
    with FeatureStore(store) as done:  # of fewer than all after an interruption
        found = detect(done).boundaries if done.video_ids else {}
        rows = tuple(_row(done, video, found[video.path.name]) for video in videos if video.path.name in found)
    return DemoResult(folder, truth, store, outcome, rows)


def _row(store: FeatureStore, video: DemoVideo, detected: Iterable[float]) -> DemoRow:
    name = video.path.name
    frames = len(store.video(name, ["frame"])["frame"])
    changes = tuple(boundary.seconds for boundary in video.boundaries)
    return DemoRow(name, video.duration_seconds, frames, changes, tuple(map(float, detected)))


def _is_near(time: float, others: Iterable[float]) -> bool:
    return any(abs(time - other) <= NEAR_SECONDS for other in others)
