"""The world: a seeded source of clips in which all motion is known."""

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

__all__ = ["Clips", "World"]


@dataclass
class Clips(TensorGroup):
    """A batch of B clips of T frames of H x W pixels, on the world's device.

    frames (B, T, 3, H, W): float32 in [0, 1], RGB.
    displacement (B, T - 1, 2, H, W): float32, px, x right and y down: where the point that pixel (y, x) of frame t
        shows has gone in frame t + 1. 0 where it is not defined.
    visible (B, T - 1, H, W): bool, the point is seen in both frames: inside the frame, behind nothing, not faded.
    defined (B, T - 1, H, W): bool, the thing exists in both frames, seen or not; false over cuts and for what vanishes.
    owner (B, T, H, W): uint8, slot of the layer that a pixel shows, 0 the background, higher ones nearer.
    boundary (B, T): int64, `Boundary` at the first frame of each new stretch, NONE elsewhere.
    actor_motion, camera_motion (B, T - 1): int64, `Motion` of the hero and of the background on the screen, IGNORE
        where there is no hero in the frame, or the scene changes.
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
        """(first frame of the new stretch, what changed) for each boundary of one clip, in order of time."""
        kinds = self.boundary[clip].tolist()
        return [(frame, Boundary(kind)) for frame, kind in enumerate(kinds) if kind != Boundary.NONE]


class World:
    """Clips by number: the same configuration, seed, step, batch size and device give the same clips.

    Textures and shapes are drawn into banks that live for `bank_lifetime_steps` steps, then anew. Worlds of different
    seeds share nothing, so a held-out set is a world with a seed of its own.
    """

    def __init__(self, config: WorldConfig, *, seed: int, device: torch.device | str = "cpu") -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self._banks = Banks(config, seed, self.device)

    def variant(self, **changes: Any) -> World:
        """The same world with other fields of its configuration, on the same banks (whose fields cannot change)."""
        other = replace(self.config, **changes)
        if Banks.fields_of(other) != Banks.fields_of(self.config):
            raise ValueError(f"a variant keeps the banks of its world, expected none of their fields in {changes}")
        world = World(other, seed=self.seed, device=self.device)
        world._banks = self._banks
        return world

    def batches(self, clips: int, first_step: int = 0) -> Iterator[Clips]:
        """Batches without end, from `first_step` on."""
        return (self.sample(step, clips) for step in count(first_step))

    @torch.no_grad()
    def sample(self, step: int, clips: int) -> Clips:
        """The batch of `clips` clips with this number."""
        if step < 0 or clips < 1:
            raise ValueError(f"expected a step from 0 and at least one clip, got {step = }, {clips = }")
        # Half precision would move points by whole pixels: a caller's autocast ends here.
        with torch.autocast("cpu", enabled=False), torch.autocast(self.device.type, enabled=False):
            return self._sample(step, clips)

    def _sample(self, step: int, clips: int) -> Clips:
        # The script is drawn on the CPU: it is small, and then the same on every device.
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
        """Render some clips into `result`, a few frames at a time where they are long or large."""
        look, pose = script.look.of(clips), script.pose.of(clips)
        linear, size, frames = script.linear[clips], (self.config.height, self.config.width), self.config.num_frames
        nuisances = Nuisances(len(linear), frames, self.config.nuisances, noise)
        room = max(1, 2 * self._pixels_at_a_time() // (len(linear) * size[0] * size[1]))
        # The last frame has no displacement of its own, so it is made together with the one before it.
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
        """On a CPU what its cache can hold, elsewhere what keeps a large device busy in a few GB."""
        return 2**17 if self.device.type == "cpu" else 2**25
