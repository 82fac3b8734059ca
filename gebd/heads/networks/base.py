"""What heads have in common: standardised inputs, and motion as numbers of a frame.

Scores are logits. Frames that are not `valid` (padding, damage) are excluded from all means; their scores mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gebd.dataset.store_videos import FEATURES
from gebd.heads.networks.spec import HeadSpec

_GRID = 4
MOTION_WIDTH = 3 * _GRID * _GRID + 2
"""Number of values per frame that `describe_motion` returns."""


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
    speeds = [torch.hypot(by[:, :1], by[:, 1:]) * weight for by in (flow, flow - whole)]
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
    """Base of the heads: from tensors by name, each (B, T, *row), and valid (B, T) bool, to (B, T) logits.

    `standards`: a `Standardise` for each of `raw_inputs`. `input_noise`: deviation of the noise added to standardised
    inputs in training.
    """

    input_noise = 0.0

    def __init__(self, spec: HeadSpec, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.spec = spec
        self.standards = nn.ModuleDict({name: Standardise(count) for name, count in channels.items()})

    @property
    def device(self) -> torch.device:
        """Where the head computes."""
        return next(self.parameters()).device

    def standard(self, name: str) -> Standardise:
        """The standardisation of one of `raw_inputs`."""
        return cast(Standardise, self.standards[name])

    def raw_inputs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values that are standardised, by name, each (B, T, ..., C)."""
        raise NotImplementedError

    def standardised(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`raw_inputs`, standardised. Raises ValueError if a tensor of the spec is missing or has another shape."""
        for name, shape in self.spec.tensors:
            there = tuple(tensors[name].shape[2:]) if name in tensors else None
            if there != shape:
                raise ValueError(f"expected {name} (B, T, {', '.join(map(str, shape))}); got rows of {there}")
        found = {name: self.standards[name](values) for name, values in self.raw_inputs(tensors).items()}
        if self.training and self.input_noise:
            found = {name: values + self.input_noise * torch.randn_like(values) for name, values in found.items()}
        return found


class FlatHead(Head):
    """Base of the heads that take one vector a frame: frame features, pooled motion or both, and `describe_motion`."""

    def __init__(self, spec: HeadSpec) -> None:
        flat = [shape[0] for name, shape in spec.tensors if name in FEATURES]
        if not flat:
            raise ValueError(f"expected {' or '.join(FEATURES)} for a head {spec.name}; got {', '.join(spec.shapes)}")
        self.features_width = sum(flat)
        channels = {"features": self.features_width} | ({"moves": MOTION_WIDTH} if spec.uses_motion else {})
        super().__init__(spec, channels)
        self.in_width = sum(channels.values())

    def raw_inputs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features (B, T, C), and what the displacement says (B, T, MOTION_WIDTH)."""
        found = {
            "features": torch.cat([tensors[name].float() for name, _ in self.spec.tensors if name in FEATURES], -1)
        }
        if self.spec.uses_motion:
            found["moves"] = describe_motion(tensors["displacement"], tensors["confidence"])
        return found

    def inputs(self, tensors: Mapping[str, Tensor], valid: Tensor) -> Tensor:
        """Return (B, T, in_width), 0 where not valid."""
        return torch.cat(list(self.standardised(tensors).values()), -1) * valid[..., None]
