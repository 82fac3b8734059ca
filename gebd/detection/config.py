"""The parameters of the detector."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gebd.metric.picking import BoundaryPicker, PickingMethod
from schemas.errors import UsageError


@dataclass(frozen=True, slots=True)
class DetectionConfig:
    """The detector's parameters; docs/gebd.md describes how the defaults were chosen.

    `rate_hz`: samples a second. A maximum of the score is a boundary if it is at least `threshold` and no higher one
    lies within `apart_seconds`. The score is the logarithm of how many times larger than around it a change is, so the
    threshold means the same for every video.
    """

    rate_hz: float = 10.0
    threshold: float = 0.25
    apart_seconds: float = 0.5

    def __post_init__(self) -> None:
        for name, value in {"rate_hz": self.rate_hz, "threshold": self.threshold}.items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}: expected a number above 0; got {value}. Give a positive number")

    @property
    def picker(self) -> BoundaryPicker:
        """The picker that turns the score into boundaries."""
        return BoundaryPicker(PickingMethod.PEAK, self.threshold, self.apart_seconds)

    def samples(self, seconds: float) -> int:
        """Return the number of samples in so many seconds, at least one."""
        return max(1, round(seconds * self.rate_hz))
