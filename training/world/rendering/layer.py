"""One slot of a scene, prepared for rendering: maps between screen and layer, outline and texture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.layers import Look, Pose
from training.world.looks.atlas import Atlas
from training.world.looks.shapes import SHAPE_EXTENT
from training.world.motion import deform, invert, undeform


@dataclass(frozen=True)
class Box:
    """A rectangle of the frame: rows from top to bottom, columns from left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def empty(self) -> bool:
        """Whether the box has no pixels."""
        return self.top >= self.bottom or self.left >= self.right

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Slices of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def grown(self, margin: int, height: int, width: int) -> Box:
        """The box enlarged by `margin` on all sides, within a frame."""
        return Box(
            max(0, self.top - margin),
            min(height, self.bottom + margin),
            max(0, self.left - margin),
            min(width, self.right + margin),
        )


@dataclass
class Layer:
    """Slot `index` in all frames; each tensor (B, T, ...) on the rendering device.

    box: the part of the frame that contains the layer at all times. bends: some deformation is not 0.
    """

    index: int
    box: Box
    bends: bool
    look: Look
    pose: Pose
    linear: Tensor
    inverse: Tensor

    def to_layer(self, x: Tensor, y: Tensor, frames: slice) -> tuple[Tensor, Tensor]:
        """Layer coordinates of the screen points x, y (B, T', H or 1, W or 1) in the given frames."""
        centre = self.pose.centre[:, frames, :, None, None]
        u, v = _apply(self.inverse[:, frames, :, :, None, None], x - centre[:, :, 0], y - centre[:, :, 1])
        return undeform(u, v, *self._waves(frames)) if self.bends else (u, v)

    def to_screen(self, u: Tensor, v: Tensor, frames: slice) -> tuple[Tensor, Tensor]:
        """The inverse of `to_layer`."""
        if self.bends:
            u, v = deform(u, v, *self._waves(frames))
        centre = self.pose.centre[:, frames, :, None, None]
        x, y = _apply(self.linear[:, frames, :, :, None, None], u, v)
        return x.add_(centre[:, :, 0]), y.add_(centre[:, :, 1])

    def distance(self, u: Tensor, v: Tensor, frames: slice, shapes: Atlas) -> Tensor:
        """Signed distance to the outline, in layer pixels: negative inside; positive where the sprite is not alive."""
        radius = self.look.radius[:, frames, None, None]
        scale, middle = 1 / (2 * SHAPE_EXTENT * radius), u.new_tensor(0.5)
        x, y = torch.addcmul(middle, u, scale), torch.addcmul(middle, v, scale)
        tile = self.look.shape[:, frames].flatten()
        distance = shapes.sample(tile, x.flatten(0, 1), y.flatten(0, 1))[0].view_as(u)
        return distance.mul_(radius).add_((~self.look.alive[:, frames, None, None]) * 1e4)

    def colour(self, u: Tensor, v: Tensor, frames: slice, textures: Atlas) -> Tensor:
        """Colours (3, B, T', H, W) of the layer's texture."""
        look = self.look.during(frames)
        scale = look.texture_scale[..., None, None] / textures.size
        shift = look.texture_shift[..., None, None] / textures.size
        x, y = torch.addcmul(shift[:, :, 0], u, scale), torch.addcmul(shift[:, :, 1], v, scale)
        colour = textures.sample(look.texture.flatten(), x.flatten(0, 1), y.flatten(0, 1)).view(3, *u.shape)
        gain, bias = look.gain.permute(2, 0, 1)[..., None, None], look.bias.permute(2, 0, 1)[..., None, None]
        return torch.addcmul(bias, colour, gain)

    def _waves(self, frames: slice) -> tuple[Tensor, Tensor, Tensor]:
        phase = self.pose.phase[:, frames].permute(2, 0, 1)[..., None, None]
        return self.look.amplitude[:, frames, None, None], self.look.wave[:, frames, None, None], phase


def _apply(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply points by matrix (B, T, 2, 2, 1, 1).

    Where x is a row and y a column, so are the products, and only the sums are computed for every pixel.
    """
    return (
        torch.addcmul(matrix[:, :, 0, 0] * x, matrix[:, :, 0, 1], y),
        torch.addcmul(matrix[:, :, 1, 0] * x, matrix[:, :, 1, 1], y),
    )


def layers_of(look: Look, pose: Pose, linear: Tensor, size: tuple[int, int], device: torch.device) -> list[Layer]:
    """The slots of a script (B, T, K, ...), on the CPU, that enter the frame at some time, from back to front."""
    inverse = invert(linear)
    boxes = _boxes(look, pose, size)
    bends = (look.amplitude > 0).any(0).any(0).tolist()
    look, pose = look.map(lambda value: value.to(device)), pose.map(lambda value: value.to(device))
    linear, inverse = linear.to(device), inverse.to(device)

    def layer(index: int) -> Layer:
        def slot(value: Tensor) -> Tensor:
            return value[:, :, index]

        maps = slot(linear), slot(inverse)
        return Layer(index, boxes[index], bends[index], look.map(slot), pose.map(slot), *maps)

    return [layer(index) for index in range(linear.shape[2]) if not boxes[index].empty]


def _boxes(look: Look, pose: Pose, size: tuple[int, int]) -> list[Box]:
    """For every slot, the part of the frame that it may touch in any clip and frame; the background touches all."""
    height, width = size
    reach = look.reach_px(pose)
    absent = ~look.alive[..., None]
    low = (pose.centre - reach[..., None]).masked_fill(absent, math.inf).amin((0, 1)).tolist()
    high = (pose.centre + reach[..., None]).masked_fill(absent, -math.inf).amax((0, 1)).tolist()

    def whole(value: float, end: int) -> int:
        return math.floor(min(max(value, 0.0), float(end)))

    boxes = [
        Box(whole(y0, height), whole(y1 + 2, height), whole(x0, width), whole(x1 + 2, width))
        for (x0, y0), (x1, y1) in zip(low, high, strict=True)
    ]
    return [Box(0, height, 0, width), *boxes[1:]]
