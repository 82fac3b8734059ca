from __future__ import annotations

import numpy as np
import pytest

from gebd.detection.motion import SIDE, coarse_maps, confidence_change, match_loss, velocity_change


def maps_of(velocity: np.ndarray, confidence: float = 0.3) -> np.ndarray:
    """Maps (K, 3, 14, 14) of a frame that moves as a whole with velocity (K, 2)."""
    found = np.empty((len(velocity), 3, SIDE, SIDE), np.float32)
    found[:, :2] = velocity[:, :, None, None]
    found[:, 2] = confidence
    return found


def test_coarse_maps_do_not_depend_on_the_size_of_the_input() -> None:
    rng = np.random.default_rng(1)
    small, trust = rng.standard_normal((3, 2, 14, 14)), rng.random((3, 1, 14, 14))
    large = np.repeat(np.repeat(small * 2, 2, axis=2), 2, axis=3)  # twice as many cells in the same frame
    there = np.ones(3, np.bool_)
    found = coarse_maps(large, np.repeat(np.repeat(trust, 2, axis=2), 2, axis=3), there)
    np.testing.assert_allclose(found, coarse_maps(small, trust, there), atol=1e-5)
    np.testing.assert_allclose(found[:, :2], small, atol=1e-5)


def test_coarse_maps_weight_cells_by_confidence_and_take_none_without_a_pair() -> None:
    displacement, confidence = np.zeros((2, 2, 28, 28)), np.zeros((2, 1, 28, 28))
    displacement[:, 0, 0, 0], displacement[:, 0, 0, 1] = 2.0, 1e4  # an outlier that nobody trusts
    confidence[:, :, 0, 0] = 0.4
    found = coarse_maps(displacement, confidence, np.array([True, False]))
    assert found[0, :, 0, 0] == pytest.approx([1.0, 0.0, 0.1]) and not found[1].any()
    assert coarse_maps(displacement[:0], confidence[:0], np.zeros(0, np.bool_)).shape == (0, 3, 14, 14)
    assert coarse_maps(np.ones((2, 2, 3, 5)), np.ones((2, 1, 3, 5)), np.ones(2, np.bool_)).shape == (2, 3, 3, 5)


def test_velocity_change_is_highest_where_all_turns_round_and_zero_in_steady_motion() -> None:
    velocity = np.tile([0.5, 0.0], (20, 1))
    velocity[10:] *= -1
    found = velocity_change(maps_of(velocity), 2)
    assert found[9:11] == pytest.approx(np.full(2, 1.0), abs=0.1)
    assert found[:7].max() < 1e-9 and found[13:].max() < 1e-9


def test_velocity_change_follows_what_moves_through_the_frame() -> None:
    """A patch of steady motion passes over cells that stand still: by its cells alone, all of them would change."""
    found = {}
    for turns in (False, True):
        maps = maps_of(np.zeros((12, 2)))
        for pair in range(12):
            left = 1 + (pair if pair < 6 or not turns else 12 - pair)
            maps[pair, 0, 4:9, left : left + 4] = -1.0 if turns and pair >= 6 else 1.0
        found[turns] = velocity_change(maps, 2)[3:9].max()
    assert found[True] > 2 * found[False]


def test_velocity_change_of_noise_is_small_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    maps = maps_of(np.zeros((40, 2)))
    maps[:, :2] = rng.normal(0, 0.02, maps[:, :2].shape)
    found = velocity_change(maps, 2)
    assert found.max() < 0.1
    monkeypatch.setattr("gebd.detection.motion._BLOCK", 7)
    np.testing.assert_allclose(velocity_change(maps, 2), found)


def test_a_cut_is_a_loss_of_confidence_and_no_change_of_it() -> None:
    maps = maps_of(np.zeros((20, 2)))
    maps[8, 2] = 0.2
    loss = match_loss(maps, 4)
    assert loss.argmax() == 8 and loss[8] == pytest.approx(0.1 / 0.32) and np.delete(loss, 8).max() < 1e-6
    assert confidence_change(maps, 4).max() < 1e-6
    maps[8:, 2] = 0.2  # from here on all matches are worse: a change, and no loss
    assert match_loss(maps, 4).max() < 1e-6
    change = confidence_change(maps, 4)
    assert change[7:9] == pytest.approx(np.full(2, 0.1 / 0.27)) and change[[2, 14]].max() < 1e-6
