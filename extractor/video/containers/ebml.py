"""What the elements of a Matroska or WebM file say: its length, and whether it is encrypted, which FFmpeg reports only
in a tag that anyone can write.

Total: no bytes make it raise, and it reads a bounded number of headers. Elements have their names from RFC 9559.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT, _TRACKS, _TRACK_ENTRY, _TRACK_TYPE = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x83
_ENCODINGS, _ENCODING, _ENCRYPTION = 0x6D80, 0x6240, 0x5035
_INFO, _TIMESTAMP_SCALE, _DURATION, _FRAME_DURATION, _CLUSTER = 0x1549A966, 0x2AD7B1, 0x4489, 0x23E383, 0x1F43B675
_DEFAULT_SCALE = 1_000_000  # nanoseconds a tick
_VIDEO = 1  # a track type
_MAX_ELEMENTS = 200  # per level
_LONGEST_SECONDS = 1e9

_Range = tuple[int, int]


def has_encrypted_video(path: Path | str) -> bool:
    """Whether a video track of a Matroska file is encrypted. Raises OSError if the file cannot be read."""
    with Path(path).open("rb") as file:
        whole = (0, file.seek(0, 2))
        if next(_elements(file, whole), (0, whole))[0] != _EBML:
            return False
        segment = next(_children(file, whole, _SEGMENT), None)
        tracks = next(_children(file, segment, _TRACKS), None) if segment else None
        return any(_is_encrypted_video(file, track) for track in _children(file, tracks or (0, 0), _TRACK_ENTRY))


def matroska_length(file: BinaryIO, size: int) -> tuple[float, int]:
    """(seconds, frames of the first video track) by the headers of a Matroska file; 0 for what they do not state.

    For estimates: it reads some 30 headers of 12 bytes, up to the first cluster.
    """
    seconds, frame_ns = 0.0, 0
    segment = next(_children(file, (0, size), _SEGMENT), (0, 0))
    for kind, content in _elements(file, segment):
        if kind == _INFO:
            scale = next((_number(file, found) for found in _children(file, content, _TIMESTAMP_SCALE)), 0)
            ticks = next((_float(file, found) for found in _children(file, content, _DURATION)), 0.0)
            seconds = ticks * (scale or _DEFAULT_SCALE) / 1e9
        elif kind == _TRACKS:
            frame_ns = next(_frame_durations(file, content), 0)
        if kind == _CLUSTER or (seconds and frame_ns):
            break
    return seconds, int(seconds * 1e9 / frame_ns) if frame_ns and seconds < _LONGEST_SECONDS else 0


def _frame_durations(file: BinaryIO, tracks: _Range) -> Iterator[int]:
    """Nanoseconds that a frame of each video track lasts, where its header says so."""
    for track in _children(file, tracks, _TRACK_ENTRY):
        found = dict.fromkeys((_TRACK_TYPE, _FRAME_DURATION), 0)
        for kind, content in _elements(file, track):
            if kind in found:
                found[kind] = _number(file, content)
        if found[_TRACK_TYPE] == _VIDEO and found[_FRAME_DURATION]:
            yield found[_FRAME_DURATION]


def _is_encrypted_video(file: BinaryIO, track: _Range) -> bool:
    if not any(_number(file, kind) == _VIDEO for kind in _children(file, track, _TRACK_TYPE)):
        return False
    encodings = next(_children(file, track, _ENCODINGS), (0, 0))
    found = (next(_children(file, encoding, _ENCRYPTION), None) for encoding in _children(file, encodings, _ENCODING))
    return any(encryption is not None for encryption in found)


def _children(file: BinaryIO, parent: _Range, kind: int) -> Iterator[_Range]:
    """Content of the elements of one kind in a range of the file."""
    return (content for found, content in _elements(file, parent) if found == kind)


def _elements(file: BinaryIO, parent: _Range) -> Iterator[tuple[int, _Range]]:
    """Kind and content of each element in a range, up to the first bytes that are no element; one of unknown size
    takes the rest."""
    at, stop = parent
    for _ in range(_MAX_ELEMENTS):
        if at >= stop:
            return
        file.seek(at)
        head = file.read(12)
        kind_width = 9 - head[0].bit_length() if head else 9
        if kind_width > 4 or len(head) <= kind_width:
            return
        size_width = 9 - head[kind_width].bit_length()
        start = at + kind_width + size_width
        if size_width > 8 or len(head) < kind_width + size_width:
            return
        unknown = (1 << 7 * size_width) - 1
        size = int.from_bytes(head[kind_width : kind_width + size_width], "big") & unknown
        at = stop if size == unknown else min(start + size, stop)
        yield int.from_bytes(head[:kind_width], "big"), (start, at)


def _number(file: BinaryIO, content: _Range) -> int:
    file.seek(content[0])
    return int.from_bytes(file.read(min(content[1] - content[0], 8)), "big") if content[1] > content[0] else 0


def _float(file: BinaryIO, content: _Range) -> float:
    """A float of 4 or 8 bytes; 0 for anything else."""
    width = content[1] - content[0]
    if width not in (4, 8):
        return 0.0
    file.seek(content[0])
    field = file.read(width)
    return float(struct.unpack(">f" if width == 4 else ">d", field)[0]) if len(field) == width else 0.0
