"""Displacement held against the world's truth, cell by cell; also what a training log shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from extractor.models.msnet import MSNet
from training.cells import CellTruth, cell_truth
from training.evaluation.passes import run_clips, to_pixels
from training.world import Clips

__all__ = ["NETWORK", "ZERO", "CellErrors", "MatchedCells", "MatchingScores", "compare_cells", "measure_matching"]

NETWORK, ZERO = "network", "zero motion"


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
class MatchedCells:
    """N cells whose thing exists in both frames and whose true displacement lies within the search window.

    `errors_cells`: end-point errors (N,) by method. `visible` (N,) bool: both frames show it. Pairs over a cut have no
    truth and no part in this.
    """

    errors_cells: Mapping[str, Tensor]
    visible: Tensor

    @classmethod
    def join(cls, parts: Sequence[MatchedCells]) -> MatchedCells:
        """Cells of several batches, of the same methods."""
        errors = {name: torch.cat([part.errors_cells[name] for part in parts]) for name in parts[0].errors_cells}
        return cls(errors, torch.cat([part.visible for part in parts]))

    def errors(self, method: str) -> CellErrors:
        """Of all cells."""
        return CellErrors.of(self.errors_cells[method])

    def visible_errors(self, method: str) -> CellErrors:
        """Of the visible ones."""
        return CellErrors.of(self.errors_cells[method][self.visible])


@dataclass(frozen=True, slots=True)
class MatchingScores:
    """A network's displacement and the prediction of no motion, over the same cells: see `MatchedCells`."""

    inside: CellErrors
    inside_zero: CellErrors
    visible: CellErrors
    visible_zero: CellErrors


def compare_cells(truth: CellTruth, displacements: Mapping[str, Tensor]) -> MatchedCells:
    """Hold displacements (B, T - 1, 2, h, w) in cells, by method, and that of no motion against the truth."""
    known = truth.displacement.cpu()
    inside = truth.inside.cpu()
    everyone = {**displacements, ZERO: torch.zeros_like(known)}
    errors = {name: (found.cpu() - known).norm(dim=2)[inside] for name, found in everyone.items()}
    return MatchedCells(errors, truth.visible.cpu()[inside])


def measure_matching(network: MSNet, clips: Clips) -> MatchingScores:
    """Judge a network with an MS module, in evaluation mode for the while, on clips of any device.

    ValueError for a network without an MS module.
    """
    displacement = run_clips(network, to_pixels(clips.frames)).displacement
    if displacement is None:
        raise ValueError(f"expected a network with an MS module, got {network.spec.name}")
    cells = compare_cells(cell_truth(clips), {NETWORK: displacement})
    return MatchingScores(
        cells.errors(NETWORK), cells.errors(ZERO), cells.visible_errors(NETWORK), cells.visible_errors(ZERO)
    )
