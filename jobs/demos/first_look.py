"""`msnet demo`: extracts short procedural videos with the bundled weights, and finds where features change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.extraction.request import Request
from extractor.store.reader import FeatureStore
from jobs.cluster.options import Options
from jobs.demos.folder import begin_demo
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from schemas.config import Sampling
from training.world.videos import DemoVideo, read_demo_videos, write_demo_videos

_MODEL = "msnet_resnet18"
_APART_SECONDS = 0.5  # between two changes, and from the ends, where frames lack neighbours


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One video: its frames, the true boundaries of its motion, and when its features change most, in seconds."""

    video_id: str
    seconds: float
    frames: int
    boundaries: str
    peaks: str


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Folders of the videos and the store, how the extraction ended, and one row per video."""

    folder: Path
    store: Path
    outcome: Outcome
    videos: tuple[DemoRow, ...]


def run_demo(out: Path, count: int = 6, seed: int = 0, watcher: Watcher | None = None) -> DemoResult:
    """Write `count` videos to out/videos and extract them, dense at 10 Hz, into out/store.

    A second call continues; another count or seed is refused (see `begin_demo`).
    """
    watcher = watcher or Watcher()
    folder, store = out / "videos", out / "store"
    begin_demo(out, {"videos": count, "seed": seed})
    videos = read_demo_videos(folder)
    if not videos:  # rewritten files would count as changed when an interrupted demonstration continues
        watcher.say(f"writing {count} procedural videos to {folder}")
        videos = write_demo_videos(folder, count, seed)
    request = Request(model=_MODEL, sampling=Sampling.DENSE)
    outcome = extract(folder, store, request, Options(), watcher)
    features = FeatureStore(store)
    done = set(features.video_ids)  # fewer than all after an interruption
    rows = tuple(_row(features, video) for video in videos if video.path.name in done)
    features.close()
    return DemoResult(folder, store, outcome, rows)


def _row(features: FeatureStore, video: DemoVideo) -> DemoRow:
    found = features.video(video.path.name, ["frame", "time_seconds"])
    peaks = largest_changes(found["frame"], found["time_seconds"], len(video.boundaries))
    return DemoRow(
        video.path.name,
        video.duration_seconds,
        len(found["time_seconds"]),
        " ".join(f"{boundary.seconds:.1f}" for boundary in video.boundaries),
        " ".join(f"{peak:.1f}" for peak in peaks),
    )


def largest_changes(
    features: npt.NDArray[np.floating], time_seconds: npt.NDArray[np.float64], count: int
) -> list[float]:
    """The `count` times at which (m, D) frame features differ most from the frame before, half a second apart."""
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True) + 1e-12
    change = 1 - np.sum(unit[1:] * unit[:-1], axis=1)
    times = time_seconds[1:]
    peaks: list[float] = []
    inside = (times >= times[0] + _APART_SECONDS) & (times <= times[-1] - _APART_SECONDS)
    for i in np.argsort(np.where(inside, -change, np.inf))[: int(inside.sum())]:
        if len(peaks) < count and all(abs(times[i] - peak) >= _APART_SECONDS for peak in peaks):
            peaks.append(float(times[i]))
    return sorted(peaks)
