"""Render a script to pixels, exact displacement and visibility."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.layers import Look, Pose, TensorGroup
from training.world.looks.atlas import Atlas
from training.world.rendering.layer import Layer, layers_of


@dataclass
class Rendered(TensorGroup):
    """Clean frames (B, T, 3, H, W) in [0, 1] and their ground truth; see `Clips` for the fields."""

    frames: Tensor
    displacement: Tensor
    visible: Tensor
    defined: Tensor
    owner: Tensor


def render(
    look: Look, pose: Pose, linear: Tensor, frames: int, size: tuple[int, int], textures: Atlas, shapes: Atlas
) -> Rendered:
    """Render the first `frames` frames of the layers (B, T, K, ...) of a script, which is on the CPU.

    The result is on the device of the atlases. With T = frames + 1, the last displacement leads to the extra frame;
    with T = frames, there is one displacement less. size: (height, width).
    """
    canvas = _Canvas(len(linear), frames, linear.shape[1] - 1, size, textures, shapes)
    layers = layers_of(look, pose, linear, size, textures.device)
    for layer in layers:
        canvas.paint(layer)
    return canvas.finish(layers)


class _Canvas:
    """Frames painted layer by layer, from back to front.

    The nearest layer whose outline encloses a pixel owns it. The pixel's displacement is that of the layer's point
    there: back into layer coordinates at t, forward to the screen at t + 1.
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
        """Paint a layer over the layers painted so far."""
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
        # Coverage ramps over the softness in layer coordinates; on the outline it is one half.
        cover = (0.5 - distance / layer.look.softness[:, self._every, None, None]).clamp_(0.0, 1.0)
        self._shown[..., rows, columns].lerp_(colour, cover)
        inside = distance <= 0
        self._owner[..., rows, columns].masked_fill_(inside, layer.index)
        inside = inside[:, first]
        for target, value in ((self._target_x, next_x), (self._target_y, next_y), (self._defined, same)):
            part = target[..., rows, columns]
            part.copy_(torch.where(inside, value, part))

    def finish(self, layers: list[Layer]) -> Rendered:
        """The painted frames, with displacement and visibility."""
        height, width = self._height, self._width
        shift_x, shift_y = self._target_x - self._x, self._target_y - self._y
        displacement = torch.stack((shift_x, shift_y), dim=2).mul_(self._defined[:, :, None])
        # A pixel extends half a pixel around its centre, so rounding hides nothing that stands still at the border.
        inside_x = (self._target_x - (width - 1) / 2).abs() < width / 2
        inside_y = (self._target_y - (height - 1) / 2).abs() < height / 2
        hidden = self._hidden(layers, math.ceil(float(displacement.abs().amax())) + 1)
        visible = self._defined & inside_x & inside_y & ~hidden
        frames = self._shown.permute(1, 2, 0, 3, 4).clamp(0.0, 1.0)
        return Rendered(frames, displacement, visible, self._defined, self._owner)

    def _hidden(self, layers: list[Layer], farthest: int) -> Tensor:
        """(B, T - 1, H, W) bool: a nearer layer covers the point at its position in the next frame.

        farthest: upper bound on displacement in px; a layer hides nothing farther than this from its box.
        """
        hidden = torch.zeros_like(self._defined)
        for layer in layers[1:]:
            rows, columns = layer.box.grown(farthest, self._height, self._width).pixels
            part = (..., rows, columns)
            u, v = layer.to_layer(self._target_x[part], self._target_y[part], self._second)
            covers = layer.distance(u, v, self._second, self._shapes) <= 0
            hidden[part] |= covers & (self._owner[:, self._first][part] < layer.index)
        return hidden
