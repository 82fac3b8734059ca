"""Heads: from features of a window of frames to a boundary score for every frame.

Scores are logits. Frames that are not `valid` (padding, damage) neither count in any mean nor get a meaningful score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "MOTION_WIDTH",
    "ContrastHead",
    "Head",
    "HeadName",
    "HeadSpec",
    "Standardise",
    "TemporalHead",
    "build_head",
    "describe_motion",
]

_GRID = 4
MOTION_WIDTH = 3 * _GRID * _GRID + 2
"""Numbers that `describe_motion` gives for a frame."""


class HeadName(StrEnum):
    """The heads there are."""

    CONTRAST = "contrast"  # the official PC form
    TEMPORAL = "temporal"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """All that it takes to build a head. context_frames: frames to either side; width, dropout and appearance (channels
    for what frames look like): of `temporal`.

    Raises ValueError where a number is out of bounds: a spec may come from a file.
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
            raise ValueError(f"numbers of a head were expected within bounds ({bounds}, dropout in [0, 1)): {self}")

    def content(self) -> dict[str, Any]:
        """As plain values, from which `HeadSpec.of` makes it again."""
        return asdict(self) | {"name": self.name.value}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> HeadSpec:
        """The spec that `content` describes; raises KeyError, ValueError or TypeError where it describes none."""
        return cls(**(dict(content) | {"name": HeadName(content["name"])}))


def describe_motion(displacement: Tensor, confidence: Tensor) -> Tensor:
    """(B, T, MOTION_WIDTH) what moves how, from displacement (B, T, 2, h, w) in cells and confidence (B, T, 1, h, w).

    Over each part of a 4 x 4 grid the displacement weighted by confidence (x, y) and the mean confidence; then the
    logarithms of the mean speed and of the mean deviation from the whole frame's displacement.
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
    """Channels (..., C) less their mean, over their deviation, both of the training part; set once by `fit`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and standard deviation (C,) of the training part; channels that never change are left at 0."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 0.0))

    def forward(self, values: Tensor) -> Tensor:
        """Same shape."""
        out: Tensor = (values - self.mean) * self.scale
        return out


class Head(nn.Module):
    """Base of the heads: standardised features, and standardised motion joined to them where it is used."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = Standardise(spec.in_channels)
        self.motion = Standardise(MOTION_WIDTH) if spec.uses_motion else None

    @property
    def in_width(self) -> int:
        """Channels of what `inputs` gives."""
        return self.spec.in_channels + (MOTION_WIDTH if self.motion is not None else 0)

    def inputs(self, features: Tensor, valid: Tensor, motion: Tensor | None) -> Tensor:
        """(B, T, in_width), 0 where not valid; motion (B, T, MOTION_WIDTH) as of `describe_motion`."""
        parts = [self.features(features.float())]
        if self.motion is not None:
            if motion is None:
                raise ValueError("motion was expected: this head was built with uses_motion")
            parts.append(self.motion(motion))
        return torch.cat(parts, -1) * valid[..., None]


class ContrastHead(Head):
    """The simple one: means of the frames before and after, concatenated, and a linear classifier.

    As the official baseline (Shou et al., ICCV 2021, "PC") decides, here for all frames of a window at once and on
    features that are not trained along. The frame itself belongs to neither side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.classifier = nn.Linear(2 * self.in_width, 1)

    def forward(self, features: Tensor, valid: Tensor, motion: Tensor | None = None) -> Tensor:
        """(B, T) logits of features (B, T, C), valid (B, T) bool."""
        values = self.inputs(features, valid, motion).transpose(1, 2)  # (B, C, T)
        count = valid[:, None].to(values.dtype)
        before, after = (
            self._sum(values, front=front) / self._sum(count, front=front).clamp_min(1) for front in (True, False)
        )
        logits: Tensor = self.classifier(torch.cat([before, after], 1).transpose(1, 2))[..., 0]
        return logits

    def _sum(self, values: Tensor, *, front: bool) -> Tensor:
        """(B, C, T) sums over the frames of the context in front of each frame, or behind it."""
        context = self.spec.context_frames
        padding = (context, 0) if front else (0, context)
        sums = F.avg_pool1d(F.pad(values, padding), context, stride=1) * context  # (B, C, T + 1)
        # Entry t sums frames t - context ... t - 1 where the padding is in front, t ... t + context - 1 where behind.
        return sums[..., :-1] if front else sums[..., 1:]


class _Residual(nn.Module):
    """A dilated convolution over time beside a shortcut; (B, T, C) to the same.

    Normalised frame by frame, so that padding and the window's length change no score.
    """

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values that are not valid (mask (B, T, 1)) stay 0, as beyond the ends."""
        change = self.convolution((self.norm(values) * mask).transpose(1, 2)).transpose(1, 2)
        out: Tensor = values + self.dropout(F.gelu(change))
        return out * mask


class _Likeness(nn.Module):
    """How alike the frames around each frame are, in values (B, T, C): (B, T, out_channels).

    From the cosine similarities among all frames within the context (a square of the self-similarity map around the
    diagonal), in which a boundary is a corner between two bright blocks: a learned summary of the square, and for
    three reaches the similarity within the frames before and within those after, less twice that across.
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
        """mask (B, T, 1) float. Values count as what sets them apart from the window's mean."""
        centred = (values - (values * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)) * mask
        unit = F.normalize(centred, dim=-1, eps=1e-6)
        context = self.context_frames
        around = F.pad(unit, (0, 0, context, context)).unfold(1, 2 * context + 1, 1)  # (B, T, C, S)
        square = around.transpose(2, 3) @ around  # (B, T, S, S); 0 with what is not there
        corners = [self._corner(square, reach) for reach in self.reaches]
        return torch.cat([self.summary(square.flatten(2)[..., self.upper]), torch.stack(corners, -1)], -1)

    def _corner(self, square: Tensor, reach: int) -> Tensor:
        """(B, T) contrast between the `reach` frames before and after."""
        context = self.context_frames
        before, after = slice(context - reach, context), slice(context + 1, context + 1 + reach)
        within = square[..., before, before].mean((-1, -2)) + square[..., after, after].mean((-1, -2))
        contrast: Tensor = within - 2 * square[..., before, after].mean((-1, -2))
        return contrast


class TemporalHead(Head):
    """The better one: how alike the frames around are, in features and in motion, and convolutions over time.

    What a frame looks like counts only through its likeness to others, unless `appearance` gives it channels of its
    own: with few training videos a head learns the looks of those by heart (docs/gebd.md has the measurement). Three
    dilated convolutions look 7 frames to either side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        streams = 1 if self.motion is None else 2
        self.likeness = nn.ModuleList(_Likeness(spec.context_frames, spec.width, spec.dropout) for _ in range(streams))
        joined = sum(_channels(likeness) for likeness in self.likeness) + spec.appearance
        self.looks = None
        if spec.appearance:
            self.looks = nn.Sequential(nn.Dropout(0.5), nn.Linear(self.in_width, spec.appearance))
        self.join = nn.Linear(joined, spec.width)
        self.blocks = nn.ModuleList(_Residual(spec.width, dilation, spec.dropout) for dilation in (1, 2, 4))
        self.classifier = nn.Linear(spec.width, 1)

    def forward(self, features: Tensor, valid: Tensor, motion: Tensor | None = None) -> Tensor:
        """(B, T) logits of features (B, T, C), valid (B, T) bool, motion (B, T, MOTION_WIDTH) where it is used."""
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


def _channels(module: nn.Module) -> int:
    return int(module.out_channels)  # type: ignore[arg-type]


def build_head(spec: HeadSpec) -> Head:
    """The head of a spec, with fresh weights from torch's random numbers."""
    return ContrastHead(spec) if spec.name is HeadName.CONTRAST else TemporalHead(spec)
