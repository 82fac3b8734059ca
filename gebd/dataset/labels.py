"""Labels of samples: how near each lies to what raters marked. Pure functions over times."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

__all__ = ["HARD", "Raters", "combine", "flatten_raters", "rater_targets", "raters_by_consistency"]

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

HARD = float(np.exp(-0.5)) - 1e-6
"""Soft label of a sample one sigma from a boundary, less what rounding takes: from it on a sample is positive."""


class Raters(StrEnum):
    """Whose boundaries are the target."""

    BEST = "best"  # the rater who agrees best with the others
    TOP2 = "top2"  # what either of the two best marked
    ALL = "all"  # what any rater marked
    VOTE = "vote"  # the part of the raters that marked it; positive from half of them on


def raters_by_consistency(consistency: Sequence[float] | None, num_raters: int) -> tuple[int, int]:
    """The two raters of the highest consistency, the first of equals; those in file order where none is stated."""
    agreement = np.full(num_raters, -np.inf)
    if consistency is not None:
        agreement = np.nan_to_num(np.array(consistency, dtype=np.float64), nan=-np.inf)
    order = np.argsort(-agreement, kind="stable").tolist()
    return order[0], order[min(1, num_raters - 1)]


def flatten_raters(raters: Sequence[Sequence[float]]) -> tuple[Float64Array, Int64Array]:
    """Boundaries of all raters one after another, and where each rater's begin.

    Every rater gets a boundary at infinity besides, so that none is without any.
    """
    times = np.concatenate([np.append(np.asarray(one, dtype=np.float64), np.inf) for one in raters])
    starts = np.cumsum([0] + [len(one) + 1 for one in raters[:-1]])
    return times, starts.astype(np.int64)


def rater_targets(
    time_seconds: Float64Array, boundaries: Float64Array, starts: Int64Array, sigma_seconds: float
) -> Float32Array:
    """(R, T) soft labels of samples (T,): a Gaussian of the distance to each rater's nearest boundary, 1 at it.

    boundaries and starts as `flatten_raters` gives them.
    """
    distance = (time_seconds - boundaries[:, None]) / sigma_seconds
    nearest = np.minimum.reduceat(np.square(distance), starts, axis=0)
    return np.exp(-0.5 * nearest).astype(np.float32)


def combine(targets: Float32Array, raters: Raters, best: tuple[int, int]) -> tuple[Float32Array, Float32Array]:
    """(soft, hard) labels (T,) of the chosen raters, from those of every rater (R, T); hard ones are 0 or 1.

    Soft: of the nearest boundary that any chosen rater marked, or, for a vote, the mean over raters. Hard: 1 within
    sigma of such a boundary; for a vote, within sigma of a boundary of at least half of the raters.
    """
    if raters is Raters.VOTE:
        agreed = (targets >= HARD).mean(axis=0) >= 0.5
        return targets.mean(axis=0, dtype=np.float32), agreed.astype(np.float32)
    chosen = {Raters.BEST: targets[best[0]], Raters.TOP2: targets[list(best)].max(axis=0)}
    soft = chosen[raters] if raters in chosen else targets.max(axis=0)
    return soft, (soft >= HARD).astype(np.float32)
