"""How the stored pixels of a stream become the displayed picture: rotation, flip, and pixel aspect."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from extractor.video.containers.orientation import read_orientation
from extractor.video.containers.streams import exact

_WIDEST_PIXEL = 16  # times as wide as high, or the reverse; real ones lie between 1/2 and 4


@dataclass(frozen=True, slots=True)
class Geometry:
    """rotation, mirrored and pixel_aspect as in VideoInfo. flags: what was not applied, or what needs PyAV."""

    rotation: int
    mirrored: bool
    pixel_aspect: float
    flags: tuple[str, ...]


def read_geometry(
    container: av.container.InputContainer, stream: av.VideoStream, packet: av.Packet[Any], *, in_stream: bool = False
) -> Geometry:
    """Geometry of a stream. packet: its first keyframe. in_stream: a keyframe carries an orientation itself."""
    found = read_orientation(container, stream, packet, in_stream=in_stream)
    aspect = _pixel_aspect(exact(stream.sample_aspect_ratio), found.rotation)
    signs = {
        "mirrored": found.mirrored,
        "odd_rotation": not found.exact,
        "orientation_unread": not found.known,
        "pixel_aspect_ignored": aspect is None,
    }
    flags = tuple(name for name, present in signs.items() if present)
    return Geometry(found.rotation, found.mirrored, 1.0 if aspect is None else aspect, flags)


def _pixel_aspect(stated: Fraction, rotation: int) -> float | None:
    """Width over height of a pixel as displayed after rotation: 1.0 if the file states none, None if it is absurd.

    stated: that of the stored frame, by the container or else the codec (FFmpeg's order); 0 if neither states one.
    """
    if not stated:
        return 1.0
    if not Fraction(1, _WIDEST_PIXEL) <= stated <= _WIDEST_PIXEL:
        return None
    return float(stated if rotation % 180 == 0 else 1 / stated)
