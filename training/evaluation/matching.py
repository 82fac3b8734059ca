"""Displacement compared with the world's ground truth, cell by cell; training logs show it too."""

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

NETWORK, ZERO = "network", "zero motion"


@dataclass(frozen=True, slots=True)
class CellErrors:
    """End-point errors of one method over a number of cells; NaN without cells.

    `mean_cells` is the mean error in cells, `within_one_cell` the fraction of cells with an error of at most one cell.
    """

    cells: int
    mean_cells: float
    within_one_cell: float

    @classmethod
    def of(cls, errors_cells: Tensor) -> CellErrors:
        """Summarise the errors of cells, a tensor of any shape."""
        return cls(
            errors_cells.numel(),
            float(errors_cells.mean(dtype=torch.float64)),
            float((errors_cells <= 1).mean(dtype=torch.float64)),
        )


@dataclass(frozen=True, slots=True)
class MatchedCells:
    """N cells whose content exists in both frames and whose true displacement lies within the search window.

    `errors_cells`: end-point errors (N,) by method. `visible` (N,) bool: both frames show the content. Pairs across a
    cut have no ground truth and are left out.
    """

    errors_cells: Mapping[str, Tensor]
    visible: Tensor

    @classmethod
    def join(cls, parts: Sequence[MatchedCells]) -> MatchedCells:
        """Concatenate the cells of several batches with the same methods."""
        errors = {name: torch.cat([part.errors_cells[name] for part in parts]) for name in parts[0].errors_cells}
        return cls(errors, torch.cat([part.visible for part in parts]))

    def errors(self, method: str) -> CellErrors:
        """Errors of all cells."""
        return CellErrors.of(self.errors_cells[method])

    def visible_errors(self, method: str) -> CellErrors:
        """Errors of the visible cells."""
        return CellErrors.of(self.errors_cells[method][self.visible])


@dataclass(frozen=True, slots=True)
class MatchingScores:
    """Errors of a network's displacement and of predicting no motion, over the same cells: see `MatchedCells`."""

    inside: CellErrors
    inside_zero: CellErrors
    visible: CellErrors
    visible_zero: CellErrors

    @classmethod
    def of(cls, cells: MatchedCells) -> MatchingScores:
        """Summarise the cells of a comparison that has NETWORK."""
        return cls(cells.errors(NETWORK), cells.errors(ZERO), cells.visible_errors(NETWORK), cells.visible_errors(ZERO))

    @property
    def ratio(self) -> float:
        """The mean error in proportion to that of predicting no motion; NaN where nothing moves."""
        return self.inside.mean_cells / self.inside_zero.mean_cells if self.inside_zero.mean_cells else math.nan


def compare_cells(truth: CellTruth, displacements: Mapping[str, Tensor]) -> MatchedCells:
    """Compare displacements (B, T - 1, 2, h, w), in cells, by method, and zero motion with the ground truth."""
    known = truth.displacement.cpu()
    inside = truth.inside.cpu()
    methods = {**displacements, ZERO: torch.zeros_like(known)}
    errors = {name: (found.cpu() - known).norm(dim=2)[inside] for name, found in methods.items()}
    return MatchedCells(errors, truth.visible.cpu()[inside])


def measure_matching(network: MSNet, clips: Clips) -> MatchingScores:
    """Evaluate the displacement of a network on clips on any device; the network's modes are restored afterwards.

    Raises ValueError for a network without an MS module.
    """
    displacement = run_clips(network, to_pixels(clips.frames)).displacement
    if displacement is None:
        raise ValueError(f"expected a network with an MS module; got {network.spec.name}")
    return MatchingScores.of(compare_cells(cell_truth(clips), {NETWORK: displacement}))
