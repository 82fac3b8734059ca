"""Heads: map the features of a window of frames to a boundary score per frame.

Scores are logits. Frames that are not `valid` (padding, damage) are excluded from all means; their scores mean
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GRID = 4
MOTION_WIDTH = 3 * _GRID * _GRID + 2
"""Number of values per frame that `describe_motion` returns."""


class HeadName(StrEnum):
    """Available heads."""

    CONTRAST = "contrast"  # the official baseline, "PC"
    TEMPORAL = "temporal"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The architecture of a head. context_frames: to either side; width, dropout and appearance (channels for the look
    of frames): of `temporal`.

    Raises ValueError if a number is out of bounds, because a spec may come from a file.
    """

    name: HeadName
    in_channels: int
    context_frames: int
    uses_motion: bool
    width: int
    dropout: float
    appearance: int = 0

    def __post_init__(self) -> None:
        bounds = {"in_channels": 65536, "context_frames": 128, "width": 4096}
        wrong = [name for name, most in bounds.items() if not 1 <= getattr(self, name) <= most]
        if wrong or not 0 <= self.dropout < 1 or not 0 <= self.appearance <= bounds["width"]:
            raise ValueError(f"expected a head within bounds ({bounds}, dropout in [0, 1)); got {self}")

    def content(self) -> dict[str, Any]:
        """Return plain values from which `HeadSpec.of` restores the spec."""
        return asdict(self) | {"name": self.name.value}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> HeadSpec:
        """Restore a spec from `content`; raises KeyError, ValueError or TypeError if it is invalid."""
        return cls(**(dict(content) | {"name": HeadName(content["name"])}))


def describe_motion(displacement: Tensor, confidence: Tensor) -> Tensor:
    """Return (B, T, MOTION_WIDTH) from displacement (B, T, 2, h, w) in cells and confidence (B, T, 1, h, w).

    For each part of a 4 x 4 grid: mean displacement (x, y), weighted by confidence, and mean confidence. Then log1p of
    the mean speed and of the mean deviation from the displacement of the whole frame.
    """
    batch, frames = displacement.shape[:2]
    flow, weight = displacement.flatten(0, 1).float(), confidence.flatten(0, 1).float()
    sums, weights = F.adaptive_avg_pool2d(flow * weight, _GRID), F.adaptive_avg_pool2d(weight, _GRID)
    moves = sums / weights.clamp_min(1e-4)
    whole = (flow * weight).mean((2, 3), keepdim=True) / weight.mean((2, 3), keepdim=True).clamp_min(1e-4)
    speeds = [torch.linalg.vector_norm(by, dim=1, keepdim=True) * weight for by in (flow, flow - whole)]
    energy = torch.cat([speed.mean((2, 3)) / weight.mean((2, 3)).clamp_min(1e-4) for speed in speeds], 1).log1p()
    return torch.cat([moves.flatten(1), weights.flatten(1), energy], 1).view(batch, frames, MOTION_WIDTH)


class Standardise(nn.Module):
    """Standardise channels (..., C) by mean and deviation of the training part, set once by `fit`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and standard deviation (C,) of the training part; constant channels become 0."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, values: Tensor) -> Tensor:
        """Return standardised values of the same shape."""
        out: Tensor = (values - self.mean) * self.scale
        return out


class Head(nn.Module):
    """Base of the heads: concatenates standardised features and, if used, standardised motion."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = Standardise(spec.in_channels)
        self.motion = Standardise(MOTION_WIDTH) if spec.uses_motion else None

    @property
    def in_width(self) -> int:
        """Channels of `inputs`."""
        return self.spec.in_channels + (MOTION_WIDTH if self.motion is not None else 0)

    def inputs(self, features: Tensor, valid: Tensor, motion: Tensor | None) -> Tensor:
        """Return (B, T, in_width), 0 where not valid; motion (B, T, MOTION_WIDTH) from `describe_motion`."""
        parts = [self.features(features.float())]
        if self.motion is not None:
            if motion is None:
                raise ValueError("expected motion for a head with uses_motion; got None. Pass describe_motion(...)")
            parts.append(self.motion(motion))
        return torch.cat(parts, -1) * valid[..., None]


class ContrastHead(Head):
    """Linear classifier on the concatenated means of the frames before and after.

    The decision rule of the official baseline (Shou et al., ICCV 2021, "PC"), here for all frames of a window at once
    and on frozen features. The frame itself belongs to neither side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.classifier = nn.Linear(2 * self.in_width, 1)

    def forward(self, features: Tensor, valid: Tensor, motion: Tensor | None = None) -> Tensor:
        """Return (B, T) logits for features (B, T, C) and valid (B, T) bool."""
        values = self.inputs(features, valid, motion).transpose(1, 2)  # (B, C, T)
        count = valid[:, None].to(values.dtype)
        before, after = (
            self._sum(values, front=front) / self._sum(count, front=front).clamp_min(1) for front in (True, False)
        )
        logits: Tensor = self.classifier(torch.cat([before, after], 1).transpose(1, 2))[..., 0]
        return logits

    def _sum(self, values: Tensor, *, front: bool) -> Tensor:
        """Return (B, C, T) sums over the context frames before each frame, or after it."""
        context = self.spec.context_frames
        padding = (context, 0) if front else (0, context)
        sums = F.avg_pool1d(F.pad(values, padding), context, stride=1) * context  # (B, C, T + 1)
        # Entry t sums frames t - context ... t - 1 with padding in front, t ... t + context - 1 with padding behind.
        return sums[..., :-1] if front else sums[..., 1:]


class _Residual(nn.Module):
    """Dilated convolution over time with a shortcut; (B, T, C) to the same shape.

    Normalised frame by frame, so padding and the length of the window change no score.
    """

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values that are not valid (mask (B, T, 1)) stay 0, like those beyond the ends."""
        change = self.convolution((self.norm(values) * mask).transpose(1, 2)).transpose(1, 2)
        out: Tensor = values + self.dropout(F.gelu(change))
        return out * mask


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


class TemporalHead(Head):
    """Similarity of the surrounding frames, in features and in motion, and convolutions over time.

    The look of a frame counts only through its similarity to others, unless `appearance` adds channels for it: with few
    training videos a head memorises their looks (docs/gebd.md has the measurement). Three dilated convolutions cover 7
    frames to either side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        streams = 1 if self.motion is None else 2
        likeness = [_Likeness(spec.context_frames, spec.width, spec.dropout) for _ in range(streams)]
        self.likeness = nn.ModuleList(likeness)
        joined = sum(one.out_channels for one in likeness) + spec.appearance
        self.looks = None
        if spec.appearance:
            self.looks = nn.Sequential(nn.Dropout(0.5), nn.Linear(self.in_width, spec.appearance))
        self.join = nn.Linear(joined, spec.width)
        self.blocks = nn.ModuleList(_Residual(spec.width, dilation, spec.dropout) for dilation in (1, 2, 4))
        self.classifier = nn.Linear(spec.width, 1)

    def forward(self, features: Tensor, valid: Tensor, motion: Tensor | None = None) -> Tensor:
        """Return (B, T) logits for features (B, T, C), valid (B, T) bool and, if used, motion (B, T, MOTION_WIDTH)."""
        inputs = self.inputs(features, valid, motion)
        mask = valid[..., None].to(inputs.dtype)
        streams = torch.tensor_split(inputs, (self.spec.in_channels,), -1)  # features, motion (or nothing)
        parts = [likeness(values, mask) for likeness, values in zip(self.likeness, streams, strict=False)]
        if self.looks is not None:
            parts.append(self.looks(inputs))
        values = F.gelu(self.join(torch.cat(parts, -1))) * mask
        for block in self.blocks:
            values = block(values, mask)
        logits: Tensor = self.classifier(values)[..., 0]
        return logits


def build_head(spec: HeadSpec) -> Head:
    """Build a head with fresh weights from torch's random state."""
    return ContrastHead(spec) if spec.name is HeadName.CONTRAST else TemporalHead(spec)
