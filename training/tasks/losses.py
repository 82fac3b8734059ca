"""Losses of a network on the world, each a mean over what it judges.

Cells without an answer (cuts, things that vanish) are left out; where nothing is left a loss is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.cells import SEARCH_RADIUS_CELLS, CellTruth
from training.world import IGNORE, Boundary

__all__ = [
    "boundary_loss",
    "confidence_loss",
    "matching_loss",
    "motion_class_loss",
    "regression_loss",
]

# sqrt(d^2 + s^2) - s: nearly the distance, smooth at 0; the metric is a mean distance, so this is too.
_SMOOTH_CELLS = 0.02
# Full trust at no error, a third of it at half a cell: what a user wants to tell apart.
_TRUST_CELLS = 0.5
# Left alone, what leaves the frame was a twentieth of the cells and a quarter of all error; it is harder to learn.
_LEAVING_WEIGHT = 3.0
# Most frames are no boundary.
_NO_BOUNDARY_WEIGHT = 0.2


def matching_loss(scores: Tensor, truth: CellTruth, temperature: float, sharpness: float = 1.0) -> Tensor:
    """Cross-entropy of softmax(temperature * scores) over a cell's candidates against bilinear weights of the truth.

    The weights are raised to the power of `sharpness` first: above 1 the nearest candidate is asked to win clearly.

    scores (B, T - 1, P * P, h, w), as the correlation gives them. It judges cells that move as one and are seen in both
    frames or leave the frame; what leaves is to match the nearest cell of the border: its own candidate would be
    outside, where scores are 0 whatever is learned, and left alone it matches anything. It counts three times in the
    mean. The kernel soft-argmax alone would learn slowly: its gate, fixed by the argmax, lets no gradient reach the
    right candidate while a wrong one is best.
    """
    leaving = truth.leaving
    judged = (truth.visible | leaving) & truth.inside & truth.coherent
    candidates = scores.movedim(2, -1)[judged]  # (M, P * P)
    offset = truth.within_frame.movedim(2, -1)[judged]  # (M, 2)
    log_share = torch.log_softmax(candidates * temperature, -1)
    radius = int(SEARCH_RADIUS_CELLS)
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
    """Smoothed distance in cells between displacement (B, T - 1, 2, h, w) and the truth, hidden cells included."""
    squared = (displacement - truth.displacement).square().sum(2)[truth.inside]
    return _mean((squared + _SMOOTH_CELLS**2).sqrt() - _SMOOTH_CELLS)


def confidence_loss(confidence: Tensor, displacement: Tensor, truth: CellTruth) -> Tensor:
    """1 minus the correlation of confidence (B, T - 1, 1, h, w) with exp(-error / half a cell), 0 over a cut.

    Only the order counts, not the height: a fraction of a cell comes out of the kernel soft-argmax only where the
    scores are low, since its gate costs the neighbour of the best candidate 2 % of its score, times 100.
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
    """Cross-entropy of scores (B, T - 1, classes) against `Motion` of each pair (B, T - 1), IGNORE left out."""
    judged = motion != IGNORE
    return _mean(F.cross_entropy(scores[judged], motion[judged], reduction="none"))


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, values.numel())
