"""Ground truth of the world on the network's grid: one displacement per cell, with masks of where it holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from training.world import Clips

SEARCH_RADIUS_CELLS = 7  # of the correlation window
_COHERENT_CELLS = 0.5


@dataclass(frozen=True)
class CellTruth:
    """Ground truth for the cells of B clips; a cell is as large as the stride of the network's feature map.

    displacement (B, T - 1, 2, h, w): float32, in cells, x right and y down; the mean over the cell's defined pixels.
    defined (B, T - 1, h, w): bool, at least half of the pixels are defined.
    visible (B, T - 1, h, w): bool, defined, and at least half of the pixels are visible.
    inside (B, T - 1, h, w): bool, defined, and the displacement lies within the search window.
    coherent (B, T - 1, h, w): bool, defined, and the pixels' displacements deviate from the mean by at most half a
        cell (root mean square). False where a cell contains an edge between things that move differently.
    """

    displacement: Tensor
    defined: Tensor
    visible: Tensor
    inside: Tensor
    coherent: Tensor

    @property
    def within_frame(self) -> Tensor:
        """(B, T - 1, 2, h, w): the displacement, clamped so that it ends at the nearest cell inside the frame."""
        height, width = self.displacement.shape[-2:]
        x = torch.arange(width, device=self.displacement.device)  # (w,)
        y = torch.arange(height, device=self.displacement.device).unsqueeze(1)  # (h, 1)
        dx, dy = self.displacement.unbind(2)
        return torch.stack(((x + dx).clamp(0, width - 1) - x, (y + dy).clamp(0, height - 1) - y), 2)

    @property
    def leaving(self) -> Tensor:
        """(B, T - 1, h, w), bool: defined, and the displacement ends more than half a cell outside the frame."""
        return self.defined & ((self.within_frame - self.displacement).abs().amax(2) > 0.5)


def cell_truth(clips: Clips, *, cell_px: int = FEATURE_STRIDE_PX, radius_cells: int = SEARCH_RADIUS_CELLS) -> CellTruth:
    """Pool the ground truth of pixels to cells of `cell_px`, of which height and width must be multiples."""
    defined = pool_to_cells(clips.defined.unsqueeze(2).float(), cell_px)  # (B, T - 1, 1, h, w), fraction of pixels
    share = defined.clamp_min(1e-6)
    pixels = clips.displacement / cell_px  # 0 where undefined
    mean = pool_to_cells(pixels, cell_px) / share
    square = pool_to_cells(pixels.square().sum(2, keepdim=True), cell_px) / share
    variance = (square - mean.square().sum(2, keepdim=True)).squeeze(2)
    enough = defined.squeeze(2) >= 0.5
    return CellTruth(
        displacement=mean,
        defined=enough,
        visible=enough & (pool_to_cells(clips.visible.unsqueeze(2).float(), cell_px).squeeze(2) >= 0.5),
        inside=enough & (mean.abs().amax(2) <= radius_cells),
        coherent=enough & (variance <= _COHERENT_CELLS**2),
    )


def pool_to_cells(pixels: Tensor, cell_px: int = FEATURE_STRIDE_PX) -> Tensor:
    """Average the pixels of each cell: (..., C, H, W) to (..., C, h, w)."""
    if pixels.shape[-2] % cell_px or pixels.shape[-1] % cell_px:
        raise ValueError(f"expected height and width to be multiples of {cell_px}; got {tuple(pixels.shape)}")
    pooled = F.avg_pool2d(pixels.flatten(0, -4), cell_px)
    return torch.unflatten(pooled, 0, pixels.shape[:-3])
