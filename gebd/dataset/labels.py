"""Labels of samples by their distance to raters' boundaries. Pure functions over times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gebd.annotations.records import Raters

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

HARD = float(np.exp(-0.5)) - 1e-6
"""Soft label at one sigma from a boundary, with slack for rounding: samples at or above it are positive."""


def raters_by_consistency(consistency: Sequence[float] | None, num_raters: int) -> tuple[int, int]:
    """Return the two raters of highest consistency, ties and unknown consistencies in file order."""
    agreement = np.full(num_raters, -np.inf)
    if consistency is not None:
        agreement = np.nan_to_num(np.array(consistency, dtype=np.float64), nan=-np.inf)
    order = np.argsort(-agreement, kind="stable").tolist()
    return order[0], order[min(1, num_raters - 1)]


def separate_raters(consistency: Sequence[float] | None, num_raters: int) -> tuple[int, int]:
    """Return the two raters of highest consistency, or the first twice if the second is less consistent than the mean.

    The samples that SC-Transformer and EfficientGEBD train on. An unknown consistency is no reason against a rater.
    """
    first, second = raters_by_consistency(consistency, num_raters)
    if consistency is not None and consistency[second] < np.nanmean(consistency):
        return first, first
    return first, second


def flatten_raters(raters: Sequence[Sequence[float]]) -> tuple[Float64Array, Int64Array]:
    """Return the boundaries of all raters, concatenated, and the start index of each rater.

    A boundary at infinity is appended for every rater, so that no rater's part is empty.
    """
    times = np.concatenate([np.append(np.asarray(one, dtype=np.float64), np.inf) for one in raters])
    starts = np.cumsum([0] + [len(one) + 1 for one in raters[:-1]])
    return times, starts.astype(np.int64)


def rater_targets(
    time_seconds: Float64Array, boundaries: Float64Array, starts: Int64Array, sigma_seconds: float
) -> Float32Array:
    """Return (R, T) soft labels of samples (T,): a Gaussian of the distance to each rater's nearest boundary, 1 at it.

    boundaries and starts are those of `flatten_raters`.
    """
    distance = (time_seconds - boundaries[:, None]) / sigma_seconds
    nearest = np.minimum.reduceat(np.square(distance), starts, axis=0)
    return np.exp(-0.5 * nearest).astype(np.float32)


def combine(targets: Float32Array, raters: Raters, best: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """Return (soft, hard) labels (T,) of the chosen raters, from those of every rater (R, T); hard ones are 0 or 1.

    Soft: by the nearest boundary of any chosen rater; for a vote, the mean over raters; for separate raters, the mean
    of the two: cross-entropy is linear in its target, so the loss of the mean is the mean loss of two samples. Hard: 1
    within one sigma of such a boundary; for a vote, within one sigma of a boundary of at least half of them.
    """
    if raters is Raters.VOTE:
        agreed = (targets >= HARD).mean(axis=0) >= 0.5
        return targets.mean(axis=0, dtype=np.float32), agreed.astype(np.float32)
    if raters is Raters.SEPARATE:
        pair = targets[list(best)]
        return pair.mean(axis=0, dtype=np.float32), (pair.max(axis=0) >= HARD).astype(np.float32)
    chosen = {Raters.BEST: targets[best[0]], Raters.TOP2: targets[list(best)].max(axis=0)}
    soft = chosen[raters] if raters in chosen else targets.max(axis=0)
    return soft, (soft >= HARD).astype(np.float32)
