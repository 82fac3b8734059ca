"""Random draws of whole scenes: how layers look, where they start, and how they and the camera move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.config import WorldConfig
from training.world.draw import Draw
from training.world.layers import Look, Pose, Rates, TensorGroup

_ZOOM_RANGE = 0.45  # largest log zoom in or out, of sprites and camera: keeps textures near their native scale
_SHEAR_RANGE = 0.45


@dataclass
class Camera(TensorGroup):
    """Camera motion of each clip per frame: pan (B, 2), px that the scene shifts; spin (B,), radians; log_zoom (B,)."""

    pan: Tensor
    spin: Tensor
    log_zoom: Tensor


def rotated(vector: Tensor, angle: Tensor) -> Tensor:
    """Rotate (..., 2) by `angle` (...) radians, clockwise on the screen."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack(
        (vector[..., 0] * cosine - vector[..., 1] * sine, vector[..., 0] * sine + vector[..., 1] * cosine), -1
    )


class Casting:
    """Draws layers for `clips` scenes of 1 + config.sprites[1] slots each, on the CPU: the tensors are small."""

    def __init__(self, config: WorldConfig, clips: int, draw: Draw) -> None:
        self._config, self._clips, self._draw = config, clips, draw
        self.slots = 1 + config.sprites[1]
        self.size = torch.tensor([config.width, config.height], dtype=torch.float32)
        self.middle = (self.size - 1) / 2

    def hero(self) -> Tensor:
        """Slot of the main actor, (B,) int64, usually the nearest one; 0 where there are no sprites."""
        last = self.slots - 1
        if last == 0:
            return torch.zeros(self._clips, dtype=torch.int64)
        anywhere = self._draw.integers((self._clips,), 1, last)
        return torch.where(self._draw.chance((self._clips,), 0.6), last, anywhere)

    def look(self, hero: Tensor) -> Look:
        """Looks of all slots, (B, K, ...). The hero is alive; the number of other sprites follows config.sprites."""
        config, draw, shape = self._config, self._draw, (self._clips, self.slots)
        sprite = torch.arange(self.slots).expand(shape) > 0
        is_hero = torch.arange(self.slots) == hero[:, None]
        deforming = torch.where(sprite, config.deforming, config.deforming / 3)
        radius = torch.where(is_hero, draw.log_uniform(shape, 0.14, 0.4), draw.log_uniform(shape, 0.06, 0.36))
        radius = torch.where(sprite, radius * config.side, config.side / 2)
        soft = torch.minimum(draw.uniform(shape, 0.012, 0.03) * config.side, 0.25 * radius)
        wave = 2 * math.pi / (radius * draw.log_uniform(shape, 0.8, 3.0))
        # amplitude * wave stays below 0.6: layers bend, but do not fold into stripes.
        amplitude = draw.log_uniform(shape, 0.12, 0.6) / wave
        texture = draw.integers(shape, 0, config.textures - 1)
        camouflaged = draw.chance(shape, 0.06) & sprite
        colour = (*shape, 3)
        return Look(
            alive=self._cast(is_hero),
            instance=torch.zeros(shape, dtype=torch.int64),
            texture=torch.where(camouflaged, texture[:, :1], texture),
            texture_scale=draw.log_uniform(shape, 0.45, 1.0),
            texture_shift=draw.uniform((*shape, 2), 0, config.texture_px),
            shape=draw.integers(shape, 0, config.shapes - 1),
            radius=radius,
            softness=torch.where(draw.chance(shape, 0.25), soft.clamp_min(1.0), 1.0),
            gain=draw.uniform(colour, 0.6, 1.15) * draw.uniform((*shape, 1), 0.7, 1.1),
            bias=draw.uniform((*shape, 1), -0.1, 0.2) + draw.uniform(colour, -0.06, 0.06),
            amplitude=torch.where(draw.uniform(shape) < deforming, amplitude, 0.0),
            wave=wave,
            attached=draw.chance(shape, 0.2) & sprite & ~is_hero,
            depth=torch.where(draw.chance(shape, 0.5), 1.0, draw.uniform(shape, 1.0, 1.7)).masked_fill(~sprite, 1.0),
        )

    def _cast(self, is_hero: Tensor) -> Tensor:
        """Living slots, (B, K) bool: background, hero, and others drawn at random."""
        least, most = self._config.sprites
        count = self._draw.integers((self._clips, 1), least, most)
        order = self._draw.uniform((self._clips, self.slots)).masked_fill(is_hero, -1.0)
        order[:, 0] = -2.0
        alive = order.argsort(-1).argsort(-1) <= count
        alive[:, 0] = True
        return alive

    def pose(self) -> Pose:
        """Poses of all slots, with centres inside the frame; `gather_attached` places attached sprites."""
        draw, shape = self._draw, (self._clips, self.slots)
        sprite = torch.arange(self.slots).expand(shape) > 0
        centre = draw.uniform((*shape, 2), 0.08, 0.92) * (self.size - 1)
        return Pose(
            centre=torch.where(sprite[..., None], centre, self.middle),
            angle=draw.uniform(shape, 0, 2 * math.pi),
            log_zoom=draw.uniform(shape, -0.25, 0.25),
            shear=draw.uniform(shape, -_SHEAR_RANGE, _SHEAR_RANGE) * draw.chance(shape, 0.4),
            phase=draw.uniform((*shape, 2), 0, 2 * math.pi),
        )

    def gather_attached(self, look: Look, pose: Pose, hero: Tensor) -> Tensor:
        """Centres (B, K, 2), with attached sprites moved to the hero's rim: they are parts of one actor."""
        rows = torch.arange(self._clips)
        angle = self._draw.uniform((self._clips, self.slots), 0, 2 * math.pi)
        arm = look.radius[rows, hero][:, None] * self._draw.uniform((self._clips, self.slots), 0.4, 1.1)
        at_rim = pose.centre[rows, hero][:, None] + torch.stack((angle.cos() * arm, angle.sin() * arm), -1)
        return torch.where(look.attached[..., None], at_rim, pose.centre)

    def rates(self, pose: Pose, left: Tensor, hero: Tensor, *, must_move: bool = False) -> Rates:
        """Rates of all slots for a stretch of `left` (B, K) frames; zero for the background, which the camera moves.

        Most sprites move toward a point in the frame and do not pass it; others cross the frame and leave. With
        `must_move`, every sprite translates visibly.
        """
        draw, shape, tempo = self._draw, (self._clips, self.slots), self._config.tempo
        length = left.clamp_min(4).float()
        moving = torch.ones(shape, dtype=torch.bool) if must_move else draw.chance(shape, 1 - self._config.still_sprite)
        moving[:, 0] = False
        part = draw.uniform((*shape, 5)) < torch.tensor([0.75, 0.35, 0.3, 0.2, 0.8])
        # A third moves in one way only: in a mixture of motions, translation nearly always dominates.
        alone = draw.integers(shape, 0, 3)[..., None] == torch.arange(5)
        alone[..., 4] = part[..., 4]
        part = torch.where(draw.chance((*shape, 1), 0.35), alone, part) & moving[..., None]
        part[..., 0] |= must_move
        part[:, 0] = False
        zoom = self._far_goal(pose.log_zoom, _ZOOM_RANGE) - pose.log_zoom
        shear = self._far_goal(pose.shear, _SHEAR_RANGE) - pose.shear
        spin = draw.log_uniform(shape, 0.015, 0.3) * draw.sign(shape) * tempo
        bend = draw.uniform((*shape, 2), 0.2, 1.0) * draw.sign((*shape, 2)) * tempo
        return Rates(
            centre=self._velocity(pose, length, hero) * part[..., :1],
            angle=spin * part[..., 1],
            log_zoom=zoom / length * part[..., 2],
            shear=shear / length * part[..., 3],
            phase=bend * part[..., 4:],
        )

    def _far_goal(self, present: Tensor, bound: float) -> Tensor:
        """Random values in [-bound, bound], none of them close to the present ones."""
        goal = self._draw.uniform(tuple(present.shape), -bound, bound)
        return torch.where((goal - present).abs() < 0.5 * bound, torch.where(present > 0, -bound, bound), goal)

    def _velocity(self, pose: Pose, length: Tensor, hero: Tensor) -> Tensor:
        """(B, K, 2), px per frame, toward a point in the frame; some sprites have any speed and pass it.

        The hero does so only in short clips: in long ones it has to stay in the frame for its events.
        """
        config, draw, shape = self._config, self._draw, (self._clips, self.slots)
        aim = draw.uniform((*shape, 2), 0.1, 0.9) * (self.size - 1) - pose.centre
        distance = torch.linalg.vector_norm(aim, dim=-1).clamp_min(1e-3)
        # The square of a uniform draw makes slow motion common and keeps fast motion from being rare.
        speed = config.max_speed_px * draw.uniform(shape).square()
        is_hero = torch.arange(self.slots) == hero[:, None]
        free = draw.uniform(shape) < torch.where(is_hero, 0.25 if config.num_frames <= 16 else 0.0, 0.4)
        speed = torch.where(free, speed, torch.minimum(speed, distance / length))
        speed = speed.clamp_min(1.5 * config.least_speed_px)
        velocity: Tensor = aim * (speed / distance)[..., None]
        return velocity

    def background_waves(self) -> Tensor:
        """Phase rates (B, 1, 2) of a background that deforms, like water or cloth."""
        rate = self._draw.uniform((self._clips, 1, 2), 0.05, 0.4) * self._config.tempo
        return rate * self._draw.sign((self._clips, 1, 2))

    def camera(self, left: Tensor, log_zoom: Tensor) -> Camera:
        """Camera for a stretch of `left` (B,) frames, given its log zoom (B,) so far."""
        still = self._draw.chance((self._clips,), self._config.still_camera)
        moving = self.moving_camera(left, log_zoom)
        return moving.map(lambda rate: torch.where(still.view(-1, *[1] * (rate.dim() - 1)), 0.0, rate))

    def moving_camera(self, left: Tensor, log_zoom: Tensor) -> Camera:
        """Camera that moves visibly."""
        config, draw, shape = self._config, self._draw, (self._clips,)
        length, tempo = left.clamp_min(6).float(), config.tempo
        part = draw.uniform((self._clips, 3))
        spins, zooms = part[:, 1] < 0.2, part[:, 2] < 0.3
        pans = (part[:, 0] < 0.75) | ~(spins | zooms)
        angle = draw.uniform(shape, 0, 2 * math.pi)
        speed = draw.log_uniform(shape, 2 * config.least_speed_px, config.max_speed_px / 2)
        goal = self._far_goal(log_zoom, _ZOOM_RANGE)
        return Camera(
            pan=torch.stack((angle.cos(), angle.sin()), -1) * (speed * pans)[:, None],
            spin=draw.log_uniform(shape, 0.015, 0.08) * draw.sign(shape) * spins * tempo,
            log_zoom=((goal - log_zoom) / length).clamp(-0.08 * tempo, 0.08 * tempo) * zooms,
        )
