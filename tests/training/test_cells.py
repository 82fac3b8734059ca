"""Pooling of the world's ground truth to cells."""

from __future__ import annotations

import pytest
import torch

from training.cells import cell_truth, pool_to_cells
from training.world import World, WorldConfig


def test_cell_truth_equals_a_loop_over_cells() -> None:
    clips = World(WorldConfig(height=64, width=48, num_frames=4, max_speed=0.6), seed=5).sample(0, 2)
    truth = cell_truth(clips)
    assert truth.displacement.shape == (2, 3, 2, 8, 6)
    for b, t, y, x in [(b, t, y, x) for b in range(2) for t in range(3) for y in range(8) for x in range(6)]:
        at = (b, t, slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8))
        defined, visible = clips.defined[at], clips.visible[at]
        assert bool(truth.defined[b, t, y, x]) == (defined.float().mean() >= 0.5)
        assert bool(truth.visible[b, t, y, x]) == bool((visible.float().mean() >= 0.5) and truth.defined[b, t, y, x])
        if not truth.defined[b, t, y, x]:
            assert not truth.inside[b, t, y, x] and not truth.coherent[b, t, y, x]
            continue
        moved = clips.displacement[b, t, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8][:, defined].double() / 8
        mean = moved.mean(1)
        torch.testing.assert_close(truth.displacement[b, t, :, y, x].double(), mean, atol=1e-5, rtol=1e-5)
        spread = float((moved - mean[:, None]).square().sum(0).mean())
        if abs(spread - 0.25) > 1e-4:
            assert bool(truth.coherent[b, t, y, x]) == (spread <= 0.25)
        assert bool(truth.inside[b, t, y, x]) == bool(mean.abs().max() <= 7)
        dx, dy = mean.tolist()
        beyond = max(-(x + dx), x + dx - 5, -(y + dy), y + dy - 7)  # of the outermost cells' centres
        if abs(beyond - 0.5) > 1e-4:
            assert bool(truth.leaving[b, t, y, x]) == (beyond > 0.5)
        end = (min(max(x + dx, 0), 5), min(max(y + dy, 0), 7))
        assert truth.within_frame[b, t, :, y, x].tolist() == pytest.approx([end[0] - x, end[1] - y], abs=1e-5)
    assert truth.coherent.any() and not truth.coherent.all()
    assert truth.leaving.any() and not truth.leaving.all()


def test_pool_to_cells_refuses_partial_cells() -> None:
    with pytest.raises(ValueError, match="multiples of 8; got"):
        pool_to_cells(torch.zeros(1, 1, 20, 16))
