from __future__ import annotations

import numpy as np
import pytest

from gebd.detection.evidence import feature_change, highest_near, smoothed, standing_out


def test_feature_change_is_the_response_of_the_contrast_kernel_along_the_self_similarity() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((30, 5))
    alike = values @ values.T
    found = feature_change(values, 4)
    for gap in range(4, 27):
        before, after = slice(gap - 4, gap), slice(gap, gap + 4)
        within = alike[before, before].mean() + alike[after, after].mean()
        response = within - 2 * alike[before, after].mean()
        assert found[gap - 1] == pytest.approx(response / values.var(axis=0).sum())


def test_feature_change_of_a_video_that_hardly_varies_stays_small() -> None:
    rng = np.random.default_rng(2)
    values = 1 + 0.01 * rng.standard_normal((50, 20))
    assert feature_change(values, 2).max() < 0.05
    assert not feature_change(np.full((10, 4), 3.0), 2).any()


def test_what_is_as_large_everywhere_does_not_stand_out_and_what_is_small_everywhere_does_not() -> None:
    assert np.abs(standing_out(np.full(40, 7.0), 0.1, 5)).max() < 1e-9
    change = np.full(40, 0.1)
    change[20] = 1.1
    found = standing_out(change, 0.1, 5)
    assert found.argmax() == 20 and found[20] == pytest.approx(np.log(6) * 10 / 11)
    assert standing_out(change / 1000, 0.1, 5).max() < 0.02


def test_standing_out_compares_with_what_is_there_at_the_ends() -> None:
    """Nothing beyond the ends counts as a lack of change."""
    change = np.ones(30)
    change[:10] = 2.0
    found = standing_out(change, 0.01, 5)
    assert np.abs(found[:4]).max() < 1e-9 and np.abs(found[-5:]).max() < 1e-9


def test_smoothing_keeps_a_constant_and_the_place_of_a_peak() -> None:
    assert smoothed(np.full(6, 0.7)) == pytest.approx(np.full(6, 0.7))
    peak = np.eye(7)[3]
    assert smoothed(peak) == pytest.approx(np.array([0, 0, 0.25, 0.5, 0.25, 0, 0]))


def test_highest_near_is_the_maximum_within_reach() -> None:
    assert highest_near(np.array([0.0, 3, 0, 0, 0, 1]), 2).tolist() == [3, 3, 3, 3, 1, 1]
