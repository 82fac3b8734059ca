"""Bootstrap: how much a score varies with the sample of videos or clips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval; NaN if there is none, because there were no two samples."""

    low: float
    high: float

    @property
    def exists(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low)

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]" if self.exists else ""


def resample_sums(rows: npt.NDArray[np.int64] | Scores, *, resamples: int, seed: int) -> Scores:
    """Sums of `rows` (samples, columns) drawn with replacement, as many as there are; returns (resamples, columns).

    NaN with fewer than two rows: one alone does not vary, and an interval without width would look certain. The draws
    depend only on the seed and the number of rows, so that two methods on the same samples are resampled alike and can
    be compared.
    """
    samples, columns = rows.shape
    if samples < 2:
        return np.full((resamples, columns), np.nan)
    values = rows.astype(np.float64)  # exact for counts: small integers
    sums = np.empty((resamples, columns))
    rng = np.random.default_rng(seed)
    for n in range(resamples):
        sums[n] = np.bincount(rng.integers(0, samples, samples), minlength=samples) @ values
    return sums


def interval_of(scores: Scores, confidence: float) -> Interval:
    """The central interval that holds the share `confidence` of resampled scores (resamples,)."""
    if np.isnan(scores).all():
        return Interval(float("nan"), float("nan"))
    outside = (1 - confidence) / 2
    low, high = np.quantile(scores, [outside, 1 - outside])
    return Interval(float(low), float(high))
