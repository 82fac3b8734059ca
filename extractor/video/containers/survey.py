"""Which frames a decoder shows, in which order, and when: found by decoding where the packets leave that in doubt.

For a sound file demuxing alone yields the times. If the order of the stamps is in doubt, or if the file contains
pictures that a decoder may leave out (the leading ones of a file cut at an open group of pictures), it is decoded once
and every frame is discarded, which costs as much as decoding it. Such files are rare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from extractor.video.containers.clock import Clock, continuous_clock, joints, order_in_doubt
from extractor.video.containers.held_stamps import held_back
from extractor.video.containers.packets import Packets, known_stamps
from extractor.video.containers.streams import exact, open_video
from schemas.errors import FailureClass, VideoError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_UNCLOCKED = frozenset({"avi"})  # FFmpeg counts the stamps instead of reading them
_NEAR_JOINT = 16  # packets over which a decoder that is not drained may mix the end of one stream with the next
_IN_ORDER = frozenset({"av1", "mjpeg", "vp8", "vp9"})  # codecs that show frames in the order of their packets


@dataclass(frozen=True, slots=True)
class _DecodedFrame:
    """One frame that the decoder returned. ordinal: number of its packet in the file, -1 if unknown."""

    ordinal: int
    keyframe: bool
    corrupt: bool


@dataclass(slots=True)
class _DecodedStream:
    """All frames that the decoder returned, in output order, and the ordinals of the packets that it refused."""

    frames: list[_DecodedFrame] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _StampedPackets:
    """The packets of a stream and what their stamps mean.

    base: seconds per tick, 0 if unknown. rate: frames per second. held: packets whose stamps a muxer held back.
    """

    packets: Packets
    container: str
    base: Fraction
    rate: Fraction
    held: frozenset[int]


@dataclass(frozen=True, slots=True)
class SettledOrder:
    """What a survey found.

    order: (n,) int64, the ordinal of the packet of each frame, in output order. times_seconds: (n,) float64,
    non-decreasing. made_up: the times are not the stamps. unshown: packets whose frames do not count. drained_before:
    packets before which the decoder is drained. restarts: packets at whose frames the clock restarts. lost: how many
    packets should have yielded a frame and did not, plus how many frames no packet announced. flags: what was odd.
    """

    order: Int64Array
    times_seconds: Float64Array
    made_up: bool
    unshown: frozenset[int]
    drained_before: frozenset[int]
    restarts: tuple[int, ...]
    lost: int
    flags: tuple[str, ...]


def survey(
    path: Path, packets: Packets, stream: av.VideoStream, rate: Fraction, *, further: bool, keep_corrupt: bool
) -> SettledOrder | None:
    """The order of the frames, from decoding the file once; None if its packets suffice and nothing is odd.

    rate: frames per second. further: as in `open_video`. Raises VideoError (corrupt) if frames are lost as well, since
    nobody can then tell the times of the others.
    """
    container, context = stream.container.format.name, stream.codec_context
    held = _held_back(packets, container, stream)
    if not held and not _in_doubt(packets, container, reorders=bool(context.has_b_frames)):
        return None
    if held:  # the mean rate over held-back stamps is meaningless
        rate = exact(context.framerate) or exact(stream.guessed_rate) or rate
    stamped = _StampedPackets(packets, container, exact(stream.time_base), rate, held)
    settled = _settled_order(stamped, _RepeatableDecoder(path, stream.index, further))
    if not len(settled.order) or (settled.lost and not keep_corrupt):
        if settled.flags:
            announced = len(packets.stamps)
            raise VideoError(
                FailureClass.CORRUPT,
                f"{path} is damaged: expected the {announced} frames that its packets announce; got "
                f"{announced - settled.lost}, and nothing shows which. Fetch it again, or use --keep-corrupt",
            )
        return None
    return settled if settled.flags or settled.lost or keep_corrupt else None


def _in_doubt(packets: Packets, container: str, *, reorders: bool) -> bool:
    """Whether the packets leave in doubt which frames are shown when."""
    if packets.may_vanish() or packets.corrupt:  # if packets are missing, a decoder may show frames out of order
        return True
    if container in _UNCLOCKED or None in packets.stamps:
        return False
    return order_in_doubt(
        known_stamps(packets),
        packets.decoding_stamps,
        packets.keyframes,
        reorders=reorders and packets.codec not in _IN_ORDER,
        container=container,
    )


def tagged(packets: Iterator[av.Packet[Any]], context: av.VideoCodecContext) -> Iterator[av.Packet[Any]]:
    """The packets of a stream, numbered, so that `ordinal_of` returns the ordinal of a decoded frame's packet.

    Call it before the first packet is decoded. Packets without content get no number, as in `read_packets`.
    """
    context.copy_opaque = True
    return _numbered(packets)


def _numbered(packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
    ordinal = 0
    for packet in packets:
        if packet.size:
            packet.opaque = [ordinal]  # an object of its own: PyAV tells them apart by their address
            ordinal += 1
        yield packet


def ordinal_of(carrier: av.Packet[Any] | av.VideoFrame) -> int | None:
    """Ordinal of a packet, or of the packet that a frame was decoded from; None if it has none."""
    tag = carrier.opaque
    return tag[0] if isinstance(tag, list) else None


def _held_back(packets: Packets, container: str, stream: av.VideoStream) -> frozenset[int]:
    """Ordinals of packets whose stamps a muxer held back."""
    if container in _UNCLOCKED or None in packets.stamps:
        return frozenset()
    base, stated = exact(stream.time_base), exact(stream.codec_context.framerate)
    held = held_back(known_stamps(packets), packets.decoding_stamps, base, stated)
    return frozenset(packets.ordinals[index] for index in np.flatnonzero(held))


def _settled_order(stamped: _StampedPackets, decoder: _RepeatableDecoder) -> SettledOrder:
    """Decode a file and settle what it shows; if another stream begins midway, again with the decoder drained there."""
    packets = stamped.packets
    found = _settle(stamped, decoder.decode(()), ())
    # A wild stamp can make a keyframe look like a joint, and its leading pictures would be lost: both must agree.
    joined = {
        joint
        for joint in _find_joints(packets, stamped.container)
        if any(abs(joint - restart) <= _NEAR_JOINT for restart in found.restarts)
    }
    # Frames before the first keyframe have no content: frames behind it must not silently refer to them.
    if packets.first_keyframe is not None and any(number < packets.first_keyframe[0] for number in found.unshown):
        joined.add(packets.first_keyframe[0])
    if not joined:
        return found
    return _settle(stamped, decoder.decode(joined), joined)


def _find_joints(packets: Packets, container: str) -> frozenset[int]:
    """Ordinals of the keyframes at which another stream begins, where decoding has to restart.

    Leaves out a keyframe before which the demuxer dropped packets, as FFmpeg does with MP4 fragments whose clock steps
    back: such a keyframe is not the beginning.
    """
    if container in _UNCLOCKED or None in packets.stamps:
        return frozenset()
    found = joints(known_stamps(packets), packets.keyframes, container=container)
    ordinals = {packets.ordinals[index] for index in found}
    return frozenset(ordinals - {ordinal + 1 for ordinal in packets.discarded_ordinals})


def drained(context: av.VideoCodecContext) -> list[av.VideoFrame]:
    """The frames that a decoder still holds. It is reset afterwards: what comes next cannot refer to them."""
    frames = context.decode(None)
    context.flush_buffers()
    return frames


@dataclass(frozen=True, slots=True)
class _RepeatableDecoder:
    """Decodes a stream of a file, any number of times."""

    path: Path
    stream_index: int
    further: bool

    def decode(self, drained_before: Collection[int]) -> _DecodedStream:
        """Decode the stream as the strict decoder does, but continue at any damage.

        drained_before: ordinals of packets before which the decoder is drained.
        """
        found = _DecodedStream()
        with open_video(self.path, further=self.further) as container:
            stream = container.streams[self.stream_index]
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.thread_count = 1
            for packet in tagged(container.demux(stream), stream.codec_context):
                frames: list[av.VideoFrame] = []
                try:
                    if ordinal_of(packet) in drained_before:
                        frames = drained(stream.codec_context)
                    frames += packet.decode()
                except av.FFmpegError:  # the final decoding meets it again, and judges it
                    found.refused.add(_ordinal(packet))
                for frame in frames:
                    found.frames.append(_DecodedFrame(_ordinal(frame), frame.key_frame, frame.is_corrupt))
        return found


def _ordinal(carrier: av.Packet[Any] | av.VideoFrame) -> int:
    ordinal = ordinal_of(carrier)
    return -1 if ordinal is None else ordinal


def _settle(stamped: _StampedPackets, decoded: _DecodedStream, drained_before: Collection[int]) -> SettledOrder:
    """Order and times of the frames that count."""
    packets, base, rate = stamped.packets, stamped.base, stamped.rate
    may_vanish, announced = packets.may_vanish(drained_before), set(packets.ordinals)
    keyframe = packets.first_keyframe[0] if packets.first_keyframe else 0
    start = keyframe if keyframe in drained_before else 0
    counted = [
        frame
        for frame in decoded.frames
        if frame.ordinal >= start and not (frame.corrupt and frame.ordinal in may_vanish)
    ]
    order = [frame.ordinal for frame in counted]
    came = set(order)
    unshown = may_vanish - came
    lost = len(announced - may_vanish - packets.dropped_late - came) + len(order) - len(came & announced)
    if packets.sets_from is not None:
        # Decoders leave out pictures that refer to nothing silently. They refuse one for lack of parameter sets, or for
        # damage: behind a keyframe whose content is no longer recognisable, all pictures look like leading ones.
        lost += sum(ordinal >= packets.sets_from for ordinal in decoded.refused & may_vanish)
    clock = _clock(stamped, counted) if base else None
    flags = ["leading_pictures"] * bool(unshown)
    restarts: tuple[int, ...] = ()
    made_up = True
    if clock is None or 2 * clock.outliers > len(order):  # frames can only be counted
        earliest = float(min(known_stamps(packets), default=0) * base)
        times = earliest + np.arange(len(order), dtype=np.float64) * rate.denominator / rate.numerator
        flags += ["stamp_outliers"] * (clock is not None)
    else:
        times = clock.ticks * base.numerator / base.denominator
        restarts = tuple(order[frame] for frame in clock.restarts)
        made_up = bool(clock.restarts or clock.outliers)
        flags += ["clock_restarts"] * bool(clock.restarts) + ["stamp_outliers"] * bool(clock.outliers)
    # Packets before the first keyframe that an edit list hides refer to missing pictures: their messages mean nothing.
    hidden = {ordinal for ordinal in packets.discarded_ordinals if ordinal < keyframe}
    return SettledOrder(
        order=np.array(order, np.int64),
        times_seconds=times,
        made_up=made_up,
        unshown=frozenset(unshown | hidden),
        drained_before=frozenset(drained_before),
        restarts=restarts,
        lost=lost,
        flags=tuple(flags),
    )


def _clock(stamped: _StampedPackets, frames: list[_DecodedFrame]) -> Clock | None:
    """The clock of the frames, None if a stamp is missing."""
    packets, container = stamped.packets, stamped.container
    stamp_of = dict(zip(packets.ordinals, packets.stamps, strict=True))
    stamps = [stamp_of.get(frame.ordinal) for frame in frames]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or not known:
        return None
    if container in _UNCLOCKED:
        known.sort()
    reached = np.maximum.accumulate([frame.ordinal for frame in frames])
    passed = np.searchsorted(packets.discarded_ordinals, reached).tolist()
    keyframes, away = [frame.keyframe for frame in frames], [frame.ordinal in stamped.held for frame in frames]
    return continuous_clock(known, keyframes, container=container, passed=passed, held=away)
