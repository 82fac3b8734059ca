"""Evidence of a boundary in the gaps between samples: how much a change stands out from those around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_LEAST_SPREAD = 0.02  # of features, relative to their mean square: a video that varies less stands still


def feature_change(features: npt.NDArray[np.floating], reach: int) -> Float64Array:
    """Return (T - 1,) squared distances of the mean features on either side of each gap, over the video's variance.

    features (T, D); a side has up to `reach` samples. This is the response of a contrast kernel along the diagonal of
    the self-similarity matrix. The variance is at least 2 % of the features' mean square.
    """
    values = features.astype(np.float64)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    gap = np.arange(1, len(values))
    first, stop = np.maximum(gap - reach, 0), np.minimum(gap + reach, len(values))
    before = (sums[gap] - sums[first]) / (gap - first)[:, None]
    after = (sums[stop] - sums[gap]) / (stop - gap)[:, None]
    size = np.mean(np.sum(values**2, axis=1))
    spread = max(float(np.sum(values.var(axis=0))), _LEAST_SPREAD * float(size), 1e-12)
    change: Float64Array = np.sum((after - before) ** 2, axis=1) / spread
    return change


def standing_out(change: Float64Array, least: float, reach: int) -> Float64Array:
    """Return log(change + least) minus its mean within `reach` gaps, (K,): how many times larger than usual there.

    `least` is the change that counts as one: where all are far below it, the result is close to 0.
    """
    level = np.log(change + least)
    sums = np.concatenate([[0.0], np.cumsum(level)])
    gap = np.arange(len(level))
    first, stop = np.maximum(gap - reach, 0), np.minimum(gap + reach + 1, len(level))
    relative: Float64Array = level - (sums[stop] - sums[first]) / (stop - first)
    return relative


def smoothed(scores: Float64Array) -> Float64Array:
    """Return scores (K,) smoothed over three gaps."""
    padded = np.pad(scores, 1, mode="edge")
    found: Float64Array = (padded[:-2] + 2 * scores + padded[2:]) / 4
    return found


def highest_near(values: Float64Array, reach: int) -> Float64Array:
    """Return (K,) the maximum of values within `reach` gaps of each."""
    padded = np.pad(values, reach, mode="edge")
    highest: Float64Array = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return highest
