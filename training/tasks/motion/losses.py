"""Losses of a network on the world, each a mean over the cells, frames or pairs it covers.

Cells without ground truth (cuts, things that vanish) are left out; where none are left, the loss is 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.cells import CellTruth
from training.world import IGNORE, Boundary

# sqrt(d^2 + s^2) - s: close to the distance, as in the metric, but smooth at 0.
_SMOOTH_CELLS = 0.02
# Target confidence is 1 without error and about a third at half a cell, the range that users need to tell apart.
_TRUST_CELLS = 0.5
# Cells that leave the frame are a twentieth of all cells, but without this weight they caused a quarter of the error.
_LEAVING_WEIGHT = 3.0
# Most frames are not boundaries.
_NO_BOUNDARY_WEIGHT = 0.2


def matching_loss(scores: Tensor, truth: CellTruth, temperature: float, sharpness: float = 1.0) -> Tensor:
    """Cross-entropy of softmax(temperature * scores) over a cell's candidates against bilinear weights of the truth.

    The weights are first raised to the power of `sharpness`: above 1, the nearest candidate has to win clearly.

    scores (B, T - 1, P * P, h, w): output of the correlation. The loss covers coherent cells that are visible in both
    frames or leave the frame. A cell that leaves has to match the nearest cell at the border, and counts three times in
    the mean: its own candidate would lie outside, where scores are always 0, and without a target it matches anything.
    Training through the kernel soft-argmax alone would be slow: its gate, fixed by the argmax, passes no gradient to
    the right candidate while a wrong one is best.
    """
    leaving = truth.leaving
    judged = (truth.visible | leaving) & truth.inside & truth.coherent
    candidates = scores.movedim(2, -1)[judged]  # (M, P * P)
    offset = truth.within_frame.movedim(2, -1)[judged]  # (M, 2)
    log_share = torch.log_softmax(candidates * temperature, -1)
    radius = math.isqrt(scores.shape[2]) // 2
    corner = offset.floor().clamp(-radius, radius - 1)
    fraction = offset - corner
    column, row = (corner.long() + radius).unbind(-1)
    corners = ((0, 0), (1, 0), (0, 1), (1, 1))
    shares = [(fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
              for dx, dy in corners]  # fmt: skip
    weights = torch.stack(shares, 1) ** sharpness  # (M, 4)
    places = torch.stack([(row + dy) * (2 * radius + 1) + column + dx for dx, dy in corners], 1)
    losses = -(log_share.gather(1, places) * weights).sum(1) / weights.sum(1)
    importance = torch.where(leaving[judged], _LEAVING_WEIGHT, 1.0)
    return (losses * importance).sum() / importance.sum().clamp_min(1)


def regression_loss(displacement: Tensor, truth: CellTruth) -> Tensor:
    """Smoothed distance, in cells, of displacement (B, T - 1, 2, h, w) to the truth, including occluded cells."""
    squared = (displacement - truth.displacement).square().sum(2)[truth.inside]
    return _mean((squared + _SMOOTH_CELLS**2).sqrt() - _SMOOTH_CELLS)


def confidence_loss(confidence: Tensor, displacement: Tensor, truth: CellTruth) -> Tensor:
    """1 minus the correlation of confidence (B, T - 1, 1, h, w) with exp(-error / half a cell), which is 0 at a cut.

    Relative confidence counts, not its level: the kernel soft-argmax resolves fractions of a cell only where scores
    are low (see training.embedding).
    """
    error = (displacement.detach() - truth.displacement).square().sum(2).sqrt()
    right = torch.where(truth.inside, torch.exp(-error / _TRUST_CELLS), 0.0)
    found = confidence.squeeze(2) - confidence.mean()
    wanted = right - right.mean()
    spread = (found.square().sum() * wanted.square().sum()).clamp_min(1e-12).sqrt()
    return 1 - (found * wanted).sum() / spread


def boundary_loss(scores: Tensor, boundary: Tensor) -> Tensor:
    """Cross-entropy of scores (B, T, kinds) against the kind of boundary at each frame (B, T)."""
    weight = scores.new_ones(len(Boundary))
    weight[Boundary.NONE] = _NO_BOUNDARY_WEIGHT
    return F.cross_entropy(scores.flatten(0, 1), boundary.flatten(), weight)


def motion_class_loss(scores: Tensor, motion: Tensor) -> Tensor:
    """Cross-entropy of scores (B, T - 1, classes) against the `Motion` of each pair (B, T - 1), without IGNORE."""
    judged = motion != IGNORE
    return _mean(F.cross_entropy(scores[judged], motion[judged], reduction="none"))


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, values.numel())
