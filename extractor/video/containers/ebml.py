"""Whether a Matroska or WebM file is encrypted: FFmpeg reports it only in a tag, which anyone can write.

Total: no bytes make it raise, and it reads a bounded number of headers. Elements have their names from RFC 9559.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT, _TRACKS, _TRACK_ENTRY, _TRACK_TYPE = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x83
_ENCODINGS, _ENCODING, _ENCRYPTION = 0x6D80, 0x6240, 0x5035
_VIDEO = 1  # a track type
_MAX_ELEMENTS = 200  # per level

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
