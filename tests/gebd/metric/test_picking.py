from __future__ import annotations

import numpy as np
import pytest

from gebd import BoundaryPicker, PickingMethod
from schemas.errors import UsageError

RUN, PEAK = PickingMethod.RUN, PickingMethod.PEAK


def picked(method: PickingMethod, threshold: float, scores: list[float], apart: float = 0.0) -> list[float]:
    return BoundaryPicker(method, threshold, apart).pick(np.arange(len(scores)) / 10, np.array(scores, dtype=float))


def test_run_gives_the_centre_of_every_stretch_above_the_threshold() -> None:
    assert picked(RUN, 0.5, [0.6, 0.1, 0.5, 0.9, 0.7, 0.2, 0.8]) == pytest.approx([0.0, 0.3, 0.6])


def test_peak_gives_local_maxima_and_the_middle_of_a_plateau() -> None:
    assert picked(PEAK, 0.5, [0.1, 0.9, 0.2, 0.7, 0.7, 0.7, 0.1, 0.4, 0.3]) == pytest.approx([0.1, 0.4])


def test_peak_counts_a_rise_into_the_end() -> None:
    assert picked(PEAK, 0.5, [0.1, 0.2, 0.9]) == pytest.approx([0.2])


def test_of_two_near_ones_the_higher_stays() -> None:
    scores = [0.0, 0.6, 0.0, 0.8, 0.0, 0.7, 0.0]
    assert picked(PEAK, 0.5, scores, 0.25) == pytest.approx([0.3])
    assert picked(PEAK, 0.5, scores, 0.2) == pytest.approx([0.1, 0.3, 0.5])


@pytest.mark.parametrize("method", PickingMethod)
def test_nothing_is_picked_of_nothing_or_below(method: PickingMethod) -> None:
    assert picked(method, 0.5, []) == []
    assert picked(method, 0.5, [0.1, 0.2, 0.1]) == []


def test_picker_comes_back_from_its_content() -> None:
    picker = BoundaryPicker(RUN, 0.25, 1.5)
    assert BoundaryPicker.of(picker.content()) == picker


@pytest.mark.parametrize("values", [(float("nan"), 0.5), (0.5, -1.0), (0.5, float("inf"))])
def test_picker_refuses_numbers_that_cannot_be(values: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="threshold"):
        BoundaryPicker(PEAK, *values)
