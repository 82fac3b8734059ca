"""How long an evaluation takes: 20,000 videos of 5 raters at 10 tolerances, on one core.

    python -m benchmarks.gebd_metric [--videos 20000]

Beside it the bootstrap, the per-video table, and the optimal matching.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from gebd import Annotations, Evaluation, VideoAnnotation, evaluate

__all__ = ["made_annotations", "main"]

RATERS = 5
MEAN_BOUNDARIES = 5
MEAN_DETECTIONS = 8
DURATION_SECONDS = 10.0


def made_annotations(videos: int, seed: int = 0) -> Annotations:
    """Videos of 10 s in which five raters mark five boundaries each, on average, at random."""
    rng = np.random.default_rng(seed)
    return Annotations(
        VideoAnnotation(
            f"video{n:05d}",
            DURATION_SECONDS,
            tuple(
                tuple(np.sort(rng.uniform(0, DURATION_SECONDS, rng.poisson(MEAN_BOUNDARIES))).tolist())
                for _ in range(RATERS)
            ),
            consistency_average=0.5,
        )
        for n in range(videos)
    )


def main() -> None:
    """Print seconds for each part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gebd_metric", description=__doc__)
    parser.add_argument("--videos", type=int, default=20_000)
    options = parser.parse_args()
    annotations = made_annotations(options.videos)
    rng = np.random.default_rng(1)
    predictions = {
        video_id: np.sort(rng.uniform(0, DURATION_SECONDS, rng.poisson(MEAN_DETECTIONS))) for video_id in annotations
    }
    found: list[Evaluation] = []
    print(f"{options.videos} videos, {RATERS} raters, 10 tolerances; seconds of one core")
    _timed("official", lambda: found.append(evaluate(predictions, annotations)))
    _timed("optimal matching", lambda: evaluate(predictions, annotations, matching="optimal"))
    _timed("1,000 bootstrap samples", lambda: found[0].resampled)
    _timed("per-video table", lambda: found[0].per_video)
    print(found[0])


def _timed(name: str, work: Callable[[], object]) -> None:
    before = time.process_time()
    work()
    print(f"{name:<24}{time.process_time() - before:8.2f}")


if __name__ == "__main__":
    main()
