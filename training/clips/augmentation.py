"""Which part of its frames a clip shows, and what is changed at random: one draw for all frames, by pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.video.transforms import interpolate
from training.clips.config import ClipSettings

Uint8Array = npt.NDArray[np.uint8]

_PLACES = tuple((x, y) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.5, 1.0))
_BETWEEN = tuple((x, y) for y in (0.25, 0.75) for x in (0.25, 0.75))
_CENTRE_SCALE = 0.875  # 224 of 256 pixels of the short side
_GREY = torch.tensor((0.299, 0.587, 0.114))


class Box(NamedTuple):
    """A part of a frame: fractions of its width and height."""

    left: float
    top: float
    width: float
    height: float

    def of(self, frame: Uint8Array) -> Uint8Array:
        """The part of a frame (H, W, 3), at least a pixel."""
        height, width = frame.shape[:2]
        left, top = min(round(self.left * width), width - 1), min(round(self.top * height), height - 1)
        right, bottom = round((self.left + self.width) * width), round((self.top + self.height) * height)
        return frame[top : max(bottom, top + 1), left : max(right, left + 1)]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to all frames of a clip. colour: factors of brightness, contrast and saturation; None for none."""

    box: Box
    flipped: bool = False
    colour: tuple[float, float, float] | None = None


def draw_augmentation(
    width: float, height: float, settings: ClipSettings, generator: np.random.Generator, *, may_flip: bool
) -> Augmentation:
    """A random augmentation of frames whose displayed shape is width x height.

    The crop is that of TSN (Wang et al., ECCV 2016): its sides are `scales` of the short side, at most one step apart,
    at one of 13 places.
    """
    scales = settings.scales
    pairs = [(w, h) for i, w in enumerate(scales) for j, h in enumerate(scales) if abs(i - j) <= 1]
    wide, high = pairs[generator.integers(len(pairs))]
    places = (*_PLACES, *_BETWEEN)
    box = _box(width, height, wide, high, *places[generator.integers(len(places))])
    flipped = bool(generator.random() < settings.flip) and may_flip
    colour = None
    if settings.colour:
        brightness, contrast, saturation = 1 + settings.colour * generator.uniform(-1, 1, 3)
        colour = (float(brightness), float(contrast), float(saturation))
    return Augmentation(box, flipped, colour)


def evaluation_boxes(width: float, height: float, crops: int) -> tuple[Box, ...]:
    """The centre crop of 7 / 8 of the short side; or three of the whole short side, along the long one."""
    if crops == 1:
        return (_box(width, height, _CENTRE_SCALE, _CENTRE_SCALE, 0.5, 0.5),)
    if crops != 3:
        raise ValueError(f"expected 1 or 3 crops; got {crops}")
    return tuple(_box(width, height, 1.0, 1.0, at, at) for at in (0.0, 0.5, 1.0))


def cropped(frame: Uint8Array, box: Box, size: int) -> Uint8Array:
    """Part of a frame (H, W, 3) uint8, resized to (size, size, 3), bilinear with antialiasing."""
    resized: Uint8Array = interpolate([np.ascontiguousarray(box.of(frame))], size, size)[0]
    return resized


def augmented(clip: Tensor, augmentation: Augmentation) -> Tensor:
    """A cropped clip (T, S, S, 3) uint8 with its flip and its colours."""
    if augmentation.flipped:
        clip = clip.flip(2)
    if augmentation.colour is None:
        return clip.contiguous()
    brightness, contrast, saturation = augmentation.colour
    pixels = clip.float() * brightness
    grey = (pixels @ _GREY).unsqueeze(-1)  # (T, S, S, 1)
    pixels = grey.mean() + (pixels - grey.mean()) * contrast
    grey = (pixels @ _GREY).unsqueeze(-1)
    return (grey + (pixels - grey) * saturation).round().clamp(0, 255).to(torch.uint8)


def _box(width: float, height: float, wide: float, high: float, x: float, y: float) -> Box:
    """A box whose sides are fractions of the short side, at a place: 0 at the left or top, 1 at the right or bottom."""
    short = min(width, height)
    wide, high = wide * short / width, high * short / height
    return Box(x * (1 - wide), y * (1 - high), wide, high)
