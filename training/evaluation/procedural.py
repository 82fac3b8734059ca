"""Displacement and confidence on held-out procedural clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from schemas.intervals import Interval, interval_of, resample_sums
from training.cells import cell_truth
from training.evaluation.dis import DisFlow, in_cells
from training.evaluation.matching import NETWORK, ZERO, CellErrors, MatchedCells, compare_cells
from training.evaluation.passes import PassOutput
from training.evaluation.texture import textured
from training.world import Clips

DIS = "DIS optical flow"
STILL_BELOW_CELLS = 0.05
_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class WorldFacts:
    """Statistics of the clips. `speed_cells`: quantiles of the true displacement per frame in cells, by per cent.

    Fractions of `cells`: `still_share` moves less than 0.05 cells per frame, `occluded_share` exists in both frames but
    is hidden in one, `outside_share` moves beyond the search window. `unknown_share` is the fraction of all cells that
    have no ground truth, across a cut or where something vanishes.
    """

    cells: int
    speed_cells: dict[int, float]
    still_share: float
    occluded_share: float
    outside_share: float
    unknown_share: float


@dataclass(frozen=True, slots=True)
class ConfidenceScores:
    """How well confidence ranks errors, over the textured cells that both frames show.

    `rank_correlation`: Spearman's, of confidence and error; -1 is a perfect ranking, 0 none. `confident_half_cells` and
    `other_half_cells`: mean errors, in cells, of the half with the higher confidence and of the other half.
    """

    cells: int
    rank_correlation: float
    confident_half_cells: float
    other_half_cells: float


@dataclass(frozen=True, slots=True)
class ErrorScores(CellErrors):
    """Adds `zero_share`, the ratio to the mean error of predicting no motion, and 95 % bootstrap intervals.

    The bootstrap resamples clips: cells of a clip are correlated, and a few clips of fast, untextured things cause
    much of the error.
    """

    mean_interval: Interval
    zero_share: float
    zero_share_interval: Interval


@dataclass(frozen=True, slots=True)
class ProceduralScores:
    """By method: `errors` of all cells within the search window, `visible_errors` of those that both frames show."""

    clips: int
    frames: int
    world: WorldFacts
    errors: dict[str, ErrorScores]
    visible_errors: dict[str, ErrorScores]
    confidence: ConfidenceScores


class ProceduralMatching:
    """Collects cells of held-out clips batch by batch, with zero motion and, where given, DIS as baselines."""

    def __init__(self, dis: DisFlow | None) -> None:
        self._dis = dis
        self._clips = self._frames = 0
        self._matched: list[MatchedCells] = []
        self._cells_of_clips: list[Tensor] = []
        self._confidence: list[Tensor] = []
        self._textured: list[Tensor] = []
        self._speeds: list[Tensor] = []
        self._counts = torch.zeros(4, dtype=torch.int64)

    def add(self, clips: Clips, pixels: Tensor, found: PassOutput) -> None:
        """Add a batch: its ground truth, its frames (B, T, H, W, 3) uint8, and the network's output for them."""
        if found.displacement is None or found.confidence is None:
            raise ValueError("expected displacement and confidence; got the output of a network without an MS module")
        truth = cell_truth(clips)
        displacements = {NETWORK: found.displacement}
        if self._dis is not None:
            flows = torch.stack([self._dis.forward(clip) for clip in pixels])
            displacements[DIS] = in_cells(flows)
        self._matched.append(compare_cells(truth, displacements))
        self._cells_of_clips.append(truth.inside.flatten(1).sum(1).cpu())
        self._confidence.append(found.confidence[truth.inside])
        self._textured.append(textured(pixels[:, :-1])[truth.inside])
        defined = truth.defined.cpu()
        self._speeds.append(truth.displacement.cpu().norm(dim=2)[defined])
        masks = (defined, truth.defined & ~truth.visible, truth.defined & ~truth.inside, ~truth.defined)
        self._counts += torch.tensor([int(mask.sum()) for mask in masks])
        self._clips += len(pixels)
        self._frames = pixels.shape[1]

    def scores(self) -> ProceduralScores:
        """Scores of all batches added so far."""
        cells = MatchedCells.join(self._matched)
        judged = cells.visible & torch.cat(self._textured)
        error = cells.errors_cells[NETWORK][judged]
        clip = torch.repeat_interleave(torch.cat(self._cells_of_clips))
        visible = {method: errors[cells.visible] for method, errors in cells.errors_cells.items()}
        return ProceduralScores(
            self._clips,
            self._frames,
            self._world_facts(),
            _error_scores(cells.errors_cells, clip, self._clips),
            _error_scores(visible, clip[cells.visible], self._clips),
            _confidence_scores(torch.cat(self._confidence)[judged], error),
        )

    def _world_facts(self) -> WorldFacts:
        speeds = torch.cat(self._speeds).numpy()
        cells, occluded, outside, unknown = self._counts.tolist()
        return WorldFacts(
            cells,
            {percent: float(np.quantile(speeds, percent / 100)) for percent in (50, 90, 99)} if cells else {},
            float((speeds < STILL_BELOW_CELLS).mean()) if cells else math.nan,
            occluded / max(cells, 1),
            outside / max(cells, 1),
            unknown / max(cells + unknown, 1),
        )


def _error_scores(errors_cells: Mapping[str, Tensor], clip: Tensor, clips: int) -> dict[str, ErrorScores]:
    """Scores by method, from errors (N,) and the number of the clip (N,) that each belongs to."""
    sums = [torch.bincount(clip, weights=errors.double(), minlength=clips) for errors in errors_cells.values()]
    rows = torch.stack([torch.bincount(clip, minlength=clips).double(), *sums], 1).numpy()
    count, *drawn = resample_sums(rows, resamples=_RESAMPLES, seed=0).T
    resampled = dict(zip(errors_cells, drawn, strict=True))
    zero = CellErrors.of(errors_cells[ZERO])
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where nothing moves, or where a resample has no cells
        for name, errors in errors_cells.items():
            cells = CellErrors.of(errors)
            found[name] = ErrorScores(
                cells.cells,
                cells.mean_cells,
                cells.within_one_cell,
                interval_of(resampled[name] / count, _CONFIDENCE),
                cells.mean_cells / zero.mean_cells if zero.mean_cells else math.nan,
                interval_of(resampled[name] / resampled[ZERO], _CONFIDENCE),
            )
    return found


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two (N,); ties share the mean of their ranks. NaN where one is constant.

    >>> rank_correlation(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([3.0, 2.0, 1.0]))
    -1.0
    """
    if len(first) < 2:
        return math.nan
    a, b = (_ranks(values) - (len(values) - 1) / 2 for values in (first, second))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread > 0 else math.nan


def _ranks(values: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, inverse, counts = np.unique(values.numpy(), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray[tuple[int], np.dtype[np.float64]] = (last - (counts + 1) / 2)[inverse]
    return ranks


def _confidence_scores(confidence: Tensor, error: Tensor) -> ConfidenceScores:
    by_error = error[torch.argsort(confidence, descending=True, stable=True)]
    half = len(by_error) // 2
    return ConfidenceScores(
        len(error),
        rank_correlation(confidence, error),
        CellErrors.of(by_error[:half]).mean_cells,
        CellErrors.of(by_error[half:]).mean_cells,
    )
