"""Configuration of a world: sizes, numbers of things, events and nuisances; and the names of events and motions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

IGNORE = -100
"""Motion class where there is nothing to classify; the default `ignore_index` of torch."""


class Boundary(IntEnum):
    """What changes at the first frame of a new stretch; NONE at all other frames."""

    NONE = 0
    DIRECTION = 1
    SPEED = 2
    ACTOR = 3
    CAMERA = 4
    CUT = 5
    FADE = 6


class Motion(IntEnum):
    """Motion of a layer on the screen between two neighbouring frames. Compass points as on a map: NORTH is up."""

    STILL = 0
    EAST = 1
    SOUTH_EAST = 2
    SOUTH = 3
    SOUTH_WEST = 4
    WEST = 5
    NORTH_WEST = 6
    NORTH = 7
    NORTH_EAST = 8
    CLOCKWISE = 9
    COUNTERCLOCKWISE = 10
    GROW = 11
    SHRINK = 12
    SHEAR = 13
    DEFORM = 14


@dataclass(frozen=True)
class WorldConfig:
    """A recipe for clips. Lengths are fractions of the frame's shorter side, so that a recipe works at every size.

    height, width: of a frame, in pixels.
    num_frames: T, frames per clip.
    sprites: minimum and maximum number of shapes in a scene, including the hero (the main actor); (0, 0) for a moving
        camera only.
    boundaries: minimum and maximum number of boundaries per clip, limited by `min_stretch_frames`.
    min_stretch_frames: minimum number of frames from one boundary (or an end of the clip) to the next.
    boundary_weights: relative frequency of each kind, in the order DIRECTION, SPEED, ACTOR, CAMERA, CUT, FADE.
    rate_hz: frames per second. Speeds in sides, radians or octaves per second do not depend on it.
    max_speed: maximum translation of a sprite, in sides per tenth of a second; the camera reaches half of it.
    still_camera, still_sprite: fraction of stretches in which the camera, or a sprite, does not move at all.
    deforming: fraction of sprites that deform (a third as many backgrounds do).
    nuisances: scales the probability of every nuisance (light, blur, noise, compression, shake); with 0, motion is the
        only change between frames.
    textures, texture_px, shapes: sizes of the banks that a world draws from.
    bank_lifetime_steps: number of batches after which new banks are drawn.
    """

    height: int = 224
    width: int = 224
    num_frames: int = 8
    sprites: tuple[int, int] = (1, 5)
    boundaries: tuple[int, int] = (0, 2)
    min_stretch_frames: int = 3
    boundary_weights: tuple[float, float, float, float, float, float] = (0.27, 0.18, 0.16, 0.16, 0.15, 0.08)
    rate_hz: float = 10.0
    max_speed: float = 0.3
    still_camera: float = 0.45
    still_sprite: float = 0.2
    deforming: float = 0.25
    nuisances: float = 1.0
    textures: int = 96
    texture_px: int = 256
    shapes: int = 128
    bank_lifetime_steps: int = 500

    def __post_init__(self) -> None:
        self._require("height and width", min(self.height, self.width) >= 16, "at least 16 px")
        self._require("num_frames", self.num_frames >= 2, "at least 2")
        some = 1 <= self.sprites[0] <= self.sprites[1]
        self._require("sprites", some or self.sprites == (0, 0), "a range from 1 upward, or (0, 0)")
        self._require("boundaries", 0 <= self.boundaries[0] <= self.boundaries[1], "a range from 0 upward")
        self._require("min_stretch_frames", self.min_stretch_frames >= 1, "at least 1")
        self._require("rate_hz", self.rate_hz > 0, "above 0")
        weights = self.boundary_weights
        self._require("boundary_weights", len(weights) == 6 and min(weights) >= 0 and sum(weights) > 0, "six weights")
        self._require("max_speed", 0 < self.max_speed <= 1, "in (0, 1] sides per tenth of a second")
        shares = (self.still_camera, self.still_sprite, self.deforming)
        self._require("still_camera, still_sprite, deforming", all(0 <= share <= 1 for share in shares), "in [0, 1]")
        self._require("nuisances", self.nuisances >= 0, "at least 0")
        self._require("textures and shapes", min(self.textures, self.shapes) >= 1, "at least 1")
        self._require("texture_px", self.texture_px >= 32, "at least 32")
        self._require("bank_lifetime_steps", self.bank_lifetime_steps >= 1, "at least 1")

    def _require(self, names: str, holds: bool, expected: str) -> None:
        if not holds:
            values = {name: getattr(self, name) for name in names.replace(" and ", ", ").split(", ")}
            raise ValueError(f"{names}: expected {expected}; got {values}")

    @property
    def side(self) -> int:
        """The frame's shorter side, in pixels."""
        return min(self.height, self.width)

    @property
    def tempo(self) -> float:
        """Tenths of a second per frame, to scale rates stated per tenth of a second."""
        return 10.0 / self.rate_hz

    @property
    def least_speed_px(self) -> float:
        """Speed in pixels per frame below which a sprite counts as still; every event changes more than this."""
        return 0.006 * self.side * self.tempo

    @property
    def max_speed_px(self) -> float:
        """Maximum translation of a sprite in pixels per frame."""
        return self.max_speed * self.side * self.tempo
