"""Ranks of classes: a network that tells nothing is right of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from training.tasks.classify.scoring import ranks


def test_ranks_count_the_classes_that_are_likelier() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]], np.float32)
    assert ranks(scores, np.array([0, 1, 2])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_network_that_tells_no_class_apart_is_right_of_none(value: float) -> None:
    assert ranks(np.full((2, 3), value, np.float32), np.array([0, 2])).tolist() == [2, 2]
