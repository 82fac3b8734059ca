"""Pictures with labels for linear probes: of which family a texture is, and of which family a shape.

Colours, light, place, size and direction are random for every family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.contrast.pictures import TEXTURE_PX, Thing, paint
from training.evaluation.passes import to_pixels
from training.world.draw import Draw, stream_seed
from training.world.looks.atlas import Atlas
from training.world.looks.patterns import FAMILIES
from training.world.looks.shapes import shape_bank
from training.world.looks.textures import texture_bank

SHAPE_FAMILIES = ("superellipse", "star", "blob", "figure")
_SHARES = (0.3, 0.2, 0.25, 0.25)  # of a bank, in this order (training.world.looks.shapes)
_SEED = 7_200_000
_FRAMES = 2
_LIGHT = (0.5, 1.0)


class Labelled(NamedTuple):
    """Clips (N, 2, S, S, 3) uint8 and their classes (N,)."""

    pixels: Tensor
    labels: Tensor


def textures(count: int, size_px: int, seed: int) -> Labelled:
    """`count` clips of each family of textures; the ground passes by a little."""
    draw = Draw(stream_seed(_SEED, 1, seed))
    tiles = torch.cat([family(count, TEXTURE_PX, draw).clamp(0, 1) for family, _ in FAMILIES])
    atlas, nothing = Atlas(tiles, periodic=True), Atlas(shape_bank(1, draw), periodic=False)
    clips = [_shot(atlas, nothing, number, [], size_px, draw) for number in range(len(tiles))]
    return Labelled(torch.stack(clips), torch.arange(len(FAMILIES)).repeat_interleave(count))


def shapes(count: int, size_px: int, seed: int) -> Labelled:
    """`count` clips of each family of shapes, with a texture of its own before another one."""
    draw = Draw(stream_seed(_SEED, 2, seed))
    total = -(-count * 10 // 2)  # the smallest share is two tenths
    outlines = Atlas(shape_bank(total, draw), periodic=False)
    grounds = Atlas(texture_bank(2 * count, TEXTURE_PX, draw), periodic=True)
    edges = [round(sum(_SHARES[:n]) * total) for n in range(len(_SHARES) + 1)]
    clips = []
    for first in edges[:-1]:
        for number in range(count):
            texture, ground = (int(draw.integers((), 0, 2 * count - 1)) for _ in range(2))
            centre = size_px * draw.uniform((1, 2), 0.4, 0.6).expand(_FRAMES, 2)
            thing = Thing(texture, first + number, centre, size_px * float(draw.uniform((), 0.25, 0.4)))
            clips.append(_shot(grounds, outlines, ground, [thing], size_px, draw))
    return Labelled(torch.stack(clips), torch.arange(len(SHAPE_FAMILIES)).repeat_interleave(count))


def _shot(atlas: Atlas, outlines: Atlas, ground: int, things: list[Thing], size_px: int, draw: Draw) -> Tensor:
    """A clip (2, S, S, 3) uint8 of a ground at a random place, in random light."""
    start = draw.uniform((1, 2), 0, TEXTURE_PX)
    offset = torch.cat((start, start + draw.uniform((1, 2), -6, 6)))
    light = float(draw.uniform((), *_LIGHT))
    return to_pixels(paint(atlas, outlines, ground, offset, things, (size_px, size_px)) * light)


PROBES: dict[str, Callable[[int, int, int], Labelled]] = {"textures": textures, "shapes": shapes}
"""Makes a set of each kind, from clips a family, side in pixels, and seed."""
