from __future__ import annotations

import numpy as np
import pytest

from gebd.detection.contrast import contrast, grid_motion, motion_scale, smoothed, unit_vectors


def test_contrast_is_the_novelty_of_the_self_similarity_map() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(30) / 10
    unit = unit_vectors(rng.standard_normal((30, 5)))
    alike = unit @ unit.T
    found = contrast(unit, times, times, 0.5)
    for k in range(5, 25):
        before, after = slice(k - 5, k), slice(k + 1, k + 6)
        within = alike[before, before].mean() + alike[after, after].mean()
        assert found[k] == pytest.approx(within - 2 * alike[before, after].mean())


def test_contrast_is_highest_at_the_change_and_zero_near_the_ends() -> None:
    times = np.arange(40) / 10
    values = np.where(times[:, None] < 2.05, 0.0, 1.0)
    found = contrast(values, times, times, 0.6)
    assert times[np.flatnonzero(found == found.max())].mean() == pytest.approx(2.05)
    assert not found[times < 0.3 - 1e-6].any() and not found[times > 3.6 + 1e-6].any()


def test_contrast_counts_seconds_and_not_samples() -> None:
    times = np.sort(np.concatenate([np.arange(0, 2, 0.1), np.arange(2, 4, 0.02)]))
    values = np.sin(times)[:, None]
    found = contrast(values, times, np.array([2.0]), 0.5)
    before = values[(times >= 1.5 - 1e-9) & (times < 2.0 - 1e-9)].mean()
    after = values[(times > 2.0 + 1e-9) & (times <= 2.5 + 1e-9)].mean()
    assert found[0] == pytest.approx((after - before) ** 2)


def test_unit_vectors_of_a_video_that_stands_still_are_zero() -> None:
    assert not unit_vectors(np.full((10, 4), 3.0)).any()


def test_grid_motion_weights_cells_by_confidence() -> None:
    rng = np.random.default_rng(2)
    displacement = rng.standard_normal((3, 2, 8, 8)).astype(np.float32)
    confidence = rng.random((3, 1, 8, 8)).astype(np.float32)
    confidence[:, :, 0, 0] = 0
    displacement[:, :, 0, 0] = 1e4  # an outlier that nobody trusts
    found = grid_motion(displacement, confidence).reshape(3, 2, 4, 4)
    for n, axis, row, column in np.ndindex(3, 2, 4, 4):
        part = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        weight = confidence[n, 0][part]
        expected = (displacement[n, axis][part] * weight).sum() / weight.sum()
        assert found[n, axis, row, column] == pytest.approx(expected, rel=1e-5)


def test_grid_motion_of_no_pairs_is_empty() -> None:
    """As of a segment that is too short for one pair at its rate."""
    found = grid_motion(np.zeros((0, 2, 8, 8), np.float32), np.zeros((0, 1, 8, 8), np.float32))
    assert found.shape == (0, 32)


def test_grid_motion_takes_maps_smaller_than_the_grid_and_no_confidence() -> None:
    assert grid_motion(np.ones((2, 2, 3, 2)), np.zeros((2, 1, 3, 2))).shape == (2, 2 * 3 * 2)


def test_motion_scale_does_not_blow_up_noise_of_a_standing_picture() -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((50, 32)) * 0.01
    assert motion_scale(noise) == pytest.approx(32 * 0.1**2)
    assert motion_scale(noise + 5) == pytest.approx(32 * 25, rel=0.01)


def test_smoothing_keeps_a_constant_and_spreads_a_peak() -> None:
    times = np.arange(20) / 10
    assert smoothed(np.full(20, 0.7), times, 0.2) == pytest.approx(np.full(20, 0.7))
    peak = np.zeros(20)
    peak[10] = 1.0
    found = smoothed(peak, times, 0.2)
    assert found.argmax() == 10 and found[9] == pytest.approx(found[11]) and 0 < found[8] < found[9] < 1
    assert smoothed(peak, times, 0.0) is peak
