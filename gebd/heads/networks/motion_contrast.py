"""Displacement and confidence as maps: where in the picture motion changes around each frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gebd.heads.networks.over_time import means_around

_GRID = 7
_STILL_CELLS = 0.1  # motion below this counts as noise in a static picture


class MotionContrast(nn.Module):
    """Convolutions over maps of how motion differs before and after each frame: (B, T, out_channels).

    For each reach and each part of a 7 x 7 grid: how far the mean displacements before and after are apart, the change
    of speed and of confidence, and the lesser confidence of the two; beside them the frame's own speed, its deviation
    from the whole picture's, and its confidence. Speeds are in units of the window's root mean square. Of the answers
    only the largest and the mean over the grid are used, so no place in the picture is special.
    """

    def __init__(self, reaches: Sequence[int], width: int) -> None:
        super().__init__()
        self.reaches = tuple(reaches)
        self.convolutions = nn.Sequential(
            nn.Conv2d(4 * len(self.reaches) + 3, width // 2, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width // 2, 3, padding=1),
            nn.GELU(),
        )
        self.out_channels = 2 * (width // 2)
        self.norm = nn.LayerNorm(self.out_channels)

    def forward(self, displacement: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
        """displacement (B, T, 2, h, w) in cells, confidence (B, T, 1, h, w), valid (B, T) bool."""
        batch, frames = valid.shape
        with torch.no_grad():
            maps = self._maps(displacement, confidence, valid)
        answers = self.convolutions(maps.flatten(0, 1))
        pooled = torch.cat([answers.amax((2, 3)), answers.mean((2, 3))], 1)
        found: Tensor = self.norm(pooled.view(batch, frames, -1))
        return found

    def _maps(self, displacement: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
        """Return (B, T, 4 reaches + 3, 7, 7)."""
        flow, weight = _on_grid(displacement, confidence)
        mask = valid[:, :, None, None, None].to(flow.dtype)
        energy = (flow.square().sum(2, keepdim=True) * weight * mask).sum((1, 2, 3, 4), keepdim=True)
        scale = (
            (energy / (weight * mask).sum((1, 2, 3, 4), keepdim=True).clamp_min(1e-3)).sqrt().clamp_min(_STILL_CELLS)
        )
        whole = (flow * weight).sum((3, 4), keepdim=True) / weight.sum((3, 4), keepdim=True).clamp_min(1e-3)
        found = [_log_speed(flow, scale) * weight, _log_speed(flow - whole, scale) * weight, weight]
        for reach in self.reaches:
            before, after, there = means_around(torch.cat([flow * weight, weight], 2), valid, reach)
            there = there[:, :, None, None, None]
            ends = [(side[:, :, :2] / side[:, :, 2:].clamp_min(1e-3), side[:, :, 2:]) for side in (before, after)]
            (flow_before, weight_before), (flow_after, weight_after) = ends
            sure = torch.minimum(weight_before, weight_after) * there
            speeds = [_log_speed(one, scale) for one in (flow_before, flow_after)]
            found += [
                _log_speed(flow_after - flow_before, scale) * sure,
                (speeds[1] - speeds[0]).abs() * sure,
                (weight_after - weight_before).abs() * there,
                sure,
            ]
        return torch.cat(found, 2)


def _on_grid(displacement: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Mean displacement weighted by confidence, and mean confidence, over the parts of a grid."""
    batch = displacement.shape[:2]
    sums = F.adaptive_avg_pool2d((displacement * confidence).flatten(0, 1), _GRID)
    weight = F.adaptive_avg_pool2d(confidence.flatten(0, 1), _GRID)
    grid = (*batch, -1, _GRID, _GRID)
    return (sums / weight.clamp_min(1e-3)).view(grid), weight.view(grid)


def _log_speed(flow: Tensor, scale: Tensor) -> Tensor:
    """log1p of the length of (B, T, 2, h, w) over scale: (B, T, 1, h, w)."""
    return torch.log1p(torch.hypot(flow[:, :, :1], flow[:, :, 1:]) / scale)
