"""What the packets and headers of a video stream say: presentation times, and reasons not to trust decord."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from extractor.video.bitstreams.entry_points import EntryPoint, EntryPoints
from extractor.video.bitstreams.headers import (
    LeadingPictures,
    extradata_signature,
    is_hidden,
    may_interlace,
    opens_group,
    resolution_signature,
)
from extractor.video.containers.held_stamps import narrow
from extractor.video.containers.orientation import carries_orientation
from schemas.errors import FailureClass, VideoError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_TRUSTED_CONTAINERS = ("mov", "matroska")
_TRUSTED_CODECS = frozenset({"av1", "h264", "hevc", "mpeg4", "vp8", "vp9"})
_TRUSTED_FORMATS = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"})
_CODECS_WITH_FIELDS = frozenset({"h264", "hevc", "mpeg4"})
_MOST_LEADING = 16  # pictures that an H.264 or HEVC decoder can hold for reordering
_SETS_IN_HEADER = frozenset({"flv", "matroska", "mov"})  # containers that store parameter sets apart from pictures
_CODECS_WITH_SETS = frozenset({"h264", "hevc"})
_CODECS_WITHOUT_SLOTS = frozenset({"mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3"})
_PROGRESSIVE = 1  # FFmpeg's AV_FIELD_PROGRESSIVE; decord and PyAV convert the chroma of interlaced frames differently


@dataclass(slots=True)
class Packets:
    """What the packets of one stream say.

    stamps, decoding_stamps, keyframes, ordinals: one value for each packet that is neither discarded nor hidden, in
    file order. ordinals count all packets with content. skipped_leading: ordinals of pictures that a decoder leaves out
    by the rules of HEVC, because they refer to missing pictures. dropped_late: ordinals of sound pictures that it may
    leave out because a new sequence begins before they are shown.
    """

    codec: str = ""
    stamps: list[int | None] = field(default_factory=list)
    decoding_stamps: list[int | None] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    ordinals: list[int] = field(default_factory=list)
    skipped_leading: set[int] = field(default_factory=set)
    dropped_late: set[int] = field(default_factory=set)
    last: tuple[int, int] = (-(1 << 62), 0)  # stamp and duration of the packet that is shown last
    first: av.Packet[Any] | None = None  # the first keyframe; the first packet if there is none
    discarded_ordinals: list[int] = field(default_factory=list)
    hidden: int = 0
    empty: int = 0
    corrupt: int = 0
    before_keyframe: bool = False
    first_keyframe: tuple[int, int | None] | None = None  # ordinal and stamp, even if it is discarded
    sets_from: int | None = None  # first packet for which the parameter sets are there
    opens_group: bool = False  # the first H.264 keyframe allows references to pictures before it
    signatures: set[bytes] = field(default_factory=set)
    new_extradata: bool = False
    oriented: bool = False  # a keyframe carries an orientation of its own
    entry_points: tuple[EntryPoint, ...] = ()

    def may_vanish(self, joints: Collection[int] = ()) -> set[int]:
        """Ordinals of packets whose pictures a decoder may leave out although nothing is damaged.

        They refer to pictures that are not in the file: those before the first keyframe, and those that follow it but
        are shown before it, as in a file cut at an open group of pictures. joints: ordinals of further keyframes at
        which decoding restarts.
        """
        found = set(self.skipped_leading)
        if self.first_keyframe is None:
            return found
        first = self.first_keyframe[0]
        begins, start = first, self.first_keyframe[1]
        # A muxer that allows no stamp before the first one holds the stamps of leading pictures back to it.
        known = np.array(known_stamps(self), np.int64)
        close = narrow(float(np.median(np.diff(np.sort(known))))) if len(known) > 1 else 0.0
        for ordinal, stamp in zip(self.ordinals, self.stamps, strict=True):
            if ordinal in joints:
                begins, start = ordinal, stamp
            leads = self.opens_group if stamp is None or start is None else stamp <= start + close
            if ordinal < first or (leads and begins < ordinal <= begins + _MOST_LEADING):
                found.add(ordinal)
        return found


def read_packets(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    codec: str,
    *,
    look_inside: bool,
    max_frames: int,
) -> Packets:
    """Read every packet of the stream. look_inside: compare the resolutions that keyframes state.

    Raises VideoError (too_large) if it has more than `max_frames` frames.
    """
    found = Packets(codec)
    extradata = stream.codec_context.extradata or b""
    entry_points = EntryPoints(codec, extradata)
    leading = LeadingPictures(extradata) if codec == "hevc" else None
    by_slot = container.format.name == "avi" and codec not in _CODECS_WITHOUT_SLOTS
    if codec in _CODECS_WITH_SETS and container.format.name.split(",")[0] in _SETS_IN_HEADER:
        found.sets_from = 0
    if look_inside:
        found.signatures.add(extradata_signature(codec, extradata))
    ordinal = -1
    for packet in container.demux(stream):
        if not packet.size:
            found.empty += packet.pts is not None  # the last one, without a stamp, is PyAV's end marker
            continue
        ordinal += 1
        entry_points.add(packet)
        if found.first is None or (packet.is_keyframe and found.first_keyframe is None):
            found.first = packet
        if found.sets_from is None and found.first_keyframe is None and codec in _CODECS_WITH_SETS:
            found.sets_from = ordinal if resolution_signature(codec, bytes(packet), extradata) else None
        if found.first_keyframe is None and packet.is_keyframe:
            found.first_keyframe = ordinal, packet.pts
            found.opens_group = codec == "h264" and opens_group(bytes(packet), extradata)
        found.before_keyframe |= found.first_keyframe is None
        found.corrupt += packet.is_corrupt
        if look_inside and packet.is_keyframe:
            found.signatures.add(resolution_signature(codec, bytes(packet), extradata))
            found.oriented |= carries_orientation(codec, bytes(packet), extradata)
            found.new_extradata |= bool(packet.has_sidedata("new_extradata"))
        skipped = leading is not None and leading.skips(bytes(packet))
        if leading is not None and leading.restarted:
            found.dropped_late.update(found.ordinals[-_MOST_LEADING:])
        if packet.is_discard:
            found.discarded_ordinals.append(ordinal)
        elif codec == "vp8" and is_hidden(codec, bytes(packet)):
            found.hidden += 1
        else:
            _add(found, packet, ordinal, by_slot=by_slot, skipped=skipped)
        if len(found.stamps) > max_frames:
            raise VideoError(
                FailureClass.TOO_LARGE,
                f"{path}: expected at most {max_frames} frames; got more. Split it, or leave it out",
            )
    found.entry_points = entry_points.found
    return found


def _add(found: Packets, packet: av.Packet[Any], ordinal: int, *, by_slot: bool, skipped: bool) -> None:
    """Note a packet that is shown.

    by_slot: the place of a packet in the file is its only time, as in AVI. FFmpeg reports it as the decoding stamp; the
    presentation stamps that it makes up for H.264 are one packet late.
    """
    stamp = packet.dts if by_slot else packet.pts
    found.stamps.append(stamp)
    found.decoding_stamps.append(packet.dts)
    found.keyframes.append(packet.is_keyframe)
    found.ordinals.append(ordinal)
    if skipped:
        found.skipped_leading.add(ordinal)
    if stamp is not None and stamp > found.last[0]:
        found.last = stamp, packet.duration or 0


def known_stamps(packets: Packets) -> list[int]:
    """The stamps that exist, in file order."""
    return [stamp for stamp in packets.stamps if stamp is not None]


def presentation_times(packets: Packets, base: Fraction, rate: Fraction) -> tuple[Float64Array, Int64Array | None]:
    """Sorted times in seconds and their stamps; if a stamp is missing, first + i / rate and None."""
    known = known_stamps(packets)
    if len(known) == len(packets.stamps) and base:
        stamps = np.sort(np.array(known, np.int64))
        # An integer product and one division round only once, so this equals float(stamp * base).
        return (stamps * base.numerator).astype(np.float64) / base.denominator, stamps
    start = float(min(known) * base) if known else 0.0
    numbers = np.arange(len(packets.stamps), dtype=np.float64)
    return start + numbers * rate.denominator / rate.numerator, None


def slots_in_doubt(packets: Packets, container: str, *, reorders: bool) -> bool:
    """Whether an AVI file has empty slots and reordered frames: which frame is late is then a guess.

    A slot belongs to a packet, and writers differ in how long before its frame that lies.
    """
    if container != "avi" or not reorders or packets.codec in _CODECS_WITHOUT_SLOTS or None in packets.stamps:
        return False
    return len(set(np.diff(np.array(known_stamps(packets), np.int64)).tolist())) > 1


def header_flags(container: str, codec: str, context: av.VideoCodecContext) -> list[str]:
    """Reasons not to trust decord, from the headers of container and codec (docs/decoding.md lists them)."""
    flags = []
    pix_fmt = context.pix_fmt
    if container.split(",")[0] not in _TRUSTED_CONTAINERS:
        flags.append(f"container:{container.split(',')[0]}")
    if codec not in _TRUSTED_CODECS:
        flags.append(f"codec:{codec}")
    if pix_fmt is None:
        flags.append("pixel_format:unknown")
    elif any(component.bits > 8 for component in av.VideoFormat(pix_fmt).components):
        flags.append("more_than_8_bits")
    elif pix_fmt not in _TRUSTED_FORMATS:
        flags.append(f"pixel_format:{pix_fmt}")
    if codec in _CODECS_WITH_FIELDS and int(context.field_order) != _PROGRESSIVE:  # an unknown order may be interlaced
        flags.append("maybe_interlaced")
    return flags


def packet_flags(packets: Packets, known_flags: Sequence[str]) -> list[str]:
    """Further reasons, from the packets. known_flags: those of the headers, which are not repeated."""
    known = known_stamps(packets)
    signs = {
        "discarded_packets": bool(packets.discarded_ordinals),
        "hidden_packets": packets.hidden > 0,
        "empty_packets": packets.empty > 0,
        "corrupt_packets": packets.corrupt > 0,
        "missing_stamps": len(known) < len(packets.stamps),
        "duplicate_stamps": len(set(known)) < len(known),
        "starts_before_keyframe": packets.before_keyframe,
        "several_resolutions": packets.new_extradata or len(packets.signatures - {b""}) > 1,
        "orientation_in_stream": packets.oriented,
        "maybe_interlaced": any(may_interlace(packets.codec, signature) for signature in packets.signatures),
    }
    return [name for name, present in signs.items() if present and name not in known_flags]
