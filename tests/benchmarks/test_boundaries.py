"""The clock that the detector is measured against."""

from __future__ import annotations

import pytest

from benchmarks.boundaries.procedural import clock, fit_clock
from gebd import Annotations, VideoAnnotation


def test_fitted_clock_is_that_of_the_annotations() -> None:
    truth = Annotations(VideoAnnotation(str(n), 8.0 + n, ((1.5, 4.5, 7.5),)) for n in range(2))
    phase, period = fit_clock(truth)
    assert clock(truth, phase, period)["0"] == pytest.approx([1.5, 4.5, 7.5], abs=0.4)
