"""The script of a batch of clips: poses of all layers at every frame, boundaries, and the labels of both.

A stretch is steady: all rates, of layers and camera, are constant within it. At a boundary one thing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.world.casting import Casting, rotated
from training.world.config import IGNORE, Boundary, WorldConfig
from training.world.draw import Draw
from training.world.events import Events, State
from training.world.layers import Look, Pose, Rates
from training.world.motion import classify, invert, linear_map
from training.world.timing import Fades, plan_boundaries, plan_fades, remaining_frames


@dataclass
class Script:
    """Everything about a batch of clips except pixels; on the CPU.

    kinds (B, T) int64: `Boundary` at the first frame of each new stretch. look, pose: (B, T, K, ...). linear
    (B, T, K, 2, 2). hero (B, T) int64: slot of the main actor. fades: as planned. actor_motion, camera_motion
    (B, T - 1) int64: `Motion` of hero and background on the screen, IGNORE where undefined.
    """

    kinds: Tensor
    look: Look
    pose: Pose
    linear: Tensor
    hero: Tensor
    fades: Fades
    actor_motion: Tensor
    camera_motion: Tensor


def write_script(config: WorldConfig, clips: int, draw: Draw) -> Script:
    """Simulate `clips` clips from the first frame to the last."""
    kinds = plan_boundaries(config, clips, draw)
    simulation = _Simulation(config, kinds, draw)
    looks: list[Look] = []
    poses: list[Pose] = []
    heroes: list[Tensor] = []
    for frame in range(config.num_frames):
        if frame > 0:
            simulation.advance()
            simulation.apply_boundaries(frame)
        looks.append(simulation.state.look)
        poses.append(simulation.state.pose)
        heroes.append(simulation.state.hero)
    look, pose, hero = Look.stack(looks, 1), Pose.stack(poses, 1), torch.stack(heroes, 1)
    linear = linear_map(pose.angle, pose.log_zoom, pose.shear)
    fades = plan_fades(kinds, config.min_stretch_frames - 1, draw)
    actor, camera = _name_motions(config, look, pose, linear, hero, fades)
    return Script(kinds, look, pose, linear, hero, fades, actor, camera)


class _Simulation:
    """The state of a batch, advanced frame by frame; corrects `kinds` (B, T) where another kind has to happen."""

    def __init__(self, config: WorldConfig, kinds: Tensor, draw: Draw) -> None:
        self._config, self._kinds, self._draw = config, kinds, draw
        clips = len(kinds)
        self._casting = Casting(config, clips, draw)
        self._events = Events(config, self._casting, draw)
        if config.sprites[1] == 0:  # without actors, only the camera can change
            kinds[(kinds > Boundary.NONE) & (kinds < Boundary.CAMERA)] = Boundary.CAMERA
        scene = (Boundary.CUT, Boundary.FADE)
        self._left_scene = remaining_frames(kinds, scene)
        self._left_camera = remaining_frames(kinds, (*scene, Boundary.CAMERA))
        self._left_hero = remaining_frames(kinds, (*scene, Boundary.DIRECTION, Boundary.SPEED))
        self._instances = 0
        self._shaky = draw.log_uniform((clips, 1), 0.0005, 0.008) * config.side
        self._shaky = self._shaky * draw.chance((clips, 1), min(1.0, 0.2 * config.nuisances))
        self._shake = torch.zeros(clips, 2)
        self.state = self._scene(0)

    def _scene(self, frame: int) -> State:
        """Draw new scenes for all clips, starting at a frame."""
        casting = self._casting
        hero = casting.hero()
        look, pose = casting.look(hero), casting.pose()
        pose.centre = casting.gather_attached(look, pose, hero)
        look.instance = self._new_instance(look.instance)
        camera = casting.camera(self._left_camera[:, frame], torch.zeros(len(hero)))
        state = State(look, pose, Rates(**vars(pose)), camera, hero, torch.zeros(len(hero)))
        state.rates = casting.rates(pose, self._left(state, frame), hero)
        state.rates.phase[:, :1] = casting.background_waves()
        # Half of the cameras follow the hero. In long clips all do, or the hero would soon leave the frame.
        follow = self._draw.chance((len(hero), 1), 1.0 if self._config.num_frames > 16 else 0.5)
        look.depth = torch.where(follow & state.is_hero, 0.0, look.depth)
        return state

    def _left(self, state: State, frame: int) -> Tensor:
        """Frames (B, K) of steady motion left: for the hero until its next event, for others until the scene ends."""
        return torch.where(state.is_hero, self._left_hero[:, frame, None], self._left_scene[:, frame, None])

    def advance(self) -> None:
        """Advance one frame at the current rates."""
        state, middle = self.state, self._casting.middle
        pose, rates, camera, look = state.pose, state.rates, state.camera, state.look
        self._shake = 0.5 * self._shake + self._draw.normal(tuple(self._shake.shape)) * self._shaky
        own = torch.where(look.attached[..., None], state.of_hero(rates.centre)[:, None], rates.centre)
        depth = torch.where(look.attached, state.of_hero(look.depth)[:, None], look.depth)
        # The camera rotates and zooms around the middle of the current frame, which keeps its effect steady.
        spin, zoom = camera.spin[:, None], camera.log_zoom[:, None]
        arm = rotated(pose.centre - middle, spin) * zoom.exp()[..., None]
        state.pose = Pose(
            centre=middle + arm + depth[..., None] * (camera.pan + self._shake)[:, None] + own,
            angle=pose.angle + rates.angle + spin,
            log_zoom=pose.log_zoom + rates.log_zoom + zoom,
            shear=pose.shear + rates.shear,
            phase=pose.phase + rates.phase,
        )
        state.zoomed = state.zoomed + camera.log_zoom
        self._return_leavers()

    def apply_boundaries(self, frame: int) -> None:
        """Apply the boundaries of a frame."""
        kinds = self._kinds[:, frame]
        if not bool((kinds != Boundary.NONE).any()):
            return
        state = self.state
        stands = torch.linalg.vector_norm(state.of_hero(state.rates.centre), dim=-1) < self._config.least_speed_px
        kinds[(kinds == Boundary.DIRECTION) & stands] = Boundary.SPEED  # a hero at rest cannot turn: it starts moving
        scene = (kinds == Boundary.CUT) | (kinds == Boundary.FADE)
        if bool(scene.any()):
            self._enter(self._scene(frame), scene)
        left = self._left(state, frame)
        where = {kind: kinds == kind for kind in Boundary}
        if bool(where[Boundary.DIRECTION].any()):
            self._events.turn(where[Boundary.DIRECTION], state, left)
        if bool(where[Boundary.SPEED].any()):
            self._events.change_pace(where[Boundary.SPEED], state, left)
        if bool(where[Boundary.ACTOR].any()):
            self._instances += 1
            self._events.change_actor(where[Boundary.ACTOR], state, left, self._instances)
        if bool(where[Boundary.CAMERA].any()):
            self._events.change_camera(where[Boundary.CAMERA], state, self._left_camera[:, frame])

    def _enter(self, new: State, where: Tensor) -> None:
        """Replace the scenes of the clips selected by `where` (B,)."""
        state = self.state
        layers = where[:, None].expand_as(state.look.alive)
        state.look, state.pose = state.look.replaced(layers, new.look), state.pose.replaced(layers, new.pose)
        state.rates, state.camera = state.rates.replaced(layers, new.rates), state.camera.replaced(where, new.camera)
        state.hero, state.zoomed = torch.where(where, new.hero, state.hero), state.zoomed.masked_fill(where, 0.0)

    def _return_leavers(self) -> None:
        """Move sprites that have left the frame to its other side, as new instances with the same look."""
        look, pose, end = self.state.look, self.state.pose, self._casting.size - 1
        reach = look.reach_px(pose)[..., None] + 2.0
        gone = ((pose.centre < -reach) | (pose.centre > end + reach)).any(-1)
        gone[:, 0] = False
        if bool(gone.any()):
            back = (pose.centre + reach).remainder(end + 2 * reach) - reach
            pose.centre = torch.where(gone[..., None], back, pose.centre)
            instance = torch.where(gone, self._new_instance(look.instance), look.instance)
            self.state.look = replace(look, instance=instance)

    def _new_instance(self, like: Tensor) -> Tensor:
        self._instances += 1
        return torch.full_like(like, self._instances)


def _name_motions(
    config: WorldConfig, look: Look, pose: Pose, linear: Tensor, hero: Tensor, fades: Fades
) -> tuple[Tensor, Tensor]:
    """Motion classes, (B, T - 1) each, of hero and background."""
    middle = torch.tensor([config.width - 1, config.height - 1]) / 2
    change = linear[:, 1:] @ invert(linear[:, :-1])
    now, then = pose.centre[:, :-1], pose.centre[:, 1:]
    # The background has no middle on the screen; its motion is taken at the middle of the frame.
    at_middle = (change @ (middle - now)[..., None])[..., 0] + then - middle
    background = (torch.arange(linear.shape[2]) == 0)[:, None]
    shift = torch.where(background, at_middle, then - now)
    reach = 0.6 * look.radius[:, :-1] * (pose.log_zoom[:, :-1] * (~background[:, 0])).exp()
    wave = (pose.phase[:, 1:] - pose.phase[:, :-1]).abs().amax(-1)
    bend = 0.6 * look.amplitude[:, :-1] * wave * pose.log_zoom[:, :-1].exp()
    names = classify(shift, change, bend, reach, still_px=0.004 * config.side)
    same = (look.instance[:, 1:] == look.instance[:, :-1]) & (fades.seen[:, 1:] & fades.seen[:, :-1])[..., None]
    inside = ((now >= 0) & (now <= 2 * middle)).all(-1) | background[:, 0]
    names = torch.where(same & inside & look.alive[:, :-1], names, IGNORE)
    actor = names.gather(2, hero[:, :-1, None])[..., 0]
    return torch.where(hero[:, :-1] > 0, actor, IGNORE), names[:, :, 0]
