"""How frames are to be turned and flipped: from the display matrix, never from text that a tag can imitate.

PyAV shows the matrix on decoded frames only. One frame is decoded where there may be one: where FFmpeg's description of
the file speaks of a matrix (a tag that imitates it costs the decoding of one frame and nothing else), where H.264 or
HEVC carry an orientation in the stream, and where the codec is one of images, which have EXIF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

__all__ = [
    "EXIF_BYTES",
    "IMAGE_CODECS",
    "Orientation",
    "carries_orientation",
    "exif_orientation",
    "orientation_of",
    "read_orientation",
]

IMAGE_CODECS = frozenset({"apng", "bmp", "gif", "jpeg2000", "jpegls", "jpegxl", "mjpeg", "png", "tiff", "webp"})
"""Codecs whose frames are images that may carry EXIF, and that covers are stored in."""

EXIF_BYTES = 1024 * 1024
"""At the start and at the end of an image, where its EXIF is looked for."""

_SEI_OF_H264, _SEI_OF_HEVC = 6, 39  # kinds of NAL units
_ORIENTATION_MESSAGE = 47  # display orientation, of both
_EXIF_TAG = 0x0112
_TINY = 1e-4  # a share of the larger entry of a matrix: rounding of sine and cosine


@dataclass(frozen=True, slots=True)
class Orientation:
    """What is to be done to a frame: flip it left to right where it is `mirrored`, then turn it by `rotation`.

    rotation: counter-clockwise degrees, 0, 90, 180 or 270. exact: False where the matrix says another angle, of which
    this is the nearest. known: False where a flip could not be read.
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
    """Orientation of a stream. packet: its first keyframe; in_stream: a later one may carry an orientation.

    The stream's decoder is used, and flushed.
    """
    codec = stream.codec_context.codec.canonical_name
    described = _may_have_matrix(container)
    in_stream = in_stream or carries_orientation(codec, bytes(packet), stream.codec_context.extradata or b"")
    if not (described or in_stream or codec in IMAGE_CODECS):
        return Orientation()
    context, data = stream.codec_context, bytes(packet)
    context.thread_count = 1
    with av.logging.Capture():  # what is wrong with the frame is for the decoding to tell
        try:
            # A packet without the flags of the file's: one that an edit list discards would give no frame.
            frames = [*context.decode(av.Packet(data)), *context.decode(None)]
        except av.FFmpegError:
            frames = []
    if not frames:
        return Orientation(known=False)
    return orientation_of(frames[0], data if codec in IMAGE_CODECS else b"", described)


def orientation_of(frame: av.VideoFrame, exif: bytes = b"", described: bool = False) -> Orientation:
    """Orientation of one decoded frame. exif: its packet, where that may hold EXIF. described: a matrix may be there,
    even where the frame's rotation is 0."""
    try:
        side_data: Any = frame.side_data
    except ValueError:  # PyAV 18 shows no side data at all where one is of a kind that it does not know, as EXIF is
        stated = _OF_EXIF.get(exif_orientation(exif), Orientation())
        if exif and (_ffmpeg_rotation(stated) - frame.rotation) % 360 == 0:
            return stated
        rounded = round(frame.rotation / 90) % 4 * 90
        return Orientation(rounded, known=not (frame.rotation or described or exif))
    entries = [side_data[number] for number in range(len(side_data))]  # from PyAV 19 on, iterating yields their types
    for entry in entries:  # where container and stream both have one, the container's comes first, and FFmpeg's
        if entry.type.name == "DISPLAYMATRIX" and len(bytes(entry)) >= 36:  # own tools take that, too
            return _of_matrix(np.frombuffer(bytes(entry)[:36], np.int32).tolist())
    return Orientation()


def exif_orientation(data: bytes) -> int:
    """The orientation (1 to 8) in the EXIF of a JPEG, PNG or WebP image, 1 where it has none that can be read."""
    data = data[:EXIF_BYTES] + data[EXIF_BYTES:][-EXIF_BYTES:]  # WebP has it at its end
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
    """Orientation of FFmpeg's display matrix: a point (x, y) is shown at (a x + c y, b x + d y)."""
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


def _ffmpeg_rotation(orientation: Orientation) -> int:
    """The angle that FFmpeg names for a matrix, which takes no notice of flips."""
    return orientation.rotation + 180 * orientation.mirrored


def _may_have_matrix(container: av.container.InputContainer) -> bool:
    """False where FFmpeg's description of the file surely has no display matrix of any stream."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description: str = container.dumps_format()  # type: ignore[attr-defined]  # its stub lacks it
    finally:
        av.logging.set_level(level)
    return not description or any(word in description.lower() for word in ("matrix", "rotation"))


def carries_orientation(codec: str, packet: bytes, extradata: bytes) -> bool:
    """Whether a packet or the header of H.264 or HEVC holds supplemental information about the orientation."""
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
    """NAL units behind start codes (length_size 0) or behind lengths; none is empty."""
    if not length_size:
        return [unit for unit in data.split(b"\0\0\1")[1:] if unit]
    units, at = [], 0
    while at + length_size < len(data):
        length = int.from_bytes(data[at : at + length_size], "big")
        units += [data[at + length_size : at + length_size + length]] if length else []
        at += length_size + length
    return units


def _units_of_header(extradata: bytes) -> list[bytes]:
    """NAL units of HEVC's configuration record (ISO/IEC 14496-15, 8.3.3), none of them empty."""
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
    """Whether the messages of an SEI unit include one about the orientation."""
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
