"""The layers of a scene as tensors: how they look, where they are, how they move.

Slots are ordered by depth: slot 0 is the background, the last slot is nearest to the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from training.world.looks.shapes import SHAPE_REACH


@dataclass
class TensorGroup:
    """Named tensors with common leading dimensions, processed together."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply `function` to every tensor."""
        return type(self)(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def replaced(self, where: Tensor, other: Self) -> Self:
        """`other` where the mask, shaped as the leading dimensions, is True, else self."""

        def pick(name: str) -> Tensor:
            mine: Tensor = getattr(self, name)
            return torch.where(where.view(*where.shape, *[1] * (mine.dim() - where.dim())), getattr(other, name), mine)

        return type(self)(**{field.name: pick(field.name) for field in fields(self)})

    def of(self, clips: slice) -> Self:
        """A slice of the clips of a group (B, ...)."""
        return self.map(lambda value: value[clips])

    def during(self, span: slice) -> Self:
        """A slice of the frames of a group (B, T, ...)."""
        return self.map(lambda value: value[:, span])

    @classmethod
    def stack(cls, groups: Sequence[Self], dim: int) -> Self:
        """Stack every tensor of several groups along a new dimension."""
        return cls(**{field.name: torch.stack([getattr(g, field.name) for g in groups], dim) for field in fields(cls)})


@dataclass
class Look(TensorGroup):
    """What stays constant while a layer lives; each (B, K, ...) in a state, (B, T, K, ...) in a script.

    alive: bool. instance: int64, differs between different things. texture, shape: int64 indices into the banks.
    texture_scale: texels per layer pixel. texture_shift (2): texels. radius, softness: px, size of the shape and
    width of its edge. gain, bias (3): colour. amplitude (px), wave (radians per px): the deformation; amplitude 0
    for none. attached: bool, moves with the hero. depth: factor on the camera's translation.
    """

    alive: Tensor
    instance: Tensor
    texture: Tensor
    texture_scale: Tensor
    texture_shift: Tensor
    shape: Tensor
    radius: Tensor
    softness: Tensor
    gain: Tensor
    bias: Tensor
    amplitude: Tensor
    wave: Tensor
    attached: Tensor
    depth: Tensor

    def reach_px(self, pose: Pose) -> Tensor:
        """Largest extent of a layer in this pose from its centre on the screen, in pixels."""
        own = SHAPE_REACH * self.radius + self.softness + 2 * self.amplitude
        return own * pose.log_zoom.exp() * (1 + pose.shear.abs())


@dataclass
class Pose(TensorGroup):
    """Where a layer is at one time. centre (2): px. angle, log_zoom, shear. phase (2): of the deformation, radians."""

    centre: Tensor
    angle: Tensor
    log_zoom: Tensor
    shear: Tensor
    phase: Tensor


@dataclass
class Rates(TensorGroup):
    """Change of a pose per frame, constant over a stretch."""

    centre: Tensor
    angle: Tensor
    log_zoom: Tensor
    shear: Tensor
    phase: Tensor
