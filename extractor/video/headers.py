"""How long a video is by its header: an estimate for planning, from a few small reads, without a decoding library.

Total: no bytes make it raise, and what it reads is bounded. What it says may be wrong; the decoder finds out.
"""

from __future__ import annotations

import math
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from extractor.video.containers.boxes import mp4_length
from extractor.video.containers.ebml import matroska_length
from extractor.video.containers.preflight import MAX_DURATION_SECONDS, MAX_FRAMES
from extractor.video.fingerprints import numbered_images

LIKELY_BYTES_A_SECOND = 250_000.0
"""Of a file that states no length."""

LIKELY_FPS = 25.0
"""Frames a second of a file that states no number of frames."""

_HEAD_BYTES = 64
_FLASH_BYTES = 400  # the length is among the first fields of the script data
_FLASH_DURATION = b"\x00\x08duration\x00"  # name of a field, and the mark of a float64
_FLASH_RATE = b"\x00\x09framerate\x00"


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds and frames of a file by its header; frames is 0 if the header does not say."""

    seconds: float
    frames: int = 0


def header_length(path: str, fps: float | None = None) -> Length | None:
    """The length of a video file, or of a folder of images that are shown at `fps`. None if it cannot be told."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            count = len(numbered_images(path)) if fps else 0
            return _plausible(count / fps, count) if fps else None
        if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
            return None
        with Path(path).open("rb", buffering=0) as file:  # a buffer would read kilobytes for each number
            return _file_length(file, file.seek(0, 2))
    except (OSError, ValueError, OverflowError):
        return None


def _file_length(file: BinaryIO, size: int) -> Length | None:
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    kinds: tuple[tuple[bool, Callable[[], tuple[float, int]]], ...] = (
        (head.startswith(b"\x1a\x45\xdf\xa3"), lambda: matroska_length(file, size)),
        (head.startswith(b"RIFF") and head[8:12] == b"AVI ", lambda: _avi_length(head, size)),
        (head.startswith(b"FLV"), lambda: _flash_length(file)),
        (head[4:8].isalpha(), lambda: mp4_length(file, size)),  # perhaps; other files have no index (moov)
    )
    for matches, read in kinds:
        if matches:
            return _plausible(*read())
    return None


def _plausible(seconds: float, frames: int) -> Length | None:
    """None for a length that no video has: the header is damaged, hostile or empty."""
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_DURATION_SECONDS):
        return None
    return Length(seconds, frames if 0 < frames <= MAX_FRAMES else 0)


def _avi_length(head: bytes, size: int) -> tuple[float, int]:
    """By the main header (avih), which counts the frames of the first RIFF chunk only: a large file has several."""
    if head[24:28] != b"avih":
        return 0.0, 0
    claimed = 8 + int.from_bytes(head[4:8], "little")
    frames = int.from_bytes(head[48:52], "little") * max(size, claimed) // claimed
    return frames * int.from_bytes(head[32:36], "little") / 1e6, frames


def _flash_length(file: BinaryIO) -> tuple[float, int]:
    """By the fields of the script data (onMetaData)."""
    file.seek(0)
    data = file.read(_FLASH_BYTES)
    seconds, rate = (_flash_number(data, name) for name in (_FLASH_DURATION, _FLASH_RATE))
    return seconds, int(seconds * rate) if 0 <= seconds * rate <= MAX_FRAMES else 0


def _flash_number(data: bytes, name: bytes) -> float:
    at = data.find(name)
    field = data[at + len(name) : at + len(name) + 8]
    return float(struct.unpack(">d", field)[0]) if at >= 0 and len(field) == 8 else 0.0
