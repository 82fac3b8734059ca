"""From a script to pixels, exact displacement and visibility."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.layers import Look, Pose, TensorGroup
from training.world.looks.atlas import Atlas
from training.world.rendering.layer import Layer, layers_of

__all__ = ["Rendered", "render"]


@dataclass
class Rendered(TensorGroup):
    """Clean frames (B, T, 3, H, W) in [0, 1] and what is true of them; see `Clips` for the fields."""

    frames: Tensor
    displacement: Tensor
    visible: Tensor
    defined: Tensor
    owner: Tensor


def render(
    look: Look, pose: Pose, linear: Tensor, frames: int, size: tuple[int, int], textures: Atlas, shapes: Atlas
) -> Rendered:
    """Render the first `frames` frames of what a script (on the CPU) says of layers (B, T, K, ...).

    The result lies on the device of the atlases. T is frames + 1 where one more frame follows, to which the last
    displacement then leads; else T is frames, and there is one displacement less. size: (height, width).
    """
    canvas = _Canvas(len(linear), frames, linear.shape[1] - 1, size, textures, shapes)
    layers = layers_of(look, pose, linear, size, textures.device)
    for layer in layers:
        canvas.paint(layer)
    return canvas.finish(layers)


class _Canvas:
    """Frames under way, painted from back to front.

    A pixel is owned by the nearest layer whose outline encloses it. Its displacement is that of the layer's point
    there: back into the layer's coordinates at t, forward onto the screen at t + 1.
    """

    def __init__(
        self, clips: int, frames: int, pairs: int, size: tuple[int, int], textures: Atlas, shapes: Atlas
    ) -> None:
        height, width = size
        device = textures.device
        self._height, self._width, self._textures, self._shapes = height, width, textures, shapes
        self._every, self._first, self._second = slice(0, frames), slice(0, pairs), slice(1, pairs + 1)
        self._x = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, 1, -1)
        self._y = torch.arange(height, device=device, dtype=torch.float32).view(1, 1, -1, 1)
        self._shown = torch.zeros(3, clips, frames, height, width, device=device)
        self._owner = torch.zeros(clips, frames, height, width, device=device, dtype=torch.uint8)
        self._target_x = torch.zeros(clips, pairs, height, width, device=device)
        self._target_y = torch.zeros_like(self._target_x)
        self._defined = torch.zeros_like(self._target_x, dtype=torch.bool)

    def paint(self, layer: Layer) -> None:
        """Lay one more layer over all that are there."""
        rows, columns = layer.box.pixels
        first, second = self._first, self._second
        u, v = layer.to_layer(self._x[..., columns], self._y[..., rows, :], self._every)
        colour = layer.colour(u, v, self._every, self._textures)
        next_x, next_y = layer.to_screen(u[:, first], v[:, first], second)
        same = layer.look.instance[:, first] == layer.look.instance[:, second]
        same = (same & layer.look.alive[:, second])[..., None, None]
        if layer.index == 0:
            self._shown, self._target_x, self._target_y = colour, next_x, next_y
            self._defined |= same
            return
        distance = layer.distance(u, v, self._every, self._shapes)
        # The edge is a ramp of this width in layer coordinates, half covered on the outline.
        cover = (0.5 - distance / layer.look.softness[:, self._every, None, None]).clamp_(0.0, 1.0)
        self._shown[..., rows, columns].lerp_(colour, cover)
        inside = distance <= 0
        self._owner[..., rows, columns].masked_fill_(inside, layer.index)
        inside = inside[:, first]
        for target, value in ((self._target_x, next_x), (self._target_y, next_y), (self._defined, same)):
            part = target[..., rows, columns]
            part.copy_(torch.where(inside, value, part))

    def finish(self, layers: list[Layer]) -> Rendered:
        """What was painted, with displacement and visibility."""
        height, width = self._height, self._width
        shift_x, shift_y = self._target_x - self._x, self._target_y - self._y
        displacement = torch.stack((shift_x, shift_y), dim=2).mul_(self._defined[:, :, None])
        # A pixel reaches half a pixel around its centre: what stands at the border is seen, whatever is rounded.
        inside_x = (self._target_x - (width - 1) / 2).abs() < width / 2
        inside_y = (self._target_y - (height - 1) / 2).abs() < height / 2
        hidden = self._hidden(layers, math.ceil(float(displacement.abs().amax())) + 1)
        visible = self._defined & inside_x & inside_y & ~hidden
        frames = self._shown.permute(1, 2, 0, 3, 4).clamp(0.0, 1.0)
        return Rendered(frames, displacement, visible, self._defined, self._owner)

    def _hidden(self, layers: list[Layer], farthest: int) -> Tensor:
        """(B, T - 1, H, W) bool: a nearer layer lies over the point at the place where it will be in the next frame.

        farthest: px, no point moves more; so a layer hides nothing that is farther away from its box.
        """
        hidden = torch.zeros_like(self._defined)
        for layer in layers[1:]:
            rows, columns = layer.box.grown(farthest, self._height, self._width).pixels
            part = (..., rows, columns)
            u, v = layer.to_layer(self._target_x[part], self._target_y[part], self._second)
            covers = layer.distance(u, v, self._second, self._shapes) <= 0
            hidden[part] |= covers & (self._owner[:, self._first][part] < layer.index)
        return hidden
