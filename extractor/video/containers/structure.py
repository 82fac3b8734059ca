"""Where a file ends by its own header: whether its end is missing, or another file follows in it.

Everything here reads a few bytes of headers and decodes nothing.
"""

from __future__ import annotations

from pathlib import Path

_EBML_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FLASH = b"FLV"
_MAX_TAGS = 20_000_000


def claimed_bytes(path: Path | str) -> int | None:
    """Size in bytes that an AVI or Matroska file claims for itself; None for other files or an open-ended one.

    If the file has fewer, its end is missing. FFmpeg demuxes such files silently, as if they ended there.
    """
    with Path(path).open("rb") as file:
        head = file.read(64)
        if head[:4] == b"RIFF":
            length = int.from_bytes(head[4:8], "little")
            return None if length in (0, 0xFFFFFFFF) else 8 + length  # 0 or all ones: a recorder was interrupted
        if head[:4] == _EBML_HEADER:
            return _matroska_end(head)
    return None


def end_of_flash(path: Path | str) -> int | None:
    """Offset at which another FLV file is joined to an FLV file, None if none is. FFmpeg stops reading there."""
    with Path(path).open("rb") as file:
        head = file.read(9)
        if head[:3] != _FLASH:
            return None
        position = int.from_bytes(head[5:9], "big") + 4
        for _ in range(_MAX_TAGS):
            file.seek(position)
            tag = file.read(11)
            if tag[:3] == _FLASH:
                return position
            if len(tag) < 11 or tag[0] & 0x1F not in (8, 9, 18):  # audio, video, script data; all else is no tag
                break
            position += 11 + int.from_bytes(tag[1:4], "big") + 4
    return None


def _matroska_end(head: bytes) -> int | None:
    """End of the segment that follows the EBML header, None if its size is open (a live recording)."""
    header_length, at = _vint(head, 4)
    if header_length is None or at + header_length + 12 > len(head):
        return None
    at += header_length
    if head[at : at + 4] != _SEGMENT:
        return None
    length, at = _vint(head, at + 4)
    return None if length is None else at + length


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """EBML's variable-length integer at `at`, and where it ends; None for an unknown one and beyond the end."""
    if at >= len(data):
        return None, at
    width = 9 - data[at].bit_length()
    if width > 8:
        return None, at + 1
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
