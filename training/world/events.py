"""Events at boundaries: one thing changes, by much more than steady motion changes from frame to frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world.casting import Camera, Casting, rotated
from training.world.config import WorldConfig
from training.world.draw import Draw
from training.world.layers import Look, Pose, Rates


@dataclass
class State:
    """A batch at one frame. hero (B,): slot of the main actor, or 0. zoomed (B,): log zoom since the scene began."""

    look: Look
    pose: Pose
    rates: Rates
    camera: Camera
    hero: Tensor
    zoomed: Tensor

    @property
    def is_hero(self) -> Tensor:
        """(B, K) bool; all False in a clip without sprites."""
        slots = torch.arange(self.look.alive.shape[1])
        return (slots == self.hero[:, None]) & (slots > 0)

    def of_hero(self, value: Tensor) -> Tensor:
        """The hero's part (B, ...) of a value (B, K, ...) of all slots."""
        return value[torch.arange(len(self.hero)), self.hero]


class Events:
    """Changes a state in the clips selected by a mask (B,); `left` (B, K) is the number of frames a change lasts."""

    def __init__(self, config: WorldConfig, casting: Casting, draw: Draw) -> None:
        self._config, self._casting, self._draw = config, casting, draw

    def turn(self, where: Tensor, state: State, left: Tensor) -> None:
        """The hero turns by 60 to 180 degrees, to where the stretch has room; rotation, zoom and shear reverse.

        It keeps its speed if it stays in the frame, and otherwise loses up to two thirds of it.
        """
        count = len(state.hero)
        turns = self._draw.uniform((1, 8, count), math.pi / 3, math.pi) * self._draw.sign((1, 8, count))
        paces = torch.tensor([1.0, 0.6, 0.35]).view(3, 1, 1)
        velocity = rotated(state.of_hero(state.rates.centre).expand(3, 8, -1, -1), turns) * paces[..., None]
        overshoot = self._overshoot(state, velocity, left)
        # Slowing down costs less than leaving the frame.
        cost = overshoot + (1 - paces) * 0.02 * self._config.side
        options = velocity.flatten(0, 1)
        best = options[cost.flatten(0, 1).argmin(0), torch.arange(count)]
        rates = state.rates.map(lambda rate: -rate)
        rates.phase, rates.centre = state.rates.phase, best[:, None].expand_as(state.rates.centre)
        state.rates = state.rates.replaced(where[:, None] & state.is_hero, rates)

    def change_pace(self, where: Tensor, state: State, left: Tensor) -> None:
        """The hero starts, stops, slows to a third or less, or becomes 2.5 to 4 times as fast, in all its motions."""
        draw, count = self._draw, (len(state.hero),)
        velocity = state.of_hero(state.rates.centre)
        speed = torch.linalg.vector_norm(velocity, dim=-1)
        faster = draw.uniform(count, 2.5, 4.0)
        ends_inside = self._overshoot(state, (velocity * faster[:, None])[None], left)[0] == 0
        fits = (speed * faster <= self._config.max_speed_px) & ends_inside
        slower = torch.where(draw.chance(count, 0.5), 0.0, draw.uniform(count, 0.0, 0.33))
        factor = torch.where(fits & draw.chance(count, 0.7), faster, slower)
        scaled = state.rates.map(lambda rate: rate * factor.view(-1, *[1] * (rate.dim() - 1)))
        started = self._casting.rates(state.pose, left, state.hero, must_move=True)
        stands = (speed < self._config.least_speed_px)[:, None].expand(left.shape)
        state.rates = state.rates.replaced(where[:, None] & state.is_hero, scaled.replaced(stands, started))

    def change_camera(self, where: Tensor, state: State, left: Tensor) -> None:
        """A still camera starts moving; a moving camera stops or changes its motion."""
        old, new = state.camera, self._casting.moving_camera(left, state.zoomed)
        before = torch.linalg.vector_norm(old.pan, dim=-1)
        moves = (before > 0) | (old.spin != 0) | (old.log_zoom != 0)
        stops = moves & self._draw.chance(tuple(moves.shape), 0.4)
        # A pan after a pan turns by at least 60 degrees; a rotation or zoom never continues unchanged.
        speed = torch.linalg.vector_norm(new.pan, dim=-1, keepdim=True)
        turn = self._draw.uniform((len(moves),), math.pi / 3, 5 * math.pi / 3)
        away = rotated(old.pan / before.clamp_min(1e-6)[:, None], turn)
        new.pan = torch.where((before > 0)[:, None], away * speed, new.pan)
        new.spin = torch.where(old.spin != 0, 0.0, new.spin)
        new.log_zoom = torch.where(old.log_zoom != 0, 0.0, new.log_zoom)
        new = new.map(lambda rate: rate.masked_fill(stops.view(-1, *[1] * (rate.dim() - 1)), 0.0))
        state.camera = state.camera.replaced(where, new)

    def change_actor(self, where: Tensor, state: State, left: Tensor, instance: int) -> None:
        """Another sprite appears, enters from the edge or vanishes; or another hero replaces the present one."""
        casting, draw, side = self._casting, self._draw, self._config.side
        look, pose, shape = casting.look(state.hero), casting.pose(), tuple(left.shape)
        in_frame = ((state.pose.centre > 0) & (state.pose.centre < 2 * casting.middle)).all(-1)
        others = ~state.is_hero & (torch.arange(shape[1]) > 0)
        # Only a sprite that is visible and large enough may vanish.
        fit = others & (~state.look.alive | (in_frame & (state.look.radius > 0.1 * side)))
        swap = ~fit.any(-1) | draw.chance(shape[:1], 0.3)
        chosen = torch.where(swap, state.hero, (draw.uniform(shape) * fit).argmax(-1))
        slot = where[:, None] & (torch.arange(shape[1]) == chosen[:, None]) & (torch.arange(shape[1]) > 0)
        vanishes = state.look.alive & ~state.is_hero
        look.alive = ~vanishes
        look.instance = torch.full_like(look.instance, instance)
        look.attached = torch.zeros_like(look.attached)
        look.radius = look.radius.clamp_min(0.12 * side)
        look.depth = torch.where(state.is_hero, state.look.depth, look.depth)
        rates = casting.rates(pose, left, state.hero)
        enters = ~state.is_hero & draw.chance(shape, 0.5)
        edge_pose, edge_rates = self._at_edge(look, pose, rates)
        pose, rates = pose.replaced(enters, edge_pose), rates.replaced(enters, edge_rates)
        state.look = state.look.replaced(slot, look)
        state.pose = state.pose.replaced(slot, pose)
        state.rates = state.rates.replaced(slot, rates)

    def _at_edge(self, look: Look, pose: Pose, rates: Rates) -> tuple[Pose, Rates]:
        """Poses at the edge of the frame, one step inside, with velocities inward."""
        draw, casting, shape = self._draw, self._casting, tuple(look.alive.shape)
        edge = draw.integers(shape, 0, 3)
        inward = torch.stack(((edge == 0).float() - (edge == 1).float(), (edge == 2).float() - (edge == 3).float()), -1)
        speed = draw.log_uniform(shape, 0.03, 0.12) * self._config.side * self._config.tempo
        along = casting.middle + draw.uniform((*shape, 2), -0.35, 0.35) * casting.size
        peek = (0.8 * look.radius * pose.log_zoom.exp() - speed)[..., None]
        centre = torch.where(inward != 0, casting.middle - inward * (casting.middle + peek), along)
        velocity = rotated(inward, draw.uniform(shape, -0.6, 0.6)) * speed[..., None]
        return (
            Pose(centre, pose.angle, pose.log_zoom, pose.shear, pose.phase),
            Rates(velocity, rates.angle, rates.log_zoom, rates.shear, rates.phase),
        )

    def _overshoot(self, state: State, velocity: Tensor, left: Tensor) -> Tensor:
        """How far, (..., B) px, the hero with velocity (..., B, 2) ends beyond the central nine tenths of the frame."""
        end = state.of_hero(state.pose.centre) + velocity * state.of_hero(left)[:, None]
        return ((end - self._casting.middle).abs() - 0.45 * self._casting.size).clamp_min(0.0).sum(-1)
