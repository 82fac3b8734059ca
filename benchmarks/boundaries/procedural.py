"""Procedural video with known boundaries: the detector beside predictors that see no frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gebd import Annotations, Comparison, VideoAnnotation, detect, evaluate, uniform_matched
from jobs.run.extraction import extract
from jobs.run.request import Request
from schemas.config import Sampling
from training.world.videos import DemoVideo, read_demo_videos, write_demo_videos

_FITTING_SEED, _TEST_SEED = 5_100_000, 5_200_000  # apart from those of demonstrations, training and evaluation
_SIZE_PX, _SECONDS, _INPUT_PX = (128, 160), (8.0, 12.0), 112  # as in `msnet gebd demo`
_TOLERANCE = 0.05


def print_beside_clocks(out: Path, fitting: int, test: int, seed: int) -> None:
    """Print F1 of all methods with intervals, and the detector's gain over each on the same resampled videos."""
    known = _videos(out / "videos-fitting", fitting, _FITTING_SEED + seed)
    truth = _videos(out / "videos-test", test, _TEST_SEED + seed)
    extract(out / "videos-test", out / "store-test", Request(sampling=Sampling.DENSE, size=_INPUT_PX))
    found = detect(out / "store-test", truth).boundaries
    phase, period = fit_clock(known)
    methods = {
        "detector": found,
        "uniform-matched": uniform_matched(found, truth),
        f"clock {phase:.2f} s, then every {period:.2f} s": clock(truth, phase, period),
    }
    comparison = Comparison({name: evaluate(marks, truth) for name, marks in methods.items()})
    print(f"{test} procedural videos, input of {_INPUT_PX} px; the clock is fitted on {fitting} others")
    columns = [f"{column}{end}" for column in ("f1@0.05", "gain@0.05") for end in ("", "_low", "_high")]
    print(comparison.table[[*columns, "average_f1", "boundaries_per_video"]].round(3).to_string())


def clock(truth: Annotations, phase_seconds: float, period_seconds: float) -> dict[str, list[float]]:
    """Return a mark at `phase_seconds` and one every `period_seconds` from there to the end, for every video."""
    return {
        video_id: np.arange(phase_seconds, video.duration_seconds, period_seconds).tolist()
        for video_id, video in truth.items()
    }


def fit_clock(truth: Annotations) -> tuple[float, float]:
    """Return the phase and the period, in steps of 0.1 s, whose clock has the highest F1 at 0.05."""
    choices = [(phase / 10, period / 10) for period in range(5, 61) for phase in range(1, period + 10)]
    return max(choices, key=lambda choice: evaluate(clock(truth, *choice), truth, [_TOLERANCE]).f1[_TOLERANCE])


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
