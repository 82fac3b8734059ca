"""The bootstrap against a plain loop with the same draws, and where nothing can be drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from schemas.intervals import Interval, interval_of, resample_sums


def test_sums_are_those_of_rows_drawn_one_by_one() -> None:
    rows = np.random.default_rng(1).normal(size=(7, 3))
    sums = resample_sums(rows, resamples=20, seed=5)
    rng = np.random.default_rng(5)
    for found in sums:
        assert found == pytest.approx(sum(rows[i] for i in rng.integers(0, 7, 7)))


def test_draws_depend_on_the_seed_and_the_number_of_rows_alone() -> None:
    rows = np.random.default_rng(1).normal(size=(7, 2))
    one = resample_sums(rows[:, :1], resamples=50, seed=0)
    both = resample_sums(rows, resamples=50, seed=0)
    assert one[:, 0] == pytest.approx(both[:, 0])
    assert not np.allclose(both, resample_sums(rows, resamples=50, seed=1))


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        sums = resample_sums(rng.exponential(size=(60, 1)), resamples=300, seed=0)
        interval = interval_of(sums[:, 0] / 60, 0.95)
        covered += interval.low <= 1 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_nothing_gives_no_interval() -> None:
    assert np.isnan(resample_sums(np.zeros((0, 2)), resamples=3, seed=0)).all()
    found = interval_of(np.zeros(0), 0.95)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert str(Interval(0.25, 0.5)) == "[0.250, 0.500]"
