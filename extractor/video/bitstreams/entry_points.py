"""Keyframes at which decoding may begin: what is shown from there on depends on nothing before them.

A container's word is not enough: it may call any packet a keyframe. The picture itself must be of a kind from which its
standard lets decoding start, and the parameter sets must be those of the rest of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import av

from extractor.video.bitstreams.headers import (
    AV1_SEQUENCE,
    Bits,
    av1_units,
    mpeg4_layer,
    nal_length_size,
    nal_units,
)

_H264_SLICES, _H264_IDR, _H264_SEI, _H264_SETS = range(1, 6), 5, 6, frozenset({7, 8, 13, 15})
_RECOVERY_POINT = 6  # kind of supplemental information (H.264, D.1.8)
_HEVC_SLICES, _HEVC_CLOSED, _HEVC_CRA, _HEVC_SETS = range(32), range(16, 21), 21, frozenset({32, 33, 34})
_AV1_FRAMES = frozenset({3, 6})  # a frame's header, and a frame with its header
_APART = 8  # packets between two entry points: nothing is gained by more of them
_MOST_SETS = 64  # parameter sets away from keyframes
_MOST_MESSAGES = 32  # of supplemental information in one unit


class EntryPoint(NamedTuple):
    """A keyframe's packet, by its stamps and its size in bytes.

    opens: pictures behind it may be shown before it and then refer to some before it (an open group of pictures).
    """

    stamp: int
    decoding_stamp: int | None
    size: int
    opens: bool


class EntryPoints:
    """Collects the entry points of a stream from its packets, which it takes in file order."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._codec = codec
        self._length_size = nal_length_size(codec, extradata)
        slices = _H264_SLICES if codec == "h264" else _HEVC_SLICES
        self._slice_headers = frozenset(header for header in range(256) if self._kind(header) in slices)
        self._points: list[EntryPoint] = []
        self._sets: frozenset[bytes] | None = None  # digests of those at entry points
        self._other_sets: set[bytes] = set()
        self._sets_change = False
        self._since = _APART

    @property
    def found(self) -> tuple[EntryPoint, ...]:
        """The entry points; none if parameter sets change, as nobody knows which hold behind what was left out."""
        if self._sets_change or not self._other_sets <= (self._sets or frozenset()):
            return ()
        return tuple(self._points)

    def add(self, packet: av.Packet[Any]) -> None:
        """Take the next packet."""
        self._since += 1
        # An MP4 can have several descriptions of one track, each with parameter sets of its own.
        self._sets_change |= packet.is_keyframe and packet.has_sidedata("new_extradata")
        if self._codec in ("h264", "hevc"):
            self._add_coded(packet)
        elif packet.is_keyframe:
            sets = frozenset({_digest(mpeg4_layer(bytes(packet)))}) if self._codec == "mpeg4" else frozenset[bytes]()
            self._note(packet, independent(self._codec, bytes(packet)), sets)

    def _add_coded(self, packet: av.Packet[Any]) -> None:
        """Take a packet of NAL units. Parameter sets may come with any picture, before its first slice."""
        at = self._length_size
        if at and not packet.is_keyframe and packet.size > at and memoryview(packet)[at] in self._slice_headers:
            return
        units = list(self._to_first_slice(bytes(packet)))
        kinds = _H264_SETS if self._codec == "h264" else _HEVC_SETS
        sets = frozenset(_digest(unit) for unit in units if self._kind(unit[0]) in kinds)
        opens = independent_units(self._codec, units) if packet.is_keyframe else None
        self._note(packet, opens, sets)

    def _note(self, packet: av.Packet[Any], opens: bool | None, sets: frozenset[bytes]) -> None:
        if opens is None or packet.pts is None:
            self._other_sets |= sets
            self._sets_change |= len(self._other_sets) > _MOST_SETS
            if self._sets_change:
                self._other_sets.clear()
            return
        self._sets_change |= self._sets not in (None, sets)
        self._sets = sets
        if self._since > _APART:
            self._points.append(EntryPoint(packet.pts, packet.dts, packet.size, opens))
            self._since = 0

    def _kind(self, header: int) -> int:
        return header & 31 if self._codec == "h264" else header >> 1 & 63

    def _to_first_slice(self, packet: bytes) -> Iterator[bytes]:
        """Units before the first slice, without trailing zeros, and that slice."""
        for unit in nal_units(packet, self._length_size):
            yield unit.rstrip(b"\0") or unit[:1]
            if unit[0] in self._slice_headers:
                return


def _digest(parameter_set: bytes) -> bytes:
    return hashlib.blake2b(parameter_set, digest_size=16).digest()  # a file may claim sets of any size


def independent_units(codec: str, units: list[bytes]) -> bool | None:
    """Whether the group that an H.264 or HEVC picture begins is open; None if decoding may not begin at it.

    units: NAL units of the picture up to its first slice.
    """
    if not units:
        return None
    if codec == "hevc":
        kind = units[-1][0] >> 1 & 63
        return None if kind not in (*_HEVC_CLOSED, _HEVC_CRA) else kind == _HEVC_CRA
    if units[-1][0] & 31 == _H264_IDR:
        return False
    recovers = any(unit[0] & 31 == _H264_SEI and _recovers_at_once(unit) for unit in units)
    return True if recovers and units[-1][0] & 31 == 1 else None


def independent(codec: str, keyframe: bytes) -> bool | None:
    """The same as `independent_units`, of a keyframe of another codec.

    VP8 has no such keyframes: its map of segments may outlast them.
    """
    match codec:
        case "vp9":
            return False if _vp9_shows_keyframe(keyframe) else None
        case "av1":
            return False if _av1_shows_keyframe(keyframe) else None
        case "mpeg4":
            at = keyframe.find(b"\0\0\1\xb6")
            return True if at >= 0 and keyframe[at + 4 : at + 5] and keyframe[at + 4] >> 6 == 0 else None
        case "mpeg2video":  # with a sequence header, which resets all matrices
            at = keyframe.find(b"\0\0\1\0")
            intra = len(keyframe) > at + 5 and keyframe[at + 5] >> 3 & 7 == 1
            return True if keyframe.startswith(b"\0\0\1\xb3") and at >= 0 and intra else None
    return None


def _recovers_at_once(unit: bytes) -> bool:
    """Whether supplemental information promises exact frames from this picture on (recovery point of 0 frames)."""
    data = unit[1:].replace(b"\0\0\3", b"\0\0")
    at = 0
    for _ in range(_MOST_MESSAGES):
        numbers = []
        for _ in range(2):  # kind and size; each is a sum of bytes, of which all but the last are 255
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + data[at] if at < len(data) else 0)
            at += 1
        kind, size = numbers
        if kind == _RECOVERY_POINT:
            bits = Bits(data[at : at + min(size, 8)])
            return bits.golomb() == 0 and bits.read(1) == 1
        at += size
        if at >= len(data):
            break
    return False


def _vp9_shows_keyframe(packet: bytes) -> bool:
    """VP9 specification, 6.2."""
    bits = Bits(packet[:4])
    marker = bits.read(2)
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    repeats, refers, shown = (bits.read(1) for _ in range(3))
    return marker == 2 and not repeats and not refers and shown == 1


def _av1_shows_keyframe(packet: bytes) -> bool:
    """AV1 specification, 5.9.2: with a sequence header, whose reduced kind has other frame headers."""
    has_sequence = False
    for kind, content in av1_units(packet):
        if kind == AV1_SEQUENCE:
            has_sequence = bool(content) and not content[0] >> 3 & 1
        elif kind in _AV1_FRAMES:
            bits = Bits(content[:1])
            repeats, frame_type, shown = bits.read(1), bits.read(2), bits.read(1)
            return has_sequence and len(content) > 0 and not repeats and frame_type == 0 and shown == 1
    return False
