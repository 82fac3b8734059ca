"""The views of a video: which frames each takes, and how it is changed; drawn by pure functions over numbers.

Crops, colours, grey and blur are those of MoCo v2, as VCLR uses them, but for the shift of hue, which is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from training.clips.augmentation import Augmentation, Box, augmented
from training.tasks.contrast.config import ViewSettings

Int64Array = npt.NDArray[np.int64]

_LUMA = (0.299, 0.587, 0.114)
_ASPECT = (3 / 4, 4 / 3)  # width over height of a crop
_CROPS_TRIED = 10
_BLUR_AT_PX = 224.0


class Views(NamedTuple):
    """Views of B videos, (..., S, S, 3) uint8; None where they are not needed.

    query_frame, same_frame and other_frame (B, S, S, 3): the first two are views of one frame, the third is of a frame
    of another part of the video. query_clip and key_clip: (B, segments, T, S, S, 3).
    """

    query_frame: Tensor | None
    same_frame: Tensor | None
    other_frame: Tensor | None
    query_clip: Tensor | None
    key_clip: Tensor | None


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to all frames of a view. blur: deviation of the Gaussian in pixels; 0 for none."""

    augmentation: Augmentation
    grey: bool = False
    blur: float = 0.0

    def of(self, frames: Tensor) -> Tensor:
        """Cropped frames (T, S, S, 3) uint8 with the change."""
        frames = augmented(frames, self.augmentation)
        if self.grey:
            luma = frames.float() @ torch.tensor(_LUMA)
            frames = luma.round().to(torch.uint8).unsqueeze(-1).expand_as(frames)
        return blurred(frames, self.blur) if self.blur else frames.contiguous()


def num_frames(settings: ViewSettings, *, frames: bool, clips: bool) -> int:
    """How many frames all views of a video have."""
    return 3 * frames + 2 * settings.segments * settings.segment_frames * clips


def draw_positions(
    count: int, settings: ViewSettings, generator: np.random.Generator, *, frames: bool, clips: bool
) -> list[Int64Array]:
    """For each view the positions that it takes of `count` frames; views in the order of `Views`.

    The three single frames are a frame of one of `segments` equal parts, the same again, and one of another part.
    """
    edges = np.arange(settings.segments + 1, dtype=np.int64) * count // settings.segments
    starts = [min(start, count - 1) for start in edges[:-1].tolist()]
    parts = [(start, max(end, start + 1)) for start, end in zip(starts, edges[1:].tolist(), strict=True)]
    views: list[Int64Array] = []
    if frames:
        first, second = generator.permutation(len(parts))[:2]
        one, other = (int(generator.integers(*parts[part])) for part in (first, second))
        views += [np.array([one]), np.array([one]), np.array([other])]
    for _ in range(2 * clips):
        views.append(np.concatenate([_segment(start, end, settings, generator) for start, end in parts]))
    return views


def _segment(start: int, end: int, settings: ViewSettings, generator: np.random.Generator) -> Int64Array:
    """Positions within a part; the last frame is repeated where the part has fewer frames than a segment."""
    frames = settings.segment_frames
    stride = max(1, min(settings.frame_stride, (end - start - 1) // (frames - 1)))
    first = start + int(generator.integers(max(1, end - start - stride * (frames - 1))))
    positions: Int64Array = np.minimum(first + stride * np.arange(frames, dtype=np.int64), end - 1)
    return positions


def draw_change(width: float, height: float, settings: ViewSettings, generator: np.random.Generator) -> Change:
    """A random change of frames whose displayed shape is width x height."""
    box = _draw_box(width, height, settings.least_area, generator)
    flipped = bool(generator.random() < settings.flip)
    factors = 1 + settings.colour * generator.uniform(-1, 1, 3)
    colour = (float(factors[0]), float(factors[1]), float(factors[2]))
    coloured = bool(generator.random() < settings.colour_share) and settings.colour > 0
    grey = bool(generator.random() < settings.grey)
    sigma = float(generator.uniform(*settings.blur_sigma)) * settings.size_px / _BLUR_AT_PX
    blur = sigma if generator.random() < settings.blur else 0.0
    return Change(Augmentation(box, flipped, colour if coloured else None), grey, blur)


def _draw_box(width: float, height: float, least_area: float, generator: np.random.Generator) -> Box:
    """A crop of an area between `least_area` and 1 of the frame's; the whole frame where none fits."""
    for _ in range(_CROPS_TRIED):
        area = generator.uniform(least_area, 1.0) * width * height
        aspect = math.exp(generator.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        wide, high = math.sqrt(area * aspect) / width, math.sqrt(area / aspect) / height
        if wide <= 1 and high <= 1:
            return Box(generator.uniform(0, 1 - wide), generator.uniform(0, 1 - high), wide, high)
    return Box(0.0, 0.0, 1.0, 1.0)


def blurred(frames: Tensor, sigma: float) -> Tensor:
    """Frames (T, S, S, 3) uint8 after a Gaussian of deviation `sigma` in pixels; borders are reflected."""
    reach = min(max(1, math.ceil(3 * sigma)), frames.shape[1] - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    pixels = frames.permute(0, 3, 1, 2).float().flatten(0, 1).unsqueeze(1)  # (T * 3, 1, S, S)
    pixels = F.pad(pixels, (reach, reach, reach, reach), mode="reflect")
    pixels = F.conv2d(F.conv2d(pixels, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    folded = torch.unflatten(pixels.squeeze(1), 0, (len(frames), 3)).permute(0, 2, 3, 1)
    return folded.round().clamp(0, 255).to(torch.uint8).contiguous()


def parted(frames: Tensor, settings: ViewSettings, *, of_frames: bool, of_clips: bool) -> Views:
    """The views of videos from all their frames (B, N, S, S, 3), view behind view."""
    single = tuple(frames[:, :3].unbind(1)) if of_frames else (None, None, None)
    clips: tuple[Tensor | None, ...] = (None, None)
    if of_clips:
        shape = (2, settings.segments, settings.segment_frames)
        clips = tuple(torch.unflatten(frames[:, 3 * of_frames :], 1, shape).unbind(1))
    return Views(*single, *clips)
