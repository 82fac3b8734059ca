"""Frames of a textured ground and textured shapes before it, from the looks of the procedural world (docs/world.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.world.looks.atlas import Atlas
from training.world.looks.shapes import SHAPE_EXTENT

TEXTURE_PX = 128
"""Side of a texture, which repeats."""


class Thing(NamedTuple):
    """A shape before the ground. centre_px: (F, 2), x and y at every frame."""

    texture: int
    shape: int
    centre_px: Tensor
    radius_px: float


def paint(
    textures: Atlas, shapes: Atlas, ground: int, offset_px: Tensor, things: Sequence[Thing], size: tuple[int, int]
) -> Tensor:
    """Frames (F, 3, H, W) in [0, 1]: a ground at offset_px (F, 2) at every frame, and the things before it."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    frames = _sampled(textures, ground, x + offset_px[:, 0, None, None], y + offset_px[:, 1, None, None], TEXTURE_PX)
    for thing in things:
        dx, dy = x - thing.centre_px[:, 0, None, None], y - thing.centre_px[:, 1, None, None]
        tile_px = 2 * SHAPE_EXTENT * thing.radius_px
        distance = _sampled(shapes, thing.shape, dx + tile_px / 2, dy + tile_px / 2, tile_px)  # in radii
        cover = (0.5 - distance * thing.radius_px).clamp(0, 1)  # (1, F, H, W)
        frames = torch.lerp(frames, _sampled(textures, thing.texture, dx, dy, TEXTURE_PX), cover.expand_as(frames))
    return frames.transpose(0, 1)


def _sampled(atlas: Atlas, tile: int, x: Tensor, y: Tensor, tile_px: float) -> Tensor:
    """(C, F, H, W) of a tile at places (F, H, W) in pixels of the picture."""
    return atlas.sample(torch.full((len(x),), tile), (x / tile_px).contiguous(), (y / tile_px).contiguous())
