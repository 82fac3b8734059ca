"""Where a sound video file states the length of its parts: boxes, elements, chunks, packets, tags, NAL units."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import av

__all__ = ["LengthField", "length_fields"]

_BOXES = frozenset(b"moov trak mdia minf stbl edts dinf udta mvex moof traf".split())
_SAMPLE_ENTRIES = frozenset(b"avc1 hvc1 hev1".split())
_MASTERS = frozenset(
    bytes.fromhex(name)
    for name in (
        "18538067", "1549A966", "1654AE6B", "AE", "E0", "1F43B675", "A0", "114D9B74", "4DBB", "1C53BB6B", "BB", "B7",
        "1254C367", "7373", "67C8",
    )
)  # fmt: skip
_TS_BYTES = 188


@dataclass(frozen=True, slots=True)
class LengthField:
    """`width` bytes at `offset`, whose bits in `mask` are a length (EBML and MPEG tables have others beside them)."""

    offset: int
    width: int
    mask: int
    order: Literal["big", "little"] = "big"

    def read(self, content: bytes) -> int:
        """The length that a file states here."""
        return int.from_bytes(content[self.offset : self.offset + self.width], self.order) & self.mask

    def written(self, content: bytes, length: int) -> bytes:
        """The file with another length here."""
        end = self.offset + self.width
        raw = int.from_bytes(content[self.offset : end], self.order) & ~self.mask | length & self.mask
        return content[: self.offset] + raw.to_bytes(self.width, self.order) + content[end:]


def length_fields(suffix: str, content: bytes) -> list[LengthField]:
    """All length fields of a sound file. suffix: .mp4, .mkv, .webm, .avi, .ts, .mpg, .vob or .flv."""
    finders: dict[str, Callable[[bytes], Iterator[LengthField]]] = {
        ".mp4": lambda data: _mp4(data, 0, len(data)),
        ".mkv": lambda data: _ebml(data, 0, len(data)),
        ".webm": lambda data: _ebml(data, 0, len(data)),
        ".avi": lambda data: _riff(data, 0, len(data)),
        ".ts": _transport_stream,
        ".mpg": _program_stream,
        ".vob": _program_stream,
        ".flv": _flash,
    }
    found = list(finders[suffix](content))
    if suffix in (".mp4", ".mkv", ".flv"):
        found += _nal_units(content)
    return found


def _whole(offset: int, width: int, order: Literal["big", "little"] = "big") -> LengthField:
    return LengthField(offset, width, (1 << 8 * width) - 1, order)


def _mp4(data: bytes, at: int, end: int) -> Iterator[LengthField]:
    while at + 8 <= end:
        yield _whole(at, 4)
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        inner = 8 if name in _BOXES else 16 if name == b"stsd" else 86 if name in _SAMPLE_ENTRIES else length
        yield from _mp4(data, at + inner, at + length)
        at += max(length, 8)


def _ebml(data: bytes, at: int, end: int) -> Iterator[LengthField]:
    while at < end:
        start, at = at, at + 9 - data[at].bit_length()
        name, width = data[start:at], 9 - data[at].bit_length()
        field = LengthField(at, width, (1 << 7 * width) - 1)
        yield field
        at += width
        length = min(field.read(data), end - at)  # an open end has a length larger than any file
        if name in _MASTERS:
            yield from _ebml(data, at, at + length)
        at += length


def _riff(data: bytes, at: int, end: int) -> Iterator[LengthField]:
    while at + 8 <= end:
        yield _whole(at + 4, 4, "little")
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in (b"RIFF", b"LIST"):
            yield from _riff(data, at + 12, at + 8 + length)
        at += 8 + length + length % 2


def _transport_stream(data: bytes) -> Iterator[LengthField]:
    for at in range(0, len(data), _TS_BYTES):
        begins, adaptation = data[at + 1] & 0x40, data[at + 3] & 0x20
        payload = at + 4
        if adaptation:
            yield _whole(payload, 1)
            payload += 1 + data[payload]
        if begins and data[payload : payload + 3] == b"\0\0\1":
            yield _whole(payload + 4, 2)  # of the PES packet
            yield _whole(payload + 8, 1)  # of its header
        elif begins:
            yield LengthField(payload + data[payload] + 2, 2, 0x0FFF)  # of a table's section


def _program_stream(data: bytes) -> Iterator[LengthField]:
    at = 0
    while data[at : at + 3] == b"\0\0\1" and data[at + 3] != 0xB9:
        if data[at + 3] == 0xBA:
            at += 14 + (data[at + 13] & 7) if data[at + 4] >> 6 == 1 else 12  # MPEG-2 or MPEG-1
            continue
        yield _whole(at + 4, 2)
        at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")


def _flash(data: bytes) -> Iterator[LengthField]:
    at = 13
    while at + 15 <= len(data):
        yield _whole(at + 1, 3)
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big")
        yield _whole(at, 4)  # the previous tag's size, behind it
        at += 4


def _nal_units(data: bytes) -> Iterator[LengthField]:
    """Lengths of the NAL units of H.264 and HEVC, as MP4, Matroska and FLV store them."""
    with av.open(io.BytesIO(data), "r") as container:
        if container.streams.video[0].codec_context.name not in ("h264", "hevc"):
            return
        for packet in container.demux(video=0):
            at = data.find(bytes(packet)) if packet.size else 0
            end = at + packet.size
            while at + 4 < end:
                yield _whole(at, 4)
                at += 4 + int.from_bytes(data[at : at + 4], "big")
