"""The default head: how alike frames are at every level of the network and in motion, joined over a window.

It applies to stored features what leaders of the task share (DDM-Net, SC-Transformer, EfficientGEBD): levels of the
backbone are projected before they are compared; in the cosines of all frames around an instant, taken in groups of
channels, a boundary is a corner on the diagonal; differences between before and after stand beside them; convolutions
and attention join the instants of a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gebd.heads.networks.base import MOTION_WIDTH, Head, describe_motion
from gebd.heads.networks.motion_contrast import MotionContrast
from gebd.heads.networks.over_time import Attention, DilatedConvolution, means_around
from gebd.heads.networks.spec import GROUPS, MOTION, HeadSpec

_REACHES = (1, 2, 4, 8)  # frames before and after whose means are compared
_DILATIONS = (1, 2, 4, 8)
_MOVES = "moves"  # the input that `describe_motion` makes of displacement and confidence


class _Level(nn.Module):
    """Compares the frames of one tensor (B, T, cells, C) around each frame: (B, T, out_channels)."""

    def __init__(self, channels: int, cells: int, context_frames: int, width: int, dropout: float) -> None:
        super().__init__()
        self.context_frames = context_frames
        self.groups = GROUPS if cells == 1 else 1  # a map has one group for each cell
        self.projection = nn.Sequential(nn.Dropout(0.1), nn.Linear(channels, width), nn.LayerNorm(width))
        side = 2 * context_frames + 1
        rows, columns = torch.triu_indices(side, side, 1)
        self.register_buffer("upper", rows * side + columns, persistent=False)  # the square is symmetric
        parts = self.groups * cells
        self.likeness = nn.Sequential(nn.Linear(parts * len(rows), width), nn.GELU(), nn.Dropout(dropout))
        self.difference = nn.Sequential(nn.Linear(parts * len(_REACHES), width // 2), nn.GELU())

    upper: Tensor

    @staticmethod
    def out_channels(width: int) -> int:
        return width + width // 2

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """valid (B, T) bool. Values are centred on the mean of the window."""
        projected = self.projection(values).unflatten(-1, (self.groups, -1)).flatten(2, 3)  # (B, T, parts, width)
        mask = valid[..., None, None].to(projected.dtype)
        centred = projected - (projected * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([self._likeness(centred, mask), self._difference(centred, valid)], -1)

    def _likeness(self, centred: Tensor, mask: Tensor) -> Tensor:
        """Cosines of all pairs of frames within the context, part by part, in one layer."""
        context = self.context_frames
        unit = (F.normalize(centred, dim=-1, eps=1e-6) * mask).transpose(1, 2)  # (B, parts, T, width)
        around = F.pad(unit, (0, 0, context, context)).unfold(2, 2 * context + 1, 1)  # (B, parts, T, width, S)
        squares = (around.transpose(3, 4) @ around).flatten(3)[..., self.upper]  # (B, parts, T, S (S - 1) / 2)
        found: Tensor = self.likeness(squares.transpose(1, 2).flatten(2))
        return found

    def _difference(self, centred: Tensor, valid: Tensor) -> Tensor:
        """How far the means before and after are apart, part by part, in one layer."""
        apart = []
        for reach in _REACHES:
            before, after, there = means_around(centred, valid, reach)
            apart.append((after - before).square().mean(-1).add(1e-6).sqrt() * there[..., None])
        found: Tensor = self.difference(torch.cat(apart, -1))
        return found


class SimilarityHead(Head):
    """Levels of frames side by side, motion as maps and as numbers, joined over the window.

    Every tensor by frame is a level: one vector, or a map whose cells are compared one by one.
    """

    def __init__(self, spec: HeadSpec) -> None:
        levels = {name: shape for name, shape in spec.tensors if name not in MOTION}
        channels = {name: shape[0] for name, shape in levels.items()}
        cells = {name: math.prod(shape[1:]) for name, shape in levels.items()}
        if spec.uses_motion:
            channels[_MOVES], cells[_MOVES] = MOTION_WIDTH, 1
        super().__init__(spec, channels)
        width, dropout = spec.width, spec.dropout
        self.levels = nn.ModuleDict(
            {name: _Level(count, cells[name], spec.context_frames, width, dropout) for name, count in channels.items()}
        )
        joined = sum(_Level.out_channels(width) for _ in self.levels)
        self.motion: MotionContrast | None = None
        if spec.uses_motion:
            self.motion = MotionContrast(_REACHES, width)
            joined += self.motion.out_channels
        inner = 2 * width
        self.join = nn.Sequential(nn.Dropout(dropout), nn.Linear(joined, inner), nn.GELU())
        blocks: list[nn.Module] = [DilatedConvolution(inner, dilation, dropout) for dilation in _DILATIONS]
        self.blocks = nn.ModuleList([*blocks, Attention(inner, dropout)])
        self.classifier = nn.Linear(inner, 1)

    def raw_inputs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Levels (B, T, cells, C), and what the displacement says of each frame (B, T, 1, MOTION_WIDTH)."""
        found = {
            name: tensors[name].float().flatten(3).transpose(2, 3)
            if len(shape) > 1
            else tensors[name].float()[:, :, None]
            for name, shape in self.spec.tensors
            if name not in MOTION
        }
        if self.spec.uses_motion:
            found[_MOVES] = describe_motion(tensors["displacement"], tensors["confidence"])[:, :, None]
        return found

    def forward(self, tensors: Mapping[str, Tensor], valid: Tensor) -> Tensor:
        """Return (B, T) logits; see `Head`."""
        parts = [self.levels[name](values, valid) for name, values in self.standardised(tensors).items()]
        if self.motion is not None:
            parts.append(self.motion(tensors["displacement"].float(), tensors["confidence"].float(), valid))
        mask = valid[..., None].to(parts[0].dtype)
        values = self.join(torch.cat(parts, -1)) * mask
        for block in self.blocks:
            values = block(values, mask)
        logits: Tensor = self.classifier(values)[..., 0]
        return logits
