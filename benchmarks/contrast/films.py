"""Videos without labels to learn from: a ground that passes by, things that move, and a morning whose light rises.

What passes by makes frames of a video differ, and the light gives time a direction; without either, nobody could tell a
frame from another one of its video, or whether segments are in order.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.contrast.pictures import TEXTURE_PX, Thing, paint
from extractor.video.encoding import encode_video
from training.world.draw import Draw, stream_seed
from training.world.looks.atlas import Atlas
from training.world.looks.shapes import shape_bank
from training.world.looks.textures import texture_bank

SIZE = (96, 128)
FRAMES, FPS = 36, 12
_SEED = 7_100_000  # apart from those of other worlds
_FILMS_A_BANK, _TEXTURES, _SHAPES = 40, 64, 64
_PASSES = (0.7, 1.6)  # widths of the picture in a video
_NIGHT, _RISE = (0.35, 0.6), (0.4, 0.65)  # of full light


def write_films(folder: Path, count: int) -> None:
    """Write films 0000.mp4 and so on; those that exist are kept. A film does not depend on how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    banks: tuple[Atlas, Atlas] | None = None
    for number in range(count):
        path = folder / f"{number:04d}.mp4"
        if number % _FILMS_A_BANK == 0:
            banks = None
        if path.exists():
            continue
        if banks is None:
            draw = Draw(stream_seed(_SEED, 1, number // _FILMS_A_BANK))
            banks = (
                Atlas(texture_bank(_TEXTURES, TEXTURE_PX, draw), periodic=True),
                Atlas(shape_bank(_SHAPES, draw), periodic=False),
            )
        pixels = film(*banks, Draw(stream_seed(_SEED, 2, number))).mul(255).round().byte()
        encode_video(path, iter(pixels.permute(0, 2, 3, 1).contiguous().numpy()), fps=FPS, keyframe_every=12)


def film(textures: Atlas, shapes: Atlas, draw: Draw) -> Tensor:
    """Frames (FRAMES, 3, H, W) in [0, 1]."""
    height, width = SIZE
    time = torch.arange(FRAMES) / (FRAMES - 1)
    way_px = float(draw.uniform((), *_PASSES)) * width
    things = []
    for _ in range(int(draw.integers((), 1, 3))):
        centre = draw.uniform((2,)) * torch.tensor([width, height])
        moved = _way(float(draw.uniform((), 0.1, 0.6)) * width, draw, time)
        radius = float(draw.uniform((), 0.14, 0.32)) * height
        texture, shape = (int(draw.integers((), 0, last - 1)) for last in (_TEXTURES, _SHAPES))
        things.append(Thing(texture, shape, centre + moved - moved.mean(0), radius))
    ground, offset = int(draw.integers((), 0, _TEXTURES - 1)), _way(way_px, draw, time)
    light = float(draw.uniform((), *_NIGHT)) + float(draw.uniform((), *_RISE)) * time
    return (paint(textures, shapes, ground, offset, things, SIZE) * light.view(-1, 1, 1, 1)).clamp(0, 1)


def _way(length_px: float, draw: Draw, time: Tensor) -> Tensor:
    """Places (F, 2) on a straight way."""
    angle = float(draw.uniform((), 0, 2 * math.pi))
    return time[:, None] * length_px * torch.tensor([math.cos(angle), math.sin(angle)])
