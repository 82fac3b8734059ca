"""Pick boundaries in seconds from a track of boundary scores.

NumPy is imported where it is used: every `--help` imports this module.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from schemas.errors import UsageError

if TYPE_CHECKING:
    from schemas.records import BoolArray, Float64Array, Int64Array

_TICK_SECONDS = 1e-6  # smaller differences between times are rounding errors


class PickingMethod(StrEnum):
    """How boundaries are picked from a track."""

    PEAK = "peak"  # local maxima of at least the threshold
    RUN = "run"  # the centre of every run of samples of at least the threshold


@dataclass(frozen=True, slots=True)
class BoundaryPicker:
    """Picks boundaries by `method`, at or above `threshold`; of two closer than `apart_seconds` it keeps the higher.

    A maximum shared by several neighbouring samples lies at their centre. Raises UsageError if the threshold is not
    finite or the distance is negative.
    """

    method: PickingMethod = PickingMethod.PEAK
    threshold: float = 0.5
    apart_seconds: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold) or not 0 <= self.apart_seconds < float("inf"):
            raise UsageError(
                f"expected a finite threshold and apart_seconds of 0 or more; got {self.threshold} and "
                f"{self.apart_seconds}. Correct the one that is out of range"
            )

    def pick(self, time_seconds: Float64Array, scores: Float64Array) -> list[float]:
        """Return boundaries in seconds, ascending, from scores (T,) at ascending times (T,)."""
        import numpy as np

        if not len(scores):
            return []
        if self.method is PickingMethod.RUN:
            first, last = _runs(scores >= self.threshold)
            heights = np.array([scores[a : b + 1].max() for a, b in zip(first, last, strict=True)])
        else:
            first, last = _maxima(scores)
            heights = scores[first]
            chosen = heights >= self.threshold
            first, last, heights = first[chosen], last[chosen], heights[chosen]
        return _thinned((time_seconds[first] + time_seconds[last]) / 2, heights, self.apart_seconds)

    def content(self) -> dict[str, Any]:
        """Return plain values from which `BoundaryPicker.of` restores the picker."""
        return asdict(self) | {"method": self.method.value}

    @classmethod
    def of(cls, content: dict[str, Any]) -> BoundaryPicker:
        """Restore a picker from `content`; raises KeyError, ValueError or TypeError if it is invalid."""
        return cls(PickingMethod(content["method"]), float(content["threshold"]), float(content["apart_seconds"]))


def _runs(chosen: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Return the first and last index of every run of True."""
    import numpy as np

    edges = np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]]))
    return np.flatnonzero(edges > 0), np.flatnonzero(edges < 0) - 1


def _maxima(scores: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Return the first and last index of every plateau that is higher than its neighbours."""
    import numpy as np

    change = np.flatnonzero(np.diff(scores))
    first, last = np.concatenate([[0], change + 1]), np.concatenate([change, [len(scores) - 1]])
    around = np.concatenate([[-np.inf], scores[first], [-np.inf]])
    top = (around[1:-1] > around[:-2]) & (around[1:-1] > around[2:])
    return first[top], last[top]


def _thinned(times: Float64Array, heights: Float64Array, apart_seconds: float) -> list[float]:
    """Keep times from the highest down, unless closer than `apart_seconds` to a kept one; return them ascending."""
    import numpy as np

    kept: list[float] = []
    for n in np.argsort(-heights, kind="stable").tolist():
        time = float(times[n])
        if all(abs(time - other) >= apart_seconds - _TICK_SECONDS for other in kept):
            kept.append(time)
    return sorted(kept)
