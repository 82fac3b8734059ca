"""What the headers of coded pictures say that a demuxer does not report: resolution, hidden and leading pictures.

Everything here reads a few bytes of headers and decodes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PROFILES_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_HEVC_RASL, _HEVC_CRA, _HEVC_END_OF_SEQUENCE, _HEVC_END_OF_STREAM = (8, 9), 21, 36, 37
_LONGEST_PARAMETERS = 1024  # bytes of a parameter set that are read; sound ones have a tenth of that
AV1_SEQUENCE = 1  # kind of unit
_ANNEX_B = (b"\x00\x00\x01", b"\x00\x00\x00\x01")


def resolution_signature(codec: str, packet: bytes, extradata: bytes) -> bytes:
    """Bytes of a keyframe that determine the resolution, b"" if it has none; two different ones mean a change.

    A container's header has one resolution, and decord scales all frames to it.
    """
    length_size = nal_length_size(codec, extradata)
    match codec:
        case "h264":
            return b"".join(unit for unit in nal_units(packet, length_size) if unit[0] & 31 == 7)
        case "hevc":
            return b"".join(unit for unit in nal_units(packet, length_size) if unit[0] >> 1 & 63 == 33)
        case "vp8":
            return packet[6:10] if packet[3:6] == b"\x9d\x01\x2a" else b""
        case "vp9":
            return _vp9_size(packet)
        case "av1":
            return _av1_sequence(packet)
        case "mpeg4":
            return mpeg4_layer(packet)
    return b""


def extradata_signature(codec: str, extradata: bytes) -> bytes:
    """The same bytes as `resolution_signature` returns, from the container's header."""
    if codec == "mpeg4":
        return mpeg4_layer(extradata)
    if extradata.startswith(_ANNEX_B):
        return resolution_signature(codec, extradata, extradata)
    if codec == "h264" and len(extradata) > 8 and extradata[5] & 31 == 1:
        length = int.from_bytes(extradata[6:8], "big")
        return extradata[8 : 8 + length]
    return b""


def is_hidden(codec: str, packet: bytes) -> bool:
    """Whether a packet shows no frame: VP8 marks alternate references, which have packets of their own, with a flag."""
    return codec == "vp8" and len(packet) > 0 and not packet[0] >> 4 & 1


class LeadingPictures:
    """Which pictures of an HEVC stream a decoder leaves out by rule (H.265, 8.1.3), from its packets in order.

    RASL pictures refer to pictures before their keyframe. There are none before the first keyframe of the stream,
    before one behind an end of sequence, and before one that declares the link broken.
    """

    def __init__(self, extradata: bytes) -> None:
        self._length_size = nal_length_size("hevc", extradata)
        self._sequence_ended = True
        self._skipping = False
        self._keyframes = 0
        self.restarted = False
        """Whether the last packet is a keyframe behind an end of sequence: pictures not yet shown are dropped."""

    def skips(self, packet: bytes) -> bool:
        """Whether the picture of this packet, the next in order, is left out."""
        picture = None
        self.restarted = False
        for unit in nal_units(packet, self._length_size):
            kind = unit[0] >> 1 & 63
            if kind in (_HEVC_END_OF_SEQUENCE, _HEVC_END_OF_STREAM):
                self._sequence_ended = True
            elif kind < 32 and picture is None:
                picture = kind
                if 16 <= kind <= 23:  # a keyframe; 22 and 23 are reserved
                    self._skipping = kind != _HEVC_CRA or self._sequence_ended
                    self.restarted = self._skipping and self._keyframes > 0
                    self._sequence_ended = False
                    self._keyframes += 1
        return picture in _HEVC_RASL and self._skipping


def opens_group(keyframe: bytes, extradata: bytes) -> bool:
    """Whether an H.264 keyframe is not an IDR picture, so that pictures behind it may refer to some before it."""
    kinds = {unit[0] & 31 for unit in nal_units(keyframe, nal_length_size("h264", extradata))}
    return 5 not in kinds


def may_interlace(codec: str, signature: bytes) -> bool:
    """Whether an H.264 sequence parameter set, as `resolution_signature` returns it, allows interlaced frames at all.

    True if it cannot be read. A container's header describes the first frames only.
    """
    if codec != "h264" or not signature:
        return False
    bits = to_frame_numbers(signature)
    if bits is None:
        return True
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        for _ in range(2):
            bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb()
    bits.read(1)
    bits.golomb()
    bits.golomb()
    return not bits.read(1)  # frame_mbs_only_flag (H.264, 7.3.2.1.1)


def to_frame_numbers(parameters: bytes) -> Bits | None:
    """The bits of an H.264 sequence parameter set from log2_max_frame_num_minus4 on; None if it is a rare kind."""
    bits = Bits(parameters[1:_LONGEST_PARAMETERS].replace(b"\0\0\3", b"\0\0"))
    profile = bits.read(8)
    bits.read(16)
    bits.golomb()
    if profile in _PROFILES_WITH_CHROMA:
        if bits.golomb() == 3:
            bits.read(1)
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):  # scaling lists are rare: not worth parsing
            return None
    return bits


class Bits:
    """Reads numbers bit by bit; returns zeros beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def golomb(self) -> int:
        """Unsigned Exp-Golomb number; a signed one takes the same bits."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                return 0
        return (1 << zeros) - 1 + self.read(zeros)


def nal_length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the length before each NAL unit, 0 if start codes separate them."""
    if not extradata or extradata.startswith(_ANNEX_B):
        return 0
    at = 4 if codec == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at else 4


def nal_units(packet: bytes, length_size: int) -> list[bytes]:
    """Non-empty NAL units of a packet. length_size: bytes of the length before each, 0 for start codes."""
    if not length_size:
        return [unit for unit in packet.split(b"\x00\x00\x01") if unit.strip(b"\x00")]
    return length_prefixed_units(packet, length_size)


def length_prefixed_units(data: bytes, length_size: int) -> list[bytes]:
    """Non-empty NAL units, each behind its length of `length_size` bytes."""
    units, at = [], 0
    while at + length_size < len(data):
        length = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if length:
            units.append(data[at : at + length])
        at += length
    return units


def _vp9_size(packet: bytes) -> bytes:
    """Width and height in a VP9 keyframe's uncompressed header (VP9 specification, 6.2), b"" for other frames."""
    bits = Bits(packet[:16])
    bits.read(2)
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    if bits.read(1) or bits.read(1):  # repeats a frame, or is no keyframe
        return b""
    bits.read(2)
    if bits.read(24) != 0x498342:
        return b""
    if profile >= 2:
        bits.read(1)
    if bits.read(3) != 7:
        bits.read(1 if profile in (0, 2) else 4)
    elif profile in (1, 3):
        bits.read(1)
    return struct.pack(">HH", bits.read(16), bits.read(16))


def av1_units(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of the units of an AV1 packet (AV1 specification, 5.3), up to one that does not say its size."""
    at = 0
    while at < len(packet):
        header = packet[at]
        at += 2 if header >> 2 & 1 else 1
        if not header >> 1 & 1:
            return
        length = shift = 0
        while at < len(packet) and shift < 56:  # eight bytes at most (AV1 specification, 4.10.5)
            byte = packet[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        yield header >> 3 & 15, packet[at : at + length]
        at += length


def _av1_sequence(packet: bytes) -> bytes:
    """Sequence header of an AV1 packet, b"" if it has none."""
    return next((content for kind, content in av1_units(packet) if kind == AV1_SEQUENCE), b"")


def mpeg4_layer(packet: bytes) -> bytes:
    """Video object layer of MPEG-4 part 2 (start codes 0x20 to 0x2f), which contains width and height."""
    for unit in packet.split(b"\x00\x00\x01")[1:]:
        if unit and 0x20 <= unit[0] <= 0x2F:
            return unit
    return b""
