"""What the decoders share: the request, the frames they return, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extractor.video.containers.preflight import Inspection


class NativeFrame(NamedTuple):
    """A sampled frame: number in output order, (H, W, 3) uint8 RGB with rotation applied, valid False if damaged."""

    number: int
    pixels: npt.NDArray[np.uint8]
    valid: bool


NativeFrames = Iterator[NativeFrame]


@dataclass(slots=True)
class Tally:
    """What a decoder counts while it works. Damage is counted only where it is kept on request; else it raises.

    flags: what only the frames reveal, in addition to the flags of demuxing.
    """

    bad_frames: int = 0
    bad_packets: int = 0
    flags: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class DecodingRequest:
    """What a decoder has to return.

    index: (k,) frames to convert, ascending. to_end: decode and check the file to its end, beyond the last of them.
    keep_corrupt: continue where the file is damaged. covered: (m, 2) first frame and one past the last of each stretch
    that items cover, ascending and apart; no item needs what lies between. Empty if that is not known.
    """

    path: Path
    inspection: Inspection
    index: npt.NDArray[np.int64]
    to_end: bool
    keep_corrupt: bool = False
    tally: Tally = field(default_factory=Tally)
    covered: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))


class Misbehaved(Exception):  # noqa: N818 (a verdict on the decoder, not yet an error of the file)
    """Why decord cannot be trusted with this file: PyAV has to decode it from the start."""


def index_of(stamps: npt.NDArray[np.int64], stamp: int | None) -> int | None:
    """Number of the frame with this stamp; None where no frame of the file has it."""
    if stamp is None:
        return None
    index = int(stamps.searchsorted(stamp))
    return index if index < len(stamps) and stamps[index] == stamp else None


@cache  # reading the metadata of a distribution takes milliseconds
def distribution_version(*names: str, version: str | None = None) -> tuple[str, str]:
    """Name and version of the first of these distributions that is installed, in `version` if that is given.

    Several distributions provide `decord` and overwrite one another; the module's own version tells which one ran.
    """
    for name in names:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if version in (None, found):
            return name, found
    return names[0], version or "unknown"
