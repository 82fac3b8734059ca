"""What a world is asked for: sizes, numbers of things, events and nuisances; and the names of events and motions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["IGNORE", "Boundary", "Motion", "WorldConfig"]

IGNORE = -100
"""Motion class where there is nothing to classify; torch's own `ignore_index`."""


class Boundary(IntEnum):
    """What changes at the first frame of a new stretch; NONE everywhere else."""

    NONE = 0
    DIRECTION = 1
    SPEED = 2
    ACTOR = 3
    CAMERA = 4
    CUT = 5
    FADE = 6


class Motion(IntEnum):
    """What a layer does between two neighbouring frames, on the screen. Compass points as on a map: NORTH is up."""

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
    """A recipe of clips. Lengths are shares of the frame's shorter side, so that one recipe serves every size.

    height, width: of a frame, in pixels.
    num_frames: T, frames a clip.
    sprites: least and most shapes in a scene, the hero (the main actor) among them; (0, 0) for a camera alone.
    boundaries: least and most boundaries a clip; as many as `min_stretch_frames` leaves room for.
    min_stretch_frames: least frames from one boundary (or an end of the clip) to the next.
    boundary_weights: how often each kind is drawn, in the order DIRECTION, SPEED, ACTOR, CAMERA, CUT, FADE.
    rate_hz: frames a second. Everything moves at so many sides, radians or octaves a second, whatever the rate.
    max_speed: fastest translation of a sprite, in sides a tenth of a second; the camera reaches half of it.
    still_camera, still_sprite: share of stretches in which the camera, or a sprite, does not move at all.
    deforming: share of sprites that deform (a third as many backgrounds do).
    nuisances: scales the probability of every nuisance (light, blur, noise, compression, shake); 0 gives clean
        frames, whose only change is motion.
    textures, texture_px, shapes: size of the banks that a world draws from.
    bank_lifetime_steps: batches after which the banks are drawn anew.
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
        self._require("max_speed", 0 < self.max_speed <= 1, "in (0, 1] sides a frame")
        shares = (self.still_camera, self.still_sprite, self.deforming)
        self._require("still_camera, still_sprite, deforming", all(0 <= share <= 1 for share in shares), "in [0, 1]")
        self._require("nuisances", self.nuisances >= 0, "not negative")
        self._require("textures and shapes", min(self.textures, self.shapes) >= 1, "at least 1")
        self._require("texture_px", self.texture_px >= 32, "at least 32")
        self._require("bank_lifetime_steps", self.bank_lifetime_steps >= 1, "at least 1")

    def _require(self, names: str, holds: bool, expected: str) -> None:
        if not holds:
            values = {name: getattr(self, name) for name in names.replace(" and ", ", ").split(", ")}
            raise ValueError(f"{names}: expected {expected}, got {values}")

    @property
    def side(self) -> int:
        """The frame's shorter side, in pixels."""
        return min(self.height, self.width)

    @property
    def tempo(self) -> float:
        """Tenths of a second a frame: rates below are stated for one of those."""
        return 10.0 / self.rate_hz

    @property
    def least_speed_px(self) -> float:
        """Pixels a frame below which a sprite counts as standing; no event consists of less."""
        return 0.006 * self.side * self.tempo

    @property
    def max_speed_px(self) -> float:
        """Pixels a frame."""
        return self.max_speed * self.side * self.tempo
