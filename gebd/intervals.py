"""Bootstrap over videos: how far a score would move with other videos of the same kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "Resampled", "interval_of", "resample"]

Counts = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval; NaN where there was nothing to resample."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Resampled:
    """Scores of every resample: arrays (resamples, tolerances)."""

    precision: Scores
    recall: Scores
    f1: Scores


def resample(hits: Counts, positives: Counts, detected: Counts, *, resamples: int, seed: int) -> Resampled:
    """Draw as many videos as there are, with replacement, and score what was drawn; `resamples` times.

    `hits` and `positives` are (videos, tolerances), `detected` (videos,). The draws depend on the seed and the number
    of videos alone, so that two methods on the same videos are resampled alike and their difference can be judged.
    """
    videos, tolerances = hits.shape
    totals = np.zeros((resamples, 2 * tolerances + 1))
    if videos:
        counts = np.concatenate([hits, positives, detected[:, None]], axis=1).astype(
            np.float64
        )  # exact: small integers
        rng = np.random.default_rng(seed)
        for n in range(resamples):
            drawn = np.bincount(rng.integers(0, videos, videos), minlength=videos)
            totals[n] = drawn @ counts
    else:
        totals[:] = np.nan
    hit, positive, found = totals[:, :tolerances], totals[:, tolerances:-1], totals[:, -1:]
    recall = np.divide(hit, positive, out=np.ones_like(hit), where=positive != 0)
    precision = np.divide(hit, found, out=np.zeros_like(hit), where=found != 0)
    total = recall + precision
    f1 = np.divide(2 * recall * precision, total, out=np.zeros_like(hit), where=total != 0)
    return Resampled(precision, recall, f1)


def interval_of(scores: Scores, confidence: float) -> Interval:
    """The middle part of resampled scores (resamples,) that holds `confidence` of them."""
    if not scores.size:
        return Interval(float("nan"), float("nan"))
    outside = (1 - confidence) / 2
    low, high = np.quantile(scores, [outside, 1 - outside])
    return Interval(float(low), float(high))
