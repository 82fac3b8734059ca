"""Displacement held against the world's truth, cell by cell; also what a training log shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from training.cells import cell_truth
from training.world import Clips

__all__ = ["CellErrors", "MatchingScores", "evaluating", "match_clips", "measure_matching", "to_pixels"]

_CLIPS_AT_A_TIME = 8  # bounds the memory of a pass: some 60 frames of 224 x 224


@dataclass(frozen=True, slots=True)
class CellErrors:
    """End-point errors of one method over so many cells; NaN where there are none.

    `mean_cells` is the mean error in cells; `within_one_cell` the share of the cells whose error is at most one.
    """

    cells: int
    mean_cells: float
    within_one_cell: float

    @classmethod
    def of(cls, errors_cells: Tensor) -> CellErrors:
        """From the errors of all cells, any shape."""
        count = errors_cells.numel()
        if count == 0:
            return cls(0, math.nan, math.nan)
        return cls(
            count,
            float(errors_cells.mean(dtype=torch.float64)),
            float((errors_cells <= 1).mean(dtype=torch.float64)),
        )


@dataclass(frozen=True, slots=True)
class MatchingScores:
    """A network's displacement and the prediction of no motion, over the same cells.

    `inside`: all cells whose thing exists in both frames and whose true displacement lies within the search window;
    `visible`: those of them that both frames show. Pairs over a cut have no truth and no part in it.
    """

    inside: CellErrors
    inside_zero: CellErrors
    visible: CellErrors
    visible_zero: CellErrors


def measure_matching(network: MSNet, clips: Clips) -> MatchingScores:
    """Judge a network with an MS module, in evaluation mode for the while, on clips of its device or another.

    ValueError for a network without an MS module.
    """
    displacement, _ = match_clips(network, clips)
    truth = cell_truth(clips)
    error = (displacement.to(truth.displacement.device) - truth.displacement).norm(dim=2)  # (B, T - 1, h, w)
    zero = truth.displacement.norm(dim=2)
    visible = truth.inside & truth.visible
    return MatchingScores(
        CellErrors.of(error[truth.inside]),
        CellErrors.of(zero[truth.inside]),
        CellErrors.of(error[visible]),
        CellErrors.of(zero[visible]),
    )


@torch.no_grad()
def match_clips(network: MSNet, clips: Clips) -> tuple[Tensor, Tensor]:
    """Displacement (B, T - 1, 2, h, w) in cells and confidence (B, T - 1, h, w) on the network's device."""
    displacement, confidence = [], []
    with evaluating(network):
        for frames in torch.split(clips.frames, _CLIPS_AT_A_TIME):
            output = network(normalize(to_pixels(frames).to(network.device)))
            if output.displacement is None:
                raise ValueError(f"expected a network with an MS module, got {network.spec.name}")
            displacement.append(output.displacement)
            confidence.append(output.confidence.squeeze(2))
    return torch.cat(displacement), torch.cat(confidence)


def to_pixels(frames: Tensor) -> Tensor:
    """Frames (..., 3, H, W) in [0, 1] as a decoder would give them: uint8 (..., H, W, 3)."""
    return (frames * 255).round().to(torch.uint8).movedim(-3, -1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
