"""Losses compared with slow versions in float64 and with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.cells import CellTruth
from training.tasks.motion.losses import (
    boundary_loss,
    confidence_loss,
    matching_loss,
    motion_class_loss,
    regression_loss,
)
from training.world import IGNORE, Boundary

_SHAPE = (2, 3, 4, 5)  # B, T - 1, h, w


@pytest.fixture
def truth() -> CellTruth:
    generator = torch.Generator().manual_seed(3)
    displacement = torch.rand(2, 3, 2, 4, 5, generator=generator) * 16 - 8
    displacement[0, 0, :, 0, 0] = torch.tensor([7.0, -7.0])
    defined = torch.rand(_SHAPE, generator=generator) < 0.8
    defined[0, 0, 0, 0] = True
    visible = defined & (torch.rand(_SHAPE, generator=generator) < 0.8)
    visible[0, 0, 0, 0] = True
    coherent = defined & (torch.rand(_SHAPE, generator=generator) < 0.9)
    coherent[0, 0, 0, 0] = True
    return CellTruth(displacement, defined, visible, defined & (displacement.abs().amax(2) <= 7), coherent)


def _slow_matching(scores: Tensor, truth: CellTruth, temperature: float, sharpness: float) -> float:
    losses, importances = [], []
    height, width = truth.displacement.shape[-2:]
    for b, t, y, x in (truth.inside & truth.coherent).nonzero().tolist():
        candidates = scores[b, t, :, y, x].double() * temperature
        share = (candidates - candidates.logsumexp(0)).view(15, 15)
        dx, dy = truth.displacement[b, t, :, y, x].double().tolist()
        leaves = not (-0.5 <= x + dx <= width - 0.5 and -0.5 <= y + dy <= height - 0.5)
        if not (truth.visible[b, t, y, x] or leaves):
            continue
        dx, dy = min(max(dx, -x), width - 1 - x), min(max(dy, -y), height - 1 - y)
        loss = total = 0.0
        for row in range(15):
            for column in range(15):
                weight = max(0.0, 1 - abs(dx - (column - 7))) * max(0.0, 1 - abs(dy - (row - 7)))
                loss -= weight**sharpness * float(share[row, column])
                total += weight**sharpness
        importances.append(3 if leaves else 1)
        losses.append(importances[-1] * loss / total)
    return sum(losses) / sum(importances)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_matching_loss_equals_a_loop_over_cells_and_candidates(truth: CellTruth, sharpness: float) -> None:
    scores = torch.rand(2, 3, 225, 4, 5, generator=torch.Generator().manual_seed(4))
    expected = _slow_matching(scores, truth, 30.0, sharpness)
    assert float(matching_loss(scores, truth, 30.0, sharpness)) == pytest.approx(expected, rel=1e-5)


def test_matching_loss_of_a_perfect_score_is_the_entropy_of_its_target(truth: CellTruth) -> None:
    whole = CellTruth(truth.displacement.round(), truth.defined, truth.visible, truth.inside, truth.coherent)
    offset = whole.within_frame.clamp(-7, 7).long() + 7
    scores = torch.zeros(2, 3, 225, 4, 5).scatter(2, offset[:, :, 1:] * 15 + offset[:, :, :1], 1.0)
    assert float(matching_loss(scores, whole, 100.0)) == pytest.approx(0, abs=1e-5)
    assert float(matching_loss(torch.zeros_like(scores), whole, 100.0)) == pytest.approx(math.log(225), rel=1e-5)


def test_regression_loss_covers_occluded_cells_and_none_outside(truth: CellTruth) -> None:
    found = truth.displacement.clone()
    assert float(regression_loss(found, truth)) == pytest.approx(0, abs=1e-6)
    found.movedim(2, -1)[~truth.inside] += 100
    assert float(regression_loss(found, truth)) == pytest.approx(0, abs=1e-6)
    found.movedim(2, -1)[truth.inside & ~truth.visible] += torch.tensor([3.0, 4.0])
    share = float((truth.inside & ~truth.visible).sum() / truth.inside.sum())
    assert share > 0
    assert float(regression_loss(found, truth)) == pytest.approx(5 * share, rel=0.01)


def test_confidence_loss_depends_on_the_order_of_confidence_not_on_its_level(truth: CellTruth) -> None:
    error = torch.rand(_SHAPE, generator=torch.Generator().manual_seed(5)) * 3
    off = truth.displacement + torch.stack((error, torch.zeros_like(error)), 2)
    right = torch.where(truth.inside, torch.exp(-error / 0.5), 0.0).unsqueeze(2)
    assert float(confidence_loss(right, off, truth)) == pytest.approx(0, abs=1e-5)
    assert float(confidence_loss(0.2 + 0.1 * right, off, truth)) == pytest.approx(0, abs=1e-5)
    assert float(confidence_loss(1 - right, off, truth)) == pytest.approx(2, abs=1e-5)
    expected = 1 - torch.corrcoef(torch.stack((error.flatten(), right.flatten())))[0, 1]
    assert float(confidence_loss(error.unsqueeze(2), off, truth)) == pytest.approx(float(expected), rel=1e-4)
    assert float(confidence_loss(torch.ones_like(right), off, truth)) == pytest.approx(1, abs=1e-3)


def test_confidence_loss_leaves_the_displacement_alone(truth: CellTruth) -> None:
    displacement = (truth.displacement + 1).requires_grad_()
    confidence = torch.rand(2, 3, 1, 4, 5, generator=torch.Generator().manual_seed(6)).requires_grad_()
    confidence_loss(confidence, displacement, truth).backward()  # type: ignore[no-untyped-call]
    assert displacement.grad is None
    assert confidence.grad is not None and bool(confidence.grad.any())


def test_boundary_loss_counts_rare_kinds_more() -> None:
    kinds = torch.tensor([[Boundary.NONE, Boundary.CUT]])
    missed, invented = torch.zeros(1, 2, len(Boundary)), torch.zeros(1, 2, len(Boundary))
    missed[:, :, Boundary.NONE] = 5
    invented[:, :, Boundary.CUT] = 5
    assert float(boundary_loss(missed, kinds)) > float(boundary_loss(invented, kinds))


def test_motion_class_loss_leaves_out_pairs_without_a_class() -> None:
    scores = torch.randn(1, 3, 15, generator=torch.Generator().manual_seed(1))
    both = torch.tensor([[2, IGNORE, 4]])
    expected = -(scores[0, 0].log_softmax(0)[2] + scores[0, 2].log_softmax(0)[4]) / 2
    assert float(motion_class_loss(scores, both)) == pytest.approx(float(expected), rel=1e-5)
    assert float(motion_class_loss(scores, torch.full((1, 3), IGNORE))) == 0
