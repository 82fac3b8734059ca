"""A small head on the likeness of frames."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gebd.heads.networks.base import FlatHead
from gebd.heads.networks.over_time import DilatedConvolution
from gebd.heads.networks.spec import HeadSpec


class _Likeness(nn.Module):
    """Similarity of the frames around each frame: values (B, T, C) to (B, T, out_channels).

    Computed from the cosine similarities among all frames within the context, a square of the self-similarity map on
    its diagonal, where a boundary is a corner between two bright blocks. Output: a learned summary of the square, and
    for three reaches the similarity within the frames before plus that within those after minus twice that across.
    """

    def __init__(self, context_frames: int, width: int, dropout: float) -> None:
        super().__init__()
        self.context_frames = context_frames
        self.reaches = sorted({max(1, context_frames // 4), max(1, context_frames // 2), context_frames})
        side = 2 * context_frames + 1
        rows, columns = torch.triu_indices(side, side, 1)
        self.register_buffer("upper", rows * side + columns, persistent=False)  # the square is symmetric
        self.summary = nn.Sequential(nn.Linear(len(rows), width), nn.GELU(), nn.Dropout(dropout))
        self.out_channels = width + len(self.reaches)

    upper: Tensor

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """mask (B, T, 1) float. Values are centred on the mean of the window."""
        centred = (values - (values * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)) * mask
        unit = F.normalize(centred, dim=-1, eps=1e-6)
        context = self.context_frames
        around = F.pad(unit, (0, 0, context, context)).unfold(1, 2 * context + 1, 1)  # (B, T, C, S)
        square = around.transpose(2, 3) @ around  # (B, T, S, S); 0 for missing frames
        corners = [self._corner(square, reach) for reach in self.reaches]
        return torch.cat([self.summary(square.flatten(2)[..., self.upper]), torch.stack(corners, -1)], -1)

    def _corner(self, square: Tensor, reach: int) -> Tensor:
        """Return (B, T) contrast between the `reach` frames before and after."""
        context = self.context_frames
        before, after = slice(context - reach, context), slice(context + 1, context + 1 + reach)
        within = square[..., before, before].mean((-1, -2)) + square[..., after, after].mean((-1, -2))
        contrast: Tensor = within - 2 * square[..., before, after].mean((-1, -2))
        return contrast


class TemporalHead(FlatHead):
    """Similarity of the surrounding frames, in features and in motion, and convolutions over time.

    The look of a frame counts only through its similarity to others, unless `appearance` adds channels for it: with few
    training videos a head memorises their looks (docs/gebd.md has the measurement). Three dilated convolutions cover 7
    frames to either side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        streams = len(self.standards)
        likeness = [_Likeness(spec.context_frames, spec.width, spec.dropout) for _ in range(streams)]
        self.likeness = nn.ModuleList(likeness)
        joined = sum(one.out_channels for one in likeness) + spec.appearance
        self.looks = None
        if spec.appearance:
            self.looks = nn.Sequential(nn.Dropout(0.5), nn.Linear(self.in_width, spec.appearance))
        self.join = nn.Linear(joined, spec.width)
        self.blocks = nn.ModuleList(DilatedConvolution(spec.width, dilation, spec.dropout) for dilation in (1, 2, 4))
        self.classifier = nn.Linear(spec.width, 1)

    def forward(self, tensors: Mapping[str, Tensor], valid: Tensor) -> Tensor:
        """Return (B, T) logits; see `Head`."""
        inputs = self.inputs(tensors, valid)
        mask = valid[..., None].to(inputs.dtype)
        streams = torch.tensor_split(inputs, (self.features_width,), -1)  # features, motion (or nothing)
        parts = [likeness(values, mask) for likeness, values in zip(self.likeness, streams, strict=False)]
        if self.looks is not None:
            parts.append(self.looks(inputs))
        values = F.gelu(self.join(torch.cat(parts, -1))) * mask
        for block in self.blocks:
            values = block(values, mask)
        logits: Tensor = self.classifier(values)[..., 0]
        return logits
