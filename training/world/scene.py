"""The world: a seeded source of clips with known motion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from training.world.config import Boundary, WorldConfig
from training.world.draw import Draw, stream_seed
from training.world.layers import TensorGroup
from training.world.looks.atlas import Atlas
from training.world.looks.banks import Banks
from training.world.rendering.artefacts import Nuisances, apply_fades_
from training.world.rendering.render import render
from training.world.script import Script, write_script


@dataclass
class Clips(TensorGroup):
    """A batch of B clips of T frames of H x W pixels, on the world's device.

    frames (B, T, 3, H, W): float32 in [0, 1], RGB.
    displacement (B, T - 1, 2, H, W): float32, px, x right and y down: motion from frame t to t + 1 of the point that
        pixel (y, x) of frame t shows. 0 where it is not defined.
    visible (B, T - 1, H, W): bool, the point is visible in both frames: inside the frame, not occluded, not faded.
    defined (B, T - 1, H, W): bool, the thing exists in both frames, visible or not. False across cuts, and where
        something vanishes.
    owner (B, T, H, W): uint8, slot of the layer that a pixel shows; 0 is the background, higher slots are nearer.
    boundary (B, T): int64, `Boundary` at the first frame of each new stretch, NONE elsewhere.
    actor_motion, camera_motion (B, T - 1): int64, `Motion` of the hero and of the background on the screen; IGNORE
        where the frame has no hero, or the scene changes.
    """

    frames: Tensor
    displacement: Tensor
    visible: Tensor
    defined: Tensor
    owner: Tensor
    boundary: Tensor
    actor_motion: Tensor
    camera_motion: Tensor

    def boundaries(self, clip: int) -> list[tuple[int, Boundary]]:
        """(first frame of the new stretch, what changed) for each boundary of one clip, in temporal order."""
        kinds = self.boundary[clip].tolist()
        return [(frame, Boundary(kind)) for frame, kind in enumerate(kinds) if kind != Boundary.NONE]


class World:
    """Clips by number: the same configuration, seed, step, batch size and device give the same clips.

    Textures and shapes come from banks that are redrawn every `bank_lifetime_steps` steps. Worlds with different seeds
    share nothing, so a world with its own seed is a held-out set.
    """

    def __init__(self, config: WorldConfig, *, seed: int, device: torch.device | str = "cpu") -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self._banks = Banks(config, seed, self.device)

    def variant(self, **changes: Any) -> World:
        """A world with some configuration fields changed and the same banks, whose own fields cannot change."""
        other = replace(self.config, **changes)
        if Banks.fields_of(other) != Banks.fields_of(self.config):
            raise ValueError(
                f"expected no changes to the banks, which a variant shares; got {changes}. Make a new World"
            )
        world = World(other, seed=self.seed, device=self.device)
        world._banks = self._banks
        return world

    def batches(self, clips: int, first_step: int = 0) -> Iterator[Clips]:
        """Endless stream of batches, starting at `first_step`."""
        return (self.sample(step, clips) for step in count(first_step))

    @torch.no_grad()
    def sample(self, step: int, clips: int) -> Clips:
        """The batch number `step`, of `clips` clips."""
        if step < 0 or clips < 1:
            raise ValueError(f"expected a step from 0 and at least one clip; got {step = }, {clips = }")
        # Half precision would shift points by whole pixels, so a caller's autocast is disabled.
        with torch.autocast("cpu", enabled=False), torch.autocast(self.device.type, enabled=False):
            return self._sample(step, clips)

    def _sample(self, step: int, clips: int) -> Clips:
        # The script is small, and drawing it on the CPU makes it the same on every device.
        script = write_script(self.config, clips, Draw(stream_seed(self.seed, 1, step)))
        result = self._empty(script)
        noise = Draw(stream_seed(self.seed, 2, step), self.device)
        room = max(1, self._pixels_at_a_time() // (result.owner[0].numel()))
        for start in range(0, clips, room):
            self._film(script, slice(start, min(start + room, clips)), self._banks.at(step), noise, result)
        return result

    def _empty(self, script: Script) -> Clips:
        (clips, frames), size = script.kinds.shape, (self.config.height, self.config.width)
        return Clips(
            torch.empty(clips, frames, 3, *size, device=self.device),
            torch.empty(clips, frames - 1, 2, *size, device=self.device),
            torch.empty(clips, frames - 1, *size, device=self.device, dtype=torch.bool),
            torch.empty(clips, frames - 1, *size, device=self.device, dtype=torch.bool),
            torch.empty(clips, frames, *size, device=self.device, dtype=torch.uint8),
            script.kinds.to(self.device),
            script.actor_motion.to(self.device),
            script.camera_motion.to(self.device),
        )

    def _film(self, script: Script, clips: slice, banks: tuple[Atlas, Atlas], noise: Draw, result: Clips) -> None:
        """Render some clips into `result`, a few frames at a time where clips are long or large."""
        look, pose = script.look.of(clips), script.pose.of(clips)
        linear, size, frames = script.linear[clips], (self.config.height, self.config.width), self.config.num_frames
        nuisances = Nuisances(len(linear), frames, self.config.nuisances, noise)
        room = max(1, 2 * self._pixels_at_a_time() // (len(linear) * size[0] * size[1]))
        # The last frame has no displacement, so it is rendered together with the one before it.
        starts = list(range(0, frames - 1, room))
        for start, stop in zip(starts, [*starts[1:], frames], strict=True):
            ahead = slice(start, stop + 1)
            made = render(look.during(ahead), pose.during(ahead), linear[:, ahead], stop - start, size, *banks)
            span, pairs = slice(start, stop), slice(start, min(stop, frames - 1))
            result.frames[clips, span] = nuisances.apply(made.frames, made.displacement, span)
            result.displacement[clips, pairs] = made.displacement
            result.visible[clips, pairs], result.defined[clips, pairs] = made.visible, made.defined
            result.owner[clips, span] = made.owner
        fades = script.fades.of(clips)
        apply_fades_(result.frames[clips], fades)
        seen = fades.seen[:, 1:] & fades.seen[:, :-1]
        result.visible[clips] &= seen.to(self.device)[..., None, None]

    def _pixels_at_a_time(self) -> int:
        """On a CPU, what fits in its cache; elsewhere, what keeps a large device busy within a few GB."""
        return 2**17 if self.device.type == "cpu" else 2**25
