"""Timing: the boundaries of clips, and the brightness and blending of frames while a scene fades into the next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.config import Boundary, WorldConfig
from training.world.draw import Draw
from training.world.layers import TensorGroup


def plan_boundaries(config: WorldConfig, clips: int, draw: Draw) -> Tensor:
    """Draw boundaries: (clips, T) int64, their kind at the first frame of each new stretch, else NONE.

    No stretch, including those at the ends of a clip, is shorter than `min_stretch_frames`.
    """
    frames, gap = config.num_frames, config.min_stretch_frames
    most = max(0, min(config.boundaries[1], frames // gap - 1))
    kinds = torch.zeros(clips, frames, dtype=torch.int64)
    if most == 0:
        return kinds
    count = draw.integers((clips, 1), min(config.boundaries[0], most), most)
    order = torch.arange(most)[None]
    taken = order < count
    # Sorted draws from the frames that minimum stretches leave over, then spaced by minimum stretches.
    spare = frames - (count + 1) * gap
    place = (draw.uniform((clips, most)) * (spare + 1)).long().masked_fill(~taken, frames).sort(-1).values
    place = (place + (order + 1) * gap).clamp(max=frames - 1)
    drawn = 1 + draw.choice((clips, most), config.boundary_weights)
    return kinds.scatter_add(1, place, drawn * taken)


def remaining_frames(kinds: Tensor, ending: Collection[Boundary]) -> Tensor:
    """Frames from each frame to the next boundary of the kinds `ending`, or to the clip's end: (clips, T) int64."""
    ends = torch.isin(kinds, torch.tensor([int(kind) for kind in ending]))
    left = torch.ones_like(kinds)
    for frame in range(kinds.shape[1] - 2, -1, -1):
        left[:, frame] = torch.where(ends[:, frame + 1], 1, left[:, frame + 1] + 1)
    return left


@dataclass
class Fades(TensorGroup):
    """Transitions between scenes, each tensor (B, T).

    level: remaining brightness, 1 outside fades; at 0 the whole frame is `tone` (0 black, 1 white).
    ghost: a dissolve: weight, below 0.5, of the frozen frame with index `ghost_frame` that is blended over this one.
    """

    level: Tensor
    tone: Tensor
    ghost: Tensor
    ghost_frame: Tensor

    @property
    def seen(self) -> Tensor:
        """(B, T) bool: the frame mainly shows its own scene."""
        return (self.level >= 0.5) & (self.ghost < 0.3)


def plan_fades(kinds: Tensor, longest: int, draw: Draw) -> Fades:
    """Fade half of the FADE boundaries through black or white, dissolve the rest; at most `longest` frames per side."""
    clips, frames = kinds.shape
    half = draw.integers((clips, frames), 1, max(1, longest))
    dissolves = draw.chance((clips, frames), 0.5)
    white = draw.chance((clips, 1), 0.25).float()
    level, ghost = torch.ones(clips, frames), torch.zeros(clips, frames)
    ghost_frame = torch.zeros(clips, frames, dtype=torch.int64)
    times = torch.arange(frames)[None]
    for start in range(1, frames):
        fade = kinds[:, start : start + 1] == Boundary.FADE
        if not bool(fade.any()):
            continue
        width, dissolve = half[:, start : start + 1], dissolves[:, start : start + 1]
        distance = (times + 0.5 - start).abs()
        dip = ((distance - 0.5) / width).clamp(0.0, 1.0)
        level = torch.where(fade & ~dissolve, torch.minimum(level, dip), level)
        # Each scene is blended with the nearest frame of the other one, which is frozen.
        over = (0.5 - distance / (2 * width + 1)).clamp_min(0.0)
        blended = fade & dissolve & (over > ghost)
        ghost = torch.where(blended, over, ghost)
        ghost_frame = torch.where(blended, torch.where(times < start, start, start - 1), ghost_frame)
    return Fades(level, white.expand(clips, frames), ghost, ghost_frame)
