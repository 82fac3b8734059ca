from __future__ import annotations

import math

import numpy as np
import pytest

from gebd.annotations.records import Raters
from gebd.dataset.labels import combine, flatten_raters, rater_targets, raters_by_consistency, separate_raters

TIMES = np.arange(20) / 10


def labels(raters, sigma=0.15):
    return rater_targets(TIMES, *flatten_raters(raters), sigma)


def test_rater_targets_are_gaussians_of_the_nearest_boundary():
    raters = [[0.52, 1.0], [], [1.9, 0.3, 0.3]]
    found = labels(raters)
    assert found.dtype == np.float32
    for row, marked in zip(found, raters, strict=True):
        for value, time in zip(row, TIMES, strict=True):
            near = min((abs(time - one) for one in marked), default=math.inf)
            assert value == pytest.approx(math.exp(-0.5 * (near / 0.15) ** 2), rel=1e-5)


def test_hard_targets_reach_one_sigma():
    found = labels([[0.5]], sigma=0.1)
    _, hard = combine(found, Raters.BEST, (0, 0))
    assert TIMES[hard > 0].tolist() == [0.4, 0.5, 0.6]


def test_raters_are_chosen_as_asked():
    found = labels([[0.5], [0.5, 1.0], [1.5], []])
    hard = {name: TIMES[combine(found, name, (2, 0))[1] > 0].round(1).tolist() for name in Raters}
    assert hard[Raters.BEST] == [1.4, 1.5, 1.6]
    assert hard[Raters.TOP2] == [0.4, 0.5, 0.6, 1.4, 1.5, 1.6]
    assert hard[Raters.ALL] == [0.4, 0.5, 0.6, 0.9, 1.0, 1.1, 1.4, 1.5, 1.6]
    assert hard[Raters.VOTE] == [0.4, 0.5, 0.6]  # two of four
    soft, _ = combine(found, Raters.VOTE, (2, 0))
    np.testing.assert_allclose(soft, found.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("consistency", "raters", "expected"),
    [
        ((0.3, 0.8, 0.5), 3, (1, 2)),
        ((0.5, 0.5, 0.5), 3, (0, 1)),
        ((math.nan, 0.1), 2, (1, 0)),
        (None, 3, (0, 1)),
        ((0.7,), 1, (0, 0)),
        ((math.nan, math.nan), 2, (0, 1)),
    ],
)
def test_raters_by_consistency(consistency, raters, expected):
    assert raters_by_consistency(consistency, raters) == expected


@pytest.mark.parametrize(
    ("consistency", "raters", "expected"),
    [
        ((0.3, 0.8, 0.7), 3, (1, 2)),
        ((0.3, 0.8, 0.5), 3, (1, 1)),  # 0.5 is below the mean of 0.533
        ((0.9, 0.2), 2, (0, 0)),
        ((math.nan, 0.1), 2, (1, 0)),
        (None, 3, (0, 1)),
        ((0.7,), 1, (0, 0)),
    ],
)
def test_second_rater_is_a_sample_only_if_as_consistent_as_the_mean(consistency, raters, expected):
    assert separate_raters(consistency, raters) == expected


def test_cross_entropy_of_separate_raters_is_that_of_two_samples():
    found = labels([[0.5], [0.9, 1.5]])
    soft, hard = combine(found, Raters.SEPARATE, (0, 1))
    scores = np.linspace(-3, 3, len(TIMES))

    def loss(target):
        return (target * np.logaddexp(0, -scores) + (1 - target) * np.logaddexp(0, scores)).mean()

    assert loss(soft) == pytest.approx((loss(found[0]) + loss(found[1])) / 2, rel=1e-6)
    assert TIMES[hard > 0].round(1).tolist() == [0.4, 0.5, 0.6, 0.8, 0.9, 1.0, 1.4, 1.5, 1.6]
