"""Procedural video with known boundaries: the detector beside predictors that see no frame."""

from __future__ import annotations

from pathlib import Path

from extractor.extraction.request import Request
from gebd import Annotations, VideoAnnotation, compare_with_baselines, detect
from jobs.run.extraction import extract
from schemas.config import Sampling
from training.world.videos import DemoVideo, read_demo_videos, write_demo_videos

_FITTING_SEED, _TEST_SEED = 5_100_000, 5_200_000  # apart from those of demonstrations, training and evaluation
_SIZE_PX, _SECONDS, _INPUT_PX = (128, 160), (8.0, 12.0), 112  # as in `msnet gebd demo`


def print_beside_clocks(out: Path, fitting: int, test: int, seed: int) -> None:
    """Print F1 of all methods with intervals, and the detector's gain over each on the same resampled videos."""
    known = _videos(out / "videos-fitting", fitting, _FITTING_SEED + seed)
    truth = _videos(out / "videos-test", test, _TEST_SEED + seed)
    extract(out / "videos-test", out / "store-test", Request(sampling=Sampling.DENSE, size=_INPUT_PX))
    found = detect(out / "store-test", truth).boundaries
    comparison = compare_with_baselines(found, truth, name="detector", training=known)
    print(f"{test} procedural videos, input of {_INPUT_PX} px; the clock is fitted on {fitting} others")
    columns = [f"{column}{end}" for column in ("f1@0.05", "gain@0.05") for end in ("", "_low", "_high")]
    print(comparison.table[[*columns, "average_f1", "boundaries_per_video"]].round(3).to_string())


def _videos(folder: Path, count: int, seed: int) -> Annotations:
    """Write procedural videos, unless they are there, and return their annotations."""
    height, width = _SIZE_PX
    videos = read_demo_videos(folder) or write_demo_videos(
        folder, count, seed, height=height, width=width, seconds=_SECONDS
    )
    return Annotations(_annotation(video) for video in videos)


def _annotation(video: DemoVideo) -> VideoAnnotation:
    marks = tuple(boundary.seconds for boundary in video.boundaries)
    return VideoAnnotation(video.path.name, video.duration_seconds, (marks,), fps=float(video.fps))
