"""Contrast of a video's features and motion before and after an instant; needs no labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

_TICK_SECONDS = 1e-6
_GRID = 4
_STILL_CELLS = 0.1  # motion below this counts as noise in a static picture


def unit_vectors(features: npt.NDArray[np.floating]) -> Float64Array:
    """Return (m, D) features of one video, centred on their mean, as unit vectors (0 if nothing is left).

    The inner product of two of them is the similarity of two instants relative to the rest of the video.
    """
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Float64Array = np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9)
    return unit


def grid_motion(
    displacement: npt.NDArray[np.floating], confidence: npt.NDArray[np.floating], grid: int = _GRID
) -> Float64Array:
    """Return (k, 2 grid^2) mean displacement in cells, weighted by confidence, in each part of a grid x grid division.

    displacement (k, 2, h, w) in cells, confidence (k, 1, h, w).
    """
    weight = confidence.astype(np.float64)
    weighted, weights = (_over_grid(values, grid) for values in (displacement * weight, weight))
    mean = np.divide(weighted, weights, out=np.zeros_like(weighted), where=weights > 0)
    return mean.reshape(len(mean), math.prod(mean.shape[1:]))  # -1 fails without pairs


def _over_grid(values: Float64Array, grid: int) -> Float64Array:
    """Sum (k, c, h, w) over the parts of a division: (k, c, grid, grid)."""
    for axis in (2, 3):
        edges = np.linspace(0, values.shape[axis], min(grid, values.shape[axis]) + 1).round().astype(int)
        values = np.add.reduceat(values, edges[:-1], axis=axis)
    return values


def contrast(
    values: Float64Array, time_seconds: Float64Array, at_seconds: Float64Array, context_seconds: float
) -> Float64Array:
    """Return (n,) squared distances between the means of `values` (m, D) before and after each time of `at_seconds`.

    Each side extends over `context_seconds`; a value at the instant itself belongs to neither. The result is 0 if less
    than half of a context lies within the times of the values. For `unit_vectors` this is the novelty of a
    self-similarity map: mean similarity within both contexts minus twice that across them.
    """
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])

    def mean(start: Float64Array, stop: Float64Array) -> Float64Array:
        """Mean of the values from start to stop, both inclusive."""
        first = np.searchsorted(time_seconds, start - _TICK_SECONDS)
        last = np.searchsorted(time_seconds, stop + _TICK_SECONDS)
        found: Float64Array = (sums[last] - sums[first]) / np.maximum(last - first, 1)[:, None]
        return found

    before = mean(at_seconds - context_seconds, at_seconds - 3 * _TICK_SECONDS)
    after = mean(at_seconds + 3 * _TICK_SECONDS, at_seconds + context_seconds)
    room = np.minimum(at_seconds - time_seconds[0], time_seconds[-1] - at_seconds)
    return np.where(room >= context_seconds / 2 - _TICK_SECONDS, np.sum((after - before) ** 2, axis=1), 0.0)


def motion_scale(motion: Float64Array) -> float:
    """Return the mean square of a video's motion (k, D), at least that of a static picture."""
    return float(max(np.mean(np.sum(motion**2, axis=1)), motion.shape[1] * _STILL_CELLS**2))


def smoothed(scores: Float64Array, time_seconds: Float64Array, sigma_seconds: float) -> Float64Array:
    """Smooth scores (T,) with a Gaussian over time, for any spacing; sigma 0 changes nothing."""
    if sigma_seconds <= 0 or len(scores) < 2:
        return scores
    reach = 3 * sigma_seconds
    first = np.searchsorted(time_seconds, time_seconds - reach)
    last = np.searchsorted(time_seconds, time_seconds + reach, side="right")
    found = np.empty_like(scores)
    for n, (a, b) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        weight = np.exp(-0.5 * ((time_seconds[a:b] - time_seconds[n]) / sigma_seconds) ** 2)
        found[n] = weight @ scores[a:b] / weight.sum()
    return found
