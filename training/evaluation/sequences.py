"""Held-out procedural sequences for probes: the features of every frame, and boundaries and motion as labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.world import Clips, World, WorldConfig

RATE_HZ = 10.0
_BOUNDARY_FRAMES = 100
_BOUNDARIES = (1, 6)
_MIN_STRETCH_FRAMES = 8
_DIFFERENCE_GRID = 14


@dataclass(frozen=True, slots=True)
class LabelledSequence:
    """T frames. `features`: (T, D) by the name of the input. `boundary_frames`: first frames of new stretches.

    `actor_motion`, `camera_motion` (T - 1,) int64: `Motion`, or IGNORE.
    """

    features: Mapping[str, Tensor]
    boundary_frames: tuple[int, ...]
    actor_motion: Tensor
    camera_motion: Tensor

    def __len__(self) -> int:
        return len(self.actor_motion) + 1


def boundary_world(config: WorldConfig, seed: int) -> World:
    """A world of sequences of 10 s at 10 frames per second with 1 to 6 boundaries, otherwise configured as given."""
    world = World(config, seed=seed)
    return world.variant(num_frames=_BOUNDARY_FRAMES, boundaries=_BOUNDARIES, min_stretch_frames=_MIN_STRETCH_FRAMES)


def sample_clips(world: World, count: int, at_a_time: int) -> Iterator[Clips]:
    """The first `count` clips of a world in batches of `at_a_time`; the last batch may be smaller."""
    for step, start in enumerate(range(0, count, at_a_time)):
        yield world.sample(step, at_a_time).of(slice(count - start))


def label_sequences(clips: Clips, features: Mapping[str, Tensor]) -> list[LabelledSequence]:
    """Split a batch of clips and their features (B, T, D), by the name of the input, into labelled sequences."""
    return [
        LabelledSequence(
            {name: of_all[i] for name, of_all in features.items()},
            tuple(frame for frame, _ in clips.boundaries(i)),
            clips.actor_motion[i].cpu(),
            clips.camera_motion[i].cpu(),
        )
        for i in range(len(clips.boundary))
    ]


def pixel_differences(pixels: Tensor) -> Tensor:
    """Mean absolute difference to the next frame, over a grid of 14 x 14 parts, in grey levels.

    (B, T, H, W, 3) uint8 to (B, T, 196) float32 on the CPU. The last frame repeats the last pair, as motion features
    do.
    """
    frames = pixels.float()
    changed = (frames[:, 1:] - frames[:, :-1]).abs().mean(-1)  # (B, T - 1, H, W)
    grid = F.adaptive_avg_pool2d(changed, _DIFFERENCE_GRID).flatten(2)
    return torch.cat((grid, grid[:, -1:]), 1).cpu()
