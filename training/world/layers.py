"""The layers of a scene as tensors: how they look, where they are, how they move.

Slots of a scene lie behind each other: slot 0 is the background, the last one is nearest to the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from training.world.looks.shapes import SHAPE_REACH

__all__ = ["Look", "Pose", "Rates", "TensorGroup"]


@dataclass
class TensorGroup:
    """Named tensors with common leading dimensions, handled as one."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same group with `function` applied to every tensor."""
        return type(self)(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def replaced(self, where: Tensor, other: Self) -> Self:
        """`other` where the mask (its shape are the leading dimensions) is true, else self."""

        def pick(name: str) -> Tensor:
            mine: Tensor = getattr(self, name)
            return torch.where(where.view(*where.shape, *[1] * (mine.dim() - where.dim())), getattr(other, name), mine)

        return type(self)(**{field.name: pick(field.name) for field in fields(self)})

    def of(self, clips: slice) -> Self:
        """Some of the clips of a group (B, ...)."""
        return self.map(lambda value: value[clips])

    def during(self, span: slice) -> Self:
        """Some of the frames of a group (B, T, ...)."""
        return self.map(lambda value: value[:, span])

    @classmethod
    def stack(cls, groups: Sequence[Self], dim: int) -> Self:
        """Stack every tensor of several groups along a new dimension."""
        return cls(**{field.name: torch.stack([getattr(g, field.name) for g in groups], dim) for field in fields(cls)})


@dataclass
class Look(TensorGroup):
    """What does not change while a layer lives; each (B, K, ...) in a state, (B, T, K, ...) in a script.

    alive: bool. instance: int64, another number is another thing. texture, shape: int64 indices into the banks.
    texture_scale: texels a layer pixel. texture_shift (2): texels. radius, softness: px, size of the shape and
    width of its edge. gain, bias (3): colour. amplitude (px), wave (radians a px): the deformation; amplitude 0
    for none. attached: bool, moves along with the hero. depth: how much of the camera's translation it shows.
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
        """How far a layer in this pose can extend from its centre on the screen, in pixels."""
        own = SHAPE_REACH * self.radius + self.softness + 2 * self.amplitude
        return own * pose.log_zoom.exp() * (1 + pose.shear.abs())


@dataclass
class Pose(TensorGroup):
    """Where a layer is at one time. centre (2): px. angle, log_zoom, shear; phase (2): of the deformation, radians."""

    centre: Tensor
    angle: Tensor
    log_zoom: Tensor
    shear: Tensor
    phase: Tensor


@dataclass
class Rates(TensorGroup):
    """Change of a pose a frame, constant over a stretch."""

    centre: Tensor
    angle: Tensor
    log_zoom: Tensor
    shear: Tensor
    phase: Tensor
