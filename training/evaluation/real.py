"""Displacement on real video, compared with DIS optical flow where DIS can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from extractor.models.msnet import MSNet
from training.cells import pool_to_cells
from training.evaluation.dis import DisFlow, in_cells, round_trip_px
from training.evaluation.passes import run_sequence
from training.evaluation.texture import textured

CONSISTENT_PX = 1.0
MOVING_CELLS = 1.0
STANDING_CELLS = 0.25
_PAIRS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class AgreeingCells:
    """Textured cells on which DIS is consistent forward and backward: each (N,), in cells.

    `difference_cells`: end-point difference between the network's displacement and DIS. `dis_cells`: length of the DIS
    flow, which is the difference of predicting no motion. `looked_at`: number of all cells of the video's pairs.
    """

    difference_cells: Tensor
    dis_cells: Tensor
    looked_at: int


@dataclass(frozen=True, slots=True)
class RealScores:
    """Medians in cells, over the numbers of cells given; NaN without cells.

    Moving: DIS moves more than one cell. Standing: less than 0.25 cells. `looked_at`: all cells, trusted or not.
    """

    looked_at: int
    moving: int
    moving_difference_cells: float
    moving_zero_cells: float
    standing: int
    standing_difference_cells: float


def agree_with_dis(network: MSNet, pixels: Tensor, dis: DisFlow) -> AgreeingCells:
    """Compare the displacement of one video (T, H, W, 3), uint8 RGB, run as one sequence, with DIS on the same frames.

    A cell is trusted where following DIS to the next frame and back ends within a pixel of its start (mean over the
    cell, no pixel leaving the frame), and where the image has texture. Raises ValueError for a network without an MS
    module.
    """
    displacement = run_sequence(network, pixels).displacement
    if displacement is None:
        raise ValueError(f"expected a network with an MS module; got {network.spec.name}")
    differences, lengths, looked_at = [], [], 0
    for start in range(0, len(pixels) - 1, _PAIRS_AT_A_TIME):
        frames = pixels[start : start + _PAIRS_AT_A_TIME + 1]
        forward = dis.forward(frames)
        trip = pool_to_cells(round_trip_px(forward, dis.backward(frames)).unsqueeze(1)).squeeze(1)  # (n, h, w)
        trusted = (trip <= CONSISTENT_PX) & textured(frames[:-1])
        flow = in_cells(forward)
        difference = (displacement[start : start + len(flow)] - flow).norm(dim=1)
        differences.append(difference[trusted])
        lengths.append(flow.norm(dim=1)[trusted])
        looked_at += trusted.numel()
    return AgreeingCells(torch.cat(differences), torch.cat(lengths), looked_at)


def score_real(videos: Sequence[AgreeingCells]) -> RealScores:
    """Medians over the cells of one video, or of several pooled together."""
    difference = torch.cat([video.difference_cells for video in videos])
    dis = torch.cat([video.dis_cells for video in videos])
    moving, standing = dis > MOVING_CELLS, dis < STANDING_CELLS
    return RealScores(
        sum(video.looked_at for video in videos),
        int(moving.sum()),
        _median(difference[moving]),
        _median(dis[moving]),
        int(standing.sum()),
        _median(difference[standing]),
    )


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else math.nan
