"""How to rotate and flip frames: from the display matrix, never from text that a tag can imitate.

PyAV exposes the matrix on decoded frames only. So one frame is decoded if there may be a matrix: if FFmpeg's
description of the file mentions one (a tag that imitates it costs the decoding of one frame and nothing else), if H.264
or HEVC carry an orientation in the stream, and for image codecs, which have EXIF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from extractor.video.bitstreams.headers import length_prefixed_units

IMAGE_CODECS = frozenset({"apng", "bmp", "gif", "jpeg2000", "jpegls", "jpegxl", "mjpeg", "png", "tiff", "webp"})
"""Codecs whose frames are images: they may carry EXIF, and cover pictures use them."""

EXIF_BYTES = 1024 * 1024
"""How much of the start and of the end of an image is searched for EXIF."""

_SEI_OF_H264, _SEI_OF_HEVC = 6, 39  # kinds of NAL units
_ORIENTATION_MESSAGE = 47  # display orientation, in both codecs
_EXIF_TAG = 0x0112
_TINY = 1e-4  # share of the largest entry of a matrix: rounding of sine and cosine


@dataclass(frozen=True, slots=True)
class Orientation:
    """How to display a frame: flip it left to right if `mirrored`, then rotate it by `rotation`.

    rotation: counter-clockwise degrees, 0, 90, 180 or 270. exact: False if the matrix states another angle, to which
    this is the nearest. known: False if the orientation, or a flip, could not be read.
    """

    rotation: int = 0
    mirrored: bool = False
    exact: bool = True
    known: bool = True


_OF_EXIF = {
    1: Orientation(),
    2: Orientation(0, True),
    3: Orientation(180),
    4: Orientation(180, True),
    5: Orientation(90, True),
    6: Orientation(270),
    7: Orientation(270, True),
    8: Orientation(90),
}


def read_orientation(
    container: av.container.InputContainer, stream: av.VideoStream, packet: av.Packet[Any], *, in_stream: bool
) -> Orientation:
    """Orientation of a stream. packet: its first keyframe. in_stream: one of its keyframes carries an orientation.

    Uses the stream's decoder and drains it.
    """
    codec = stream.codec_context.codec.canonical_name
    described = _may_have_matrix(container)
    in_stream = in_stream or carries_orientation(codec, bytes(packet), stream.codec_context.extradata or b"")
    if not (described or in_stream or codec in IMAGE_CODECS):
        return Orientation()
    context, data = stream.codec_context, bytes(packet)
    context.thread_count = 1
    with av.logging.Capture():  # damage of the frame is reported when the file is decoded
        try:
            # A copy without flags: a packet that an edit list discards would yield no frame.
            frames = [*context.decode(av.Packet(data)), *context.decode(None)]
        except av.FFmpegError:
            frames = []
    if not frames:
        return Orientation(known=False)
    return orientation_of(frames[0], data if codec in IMAGE_CODECS else b"", described)


def orientation_of(frame: av.VideoFrame, exif: bytes = b"", described: bool = False) -> Orientation:
    """Orientation of one decoded frame. exif: its packet, if that may contain EXIF. described: there may be a matrix,
    even if the frame's rotation is 0."""
    try:
        side_data: Any = frame.side_data
    except ValueError:  # PyAV 18 returns no side data at all if it does not know one of its kinds, such as EXIF
        stated = _OF_EXIF.get(exif_orientation(exif), Orientation())
        ignoring_flips = stated.rotation + 180 * stated.mirrored  # the angle that FFmpeg reports for a matrix
        if exif and (ignoring_flips - frame.rotation) % 360 == 0:
            return stated
        rounded = round(frame.rotation / 90) % 4 * 90
        return Orientation(rounded, known=not (frame.rotation or described or exif))
    entries = [side_data[number] for number in range(len(side_data))]  # from PyAV 19 on, iterating yields their types
    for entry in entries:
        # If container and stream both have one, the container's comes first, and FFmpeg's own tools use it.
        if entry.type.name == "DISPLAYMATRIX" and len(bytes(entry)) >= 36:
            return _of_matrix(np.frombuffer(bytes(entry)[:36], np.int32).tolist())
    return Orientation()


def exif_orientation(data: bytes) -> int:
    """The orientation (1 to 8) in the EXIF of a JPEG, PNG or WebP image; 1 if it has no readable one."""
    data = data[:EXIF_BYTES] + data[EXIF_BYTES:][-EXIF_BYTES:]  # WebP has it at the end
    for mark, skip in ((b"Exif\0\0", 6), (b"eXIf", 4), (b"EXIF", 8)):
        at = data.find(mark)
        if at >= 0:
            tiff = data[at + skip :]
            order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
            if order is not None:
                return _exif_entry(tiff, order)
    return 1


def _exif_entry(tiff: bytes, order: str) -> int:
    def number(at: int, width: int) -> int:
        return int.from_bytes(tiff[at : at + width], "little" if order == "little" else "big")

    start = number(4, 4)
    for entry in range(min(number(start, 2), 1000)):
        at = start + 2 + 12 * entry
        if number(at, 2) == _EXIF_TAG:
            value = number(at + 8, 2)
            return value if value in _OF_EXIF else 1
    return 1


def _of_matrix(matrix: Sequence[int]) -> Orientation:
    """Orientation of FFmpeg's display matrix, which maps a point (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    longest = max(abs(value) for value in (a, b, c, d))
    if not longest or a * d - b * c == 0:
        return Orientation(exact=not longest)
    degrees = math.degrees(math.atan2(-b / math.hypot(b, d), a / math.hypot(a, c)))
    rotation = round(degrees / 90) % 4 * 90
    small = (b, c) if rotation % 180 == 0 else (a, d)
    return Orientation(rotation, mirrored, all(abs(value) <= _TINY * longest for value in small))


def _may_have_matrix(container: av.container.InputContainer) -> bool:
    """False only if FFmpeg's description of the file certainly mentions no display matrix of any stream."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description: str = container.dumps_format()  # type: ignore[attr-defined]  # its stub lacks it
    finally:
        av.logging.set_level(level)
    return not description or any(word in description.lower() for word in ("matrix", "rotation"))


def carries_orientation(codec: str, packet: bytes, extradata: bytes) -> bool:
    """Whether a packet or the header of H.264 or HEVC contains an SEI message about the display orientation."""
    match codec:
        case "h264":
            length_size = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 4 else 0
            units = _units(packet, length_size) + _units(extradata, 0)
            return any(_holds_orientation(unit[1:]) for unit in units if unit[0] & 31 == _SEI_OF_H264)
        case "hevc":
            in_boxes = extradata[:1] == b"\1" and len(extradata) > 22
            units = _units(packet, (extradata[21] & 3) + 1 if in_boxes else 0)
            units += _units_of_header(extradata) if in_boxes else _units(extradata, 0)
            return any(_holds_orientation(unit[2:]) for unit in units if unit[0] >> 1 & 63 == _SEI_OF_HEVC)
    return False


def _units(data: bytes, length_size: int) -> list[bytes]:
    """Non-empty NAL units behind start codes (length_size 0) or behind lengths of `length_size` bytes."""
    if not length_size:
        return [unit for unit in data.split(b"\0\0\1")[1:] if unit]
    return length_prefixed_units(data, length_size)


def _units_of_header(extradata: bytes) -> list[bytes]:
    """Non-empty NAL units of HEVC's configuration record (ISO/IEC 14496-15, 8.3.3)."""
    units, at = [], 23
    while at + 3 < len(extradata):
        count = int.from_bytes(extradata[at + 1 : at + 3], "big")
        at += 3
        while count and at + 2 < len(extradata):
            length = int.from_bytes(extradata[at : at + 2], "big")
            units += [extradata[at + 2 : at + 2 + length]] if length else []
            at += 2 + length
            count -= 1
    return units


def _holds_orientation(content: bytes) -> bool:
    """Whether the messages of an SEI unit include one about the display orientation."""
    at = 0
    content = content.replace(b"\0\0\3", b"\0\0")
    while at + 1 < len(content) and content[at] != 0x80:
        numbers = []
        for _ in range(2):
            value = 0
            while at < len(content) and content[at] == 255:
                value, at = value + 255, at + 1
            value, at = value + (content[at] if at < len(content) else 0), at + 1
            numbers.append(value)
        if numbers[0] == _ORIENTATION_MESSAGE:
            return True
        at += numbers[1]
    return False
