"""Bootstrap over videos: how much a score varies with the choice of videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.intervals import resample_sums

CountArray = npt.NDArray[np.int64]
ScoreArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampled:
    """Scores of every resample: arrays (resamples, tolerances)."""

    precision: ScoreArray
    recall: ScoreArray
    f1: ScoreArray


def bootstrap(hits: CountArray, positives: CountArray, detected: CountArray, *, resamples: int, seed: int) -> Resampled:
    """Draw as many videos as there are, with replacement, and score the draw; `resamples` times.

    `hits` and `positives` are (videos, tolerances), `detected` (videos,). See `resample_sums` for the draw.
    """
    tolerances = hits.shape[1]
    totals = resample_sums(np.concatenate([hits, positives, detected[:, None]], axis=1), resamples=resamples, seed=seed)
    hit, positive, found = totals[:, :tolerances], totals[:, tolerances:-1], totals[:, -1:]
    recall = np.divide(hit, positive, out=np.ones_like(hit), where=positive != 0)
    precision = np.divide(hit, found, out=np.zeros_like(hit), where=found != 0)
    total = recall + precision
    f1 = np.divide(2 * recall * precision, total, out=np.zeros_like(hit), where=total != 0)
    return Resampled(precision, recall, f1)
