"""The classes, and what moves how in a video of each: pure functions of random draws.

A trajectory is drawn for time around the middle of the video, so that a class and its reverse (grow and shrink, the two
rotations, the directions) consist of the same frames in the opposite order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from training.world.draw import Draw

FRAMES, FPS = 25, 25
HEIGHT_PX, WIDTH_PX = 120, 160
SAMPLED = 8
"""Frames that a network sees of a video."""

STEP_FRAMES = FRAMES / SAMPLED
CELL_PX = 8 * 0.875 * HEIGHT_PX / 112
"""A cell of 8 px of the centre crop, resized to 112 px, in pixels of the file: 7.5."""

_WEST, _EAST, _NORTH, _SOUTH = (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)
_SLOW, _FAST, _ANY = (0.5, 1.5), (2.25, 7.5), (0.5, 7.5)  # cells a sampled frame; a gap keeps the classes apart


@dataclass(frozen=True, slots=True)
class _Shift:
    direction: tuple[float, float]
    speed: tuple[float, float]
    turns: bool = False


@dataclass(frozen=True, slots=True)
class _Spin:
    sign: int


@dataclass(frozen=True, slots=True)
class _Zoom:
    sign: int


_MOTIONS: Mapping[str, _Shift | _Spin | _Zoom] = MappingProxyType(
    {
        "clockwise": _Spin(1),
        "counterclockwise": _Spin(-1),
        "down": _Shift(_SOUTH, _ANY),
        "grow": _Zoom(1),
        "left_fast": _Shift(_WEST, _FAST),
        "left_slow": _Shift(_WEST, _SLOW),
        "left_then_right": _Shift(_WEST, _ANY, turns=True),
        "right_fast": _Shift(_EAST, _FAST),
        "right_slow": _Shift(_EAST, _SLOW),
        "right_then_left": _Shift(_EAST, _ANY, turns=True),
        "shrink": _Zoom(-1),
        "up": _Shift(_NORTH, _ANY),
    }
)

CLASSES = tuple(_MOTIONS)
"""Names of the classes, sorted, as a reader of folders numbers them."""

SHIFTS = tuple(name for name, motion in _MOTIONS.items() if isinstance(motion, _Shift))
"""Classes of which every point has the same speed."""

OPPOSITES = MappingProxyType(
    {
        "clockwise": "counterclockwise",
        "down": "up",
        "grow": "shrink",
        "left_fast": "right_fast",
        "left_slow": "right_slow",
        "left_then_right": "right_then_left",
    }
)
"""Pairs of classes that consist of the same frames in the opposite order, or one direction mirrored."""

SPIN_RADIANS = (0.1, 0.8)
"""Rotation a sampled frame; well below half a turn, so that the direction is certain."""

ZOOM_LOGS = (0.06, 0.15)
"""Change of the log zoom a sampled frame."""

_SLANT_RADIANS = 0.17  # a direction is kept to within ten degrees
_TURN_FRAMES = 2.0  # a turn happens this close to the middle of the video
_BASE_ZOOM = 0.1


@dataclass(frozen=True, slots=True)
class Trajectory:
    """offset_px (T, 2), x right then y down; angle (T,), radians, clockwise; log_zoom (T,). All float32.

    reach_speed: cells a sampled frame, of a shift; for a rotation or a zoom, radians or logs, to be multiplied by the
    distance in cells from the centre.
    """

    offset_px: Tensor
    angle: Tensor
    log_zoom: Tensor
    reach_speed: float
    shifts: bool

    def speed_cells(self, reach_px: float) -> float:
        """Cells a sampled frame, `reach_px` from the centre of what rotates or zooms."""
        return self.reach_speed if self.shifts else self.reach_speed * reach_px / CELL_PX


def draw_trajectory(name: str, draw: Draw) -> Trajectory:
    """A random trajectory of class `name`.

    What a class does not change is constant, but distributed as in the classes that change it: the zoom is that of some
    moment of a zooming video. A single frame therefore does not tell one class from another.
    """
    motion = _MOTIONS[name]
    time = torch.arange(FRAMES) - (FRAMES - 1) / 2
    rate = _number(draw.log_uniform((1,), *ZOOM_LOGS))
    zoom = _number(draw.uniform((1,), -_BASE_ZOOM, _BASE_ZOOM)) + rate / STEP_FRAMES * time
    moment = int(draw.integers((1,), 0, FRAMES - 1))
    spin = _number(draw.log_uniform((1,), *SPIN_RADIANS))
    still, frozen = torch.zeros(FRAMES), zoom[moment].expand(FRAMES)
    offset = torch.zeros(FRAMES, 2)
    match motion:
        case _Shift():
            speed = _number(draw.log_uniform((1,), *motion.speed))
            return Trajectory(_shift(motion, speed, time, draw), still, frozen, speed, True)
        case _Spin():
            return Trajectory(offset, motion.sign * spin / STEP_FRAMES * time, frozen, spin, False)
        case _Zoom():
            return Trajectory(offset, still, zoom if motion.sign > 0 else zoom.flip(0), rate, False)


def _shift(motion: _Shift, speed_cells: float, time: Tensor, draw: Draw) -> Tensor:
    """(T, 2) px from the place at the middle of the video, or at the turn."""
    slant = _number(draw.uniform((1,), -_SLANT_RADIANS, _SLANT_RADIANS))
    turn = _number(draw.uniform((1,), -_TURN_FRAMES, _TURN_FRAMES))
    x, y = motion.direction
    cosine, sine = math.cos(slant), math.sin(slant)
    direction = torch.tensor([x * cosine - y * sine, x * sine + y * cosine])
    way = -(time - turn).abs() if motion.turns else time
    return direction * (way * speed_cells * CELL_PX / STEP_FRAMES)[:, None]


def _number(value: Tensor) -> float:
    return float(value[0])
