"""Which frames a decoder shows, in which order, and when: found by decoding, for files whose packets leave it in doubt.

Demuxing alone tells the times of a sound file. Where the order of its stamps is in doubt, or where it holds pictures
that a decoder may leave out (those that lead a file cut at an open group of pictures), the file is decoded once with
every frame thrown away, which costs as much as decoding it. Such files are rare.
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
from extractor.video.containers.held import held_back
from extractor.video.containers.packets import Packets, known_stamps
from extractor.video.containers.streams import exact, open_video
from schemas.errors import FailureClass, VideoError

__all__ = ["Settled", "drained", "ordinal_of", "survey", "tagged"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_UNCLOCKED = frozenset({"avi"})  # stamps are counted by FFmpeg, not read
_NEAR_JOINT = 16  # packets by which a decoder that is not drained may mix the end of one stream with the next
_IN_ORDER = frozenset({"av1", "mjpeg", "vp8", "vp9"})  # codecs that show frames in the order of their packets


@dataclass(frozen=True, slots=True)
class _Shown:
    """One frame that the decoder gave. ordinal: number of its packet in the file, -1 where it does not say."""

    ordinal: int
    keyframe: bool
    corrupt: bool


@dataclass(slots=True)
class _Survey:
    """All frames that the decoder gave, in output order, and the numbers of the packets that it refused."""

    shown: list[_Shown] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Settled:
    """What a survey found.

    order: (n,) int64, for each frame in output order the number of its packet. times_seconds: (n,) float64, not
    falling. made_up: they are not the stamps. unshown: packets whose frames do not count. begins_anew: packets before
    which the decoder is drained. restarts: packets at whose frames the clock restarts. lost: how many packets gave no
    frame and should have, or frames that no packet announced. flags: what was odd.
    """

    order: Int64Array
    times_seconds: Float64Array
    made_up: bool
    unshown: frozenset[int]
    begins_anew: frozenset[int]
    restarts: tuple[int, ...]
    lost: int
    flags: tuple[str, ...]


def survey(
    path: Path, packets: Packets, stream: av.VideoStream, rate: Fraction, *, further: bool, keep_corrupt: bool
) -> Settled | None:
    """What decoding the file once says of its order; None where its packets are enough, and nothing is odd.

    rate: frames a second. further: as `open_video` takes it. Raises VideoError (corrupt) where frames are lost besides,
    so that nobody can tell which time the others have.
    """
    container, context = stream.container.format.name, stream.codec_context
    held = _held_back(packets, container, stream)
    if not held and not _in_doubt(packets, container, reorders=bool(context.has_b_frames)):
        return None
    if held:  # the mean over stamps that stand still is no rate
        rate = exact(context.framerate) or exact(stream.guessed_rate) or rate
    decoding = _Decoding(path, stream.index, further)
    settled = _settled_order(packets, decoding, container, exact(stream.time_base), rate, held)
    if not len(settled.order) or (settled.lost and not keep_corrupt):
        if settled.flags:
            announced = len(packets.stamps)
            raise VideoError(
                FailureClass.CORRUPT,
                f"{path} is damaged: it gives {announced - settled.lost} of the {announced} frames that its packets "
                "announce, and nothing tells which; fetch it anew, or use --keep-corrupt",
            )
        return None
    return settled if settled.flags or settled.lost or keep_corrupt else None


def _in_doubt(packets: Packets, container: str, *, reorders: bool) -> bool:
    """Whether the packets leave it in doubt which frames are shown when."""
    if packets.may_vanish() or packets.corrupt:  # where packets are missing, a decoder may show frames out of order
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
    """The packets of a stream, numbered, so that `ordinal_of` tells which one a decoded frame came from.

    Must be called before the first packet is decoded. Packets without content have no number, as in `read_packets`.
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
    """Number of a packet, or of the packet that a frame was decoded from; None where it has none."""
    tag = carrier.opaque
    return tag[0] if isinstance(tag, list) else None


def _held_back(packets: Packets, container: str, stream: av.VideoStream) -> frozenset[int]:
    """Ordinals of packets whose stamps a muxer held back."""
    if container in _UNCLOCKED or None in packets.stamps:
        return frozenset()
    base, stated = exact(stream.time_base), exact(stream.codec_context.framerate)
    held = held_back(known_stamps(packets), packets.decoding_stamps, base, stated)
    return frozenset(packets.ordinals[index] for index in np.flatnonzero(held))


def _settled_order(
    packets: Packets, decoding: _Decoding, container: str, base: Fraction, rate: Fraction, held: frozenset[int]
) -> Settled:
    """Decode a file and settle what it shows: once more, where a stream begins midway, with a decoder drained there.

    base: seconds a tick, 0 where unknown. rate: frames a second. held: packets whose stamps are of no use.
    """
    found = _settle(packets, decoding.frames(()), (), container, base, rate, held)
    # A wild stamp can make a keyframe look like a joint, whose leading pictures would be lost: both must agree.
    joined = {
        joint
        for joint in _find_joints(packets, container)
        if any(abs(joint - restart) <= _NEAR_JOINT for restart in found.restarts)
    }
    # Frames before the first keyframe are made of nothing: those behind it are not to refer to them without a message.
    if packets.first_keyframe is not None and any(number < packets.first_keyframe[0] for number in found.unshown):
        joined.add(packets.first_keyframe[0])
    if not joined:
        return found
    return _settle(packets, decoding.frames(joined), joined, container, base, rate, held)


def _find_joints(packets: Packets, container: str) -> frozenset[int]:
    """Ordinals of the keyframes at which another stream begins, and decoding is to begin anew.

    Not where the demuxer dropped the packets before one, as FFmpeg does with fragments of MP4 whose clock steps back:
    that keyframe is not the beginning.
    """
    if container in _UNCLOCKED or None in packets.stamps:
        return frozenset()
    found = joints(known_stamps(packets), packets.keyframes, container=container)
    ordinals = {packets.ordinals[index] for index in found}
    return frozenset(ordinals - {ordinal + 1 for ordinal in packets.discarded_ordinals})


def drained(context: av.VideoCodecContext) -> list[av.VideoFrame]:
    """The frames that a decoder still holds. It is as new afterwards: what comes next cannot refer to them."""
    frames = context.decode(None)
    context.flush_buffers()
    return frames


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A stream of a file that can be decoded any number of times."""

    path: Path
    stream_index: int
    further: bool

    def frames(self, begins_anew: Collection[int]) -> _Survey:
        """Decode the stream as the strict decoder does, whatever is damaged.

        begins_anew: ordinals of packets before which the decoder is drained.
        """
        found = _Survey()
        with open_video(self.path, further=self.further) as container:
            stream = container.streams[self.stream_index]
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.thread_count = 1
            for packet in tagged(container.demux(stream), stream.codec_context):
                frames: list[av.VideoFrame] = []
                try:
                    if ordinal_of(packet) in begins_anew:
                        frames = drained(stream.codec_context)
                    frames += packet.decode()
                except av.FFmpegError:  # the decoder that counts meets it again, and judges it
                    found.refused.add(_ordinal(packet))
                for frame in frames:
                    found.shown.append(_Shown(_ordinal(frame), frame.key_frame, frame.is_corrupt))
        return found


def _ordinal(carrier: av.Packet[Any] | av.VideoFrame) -> int:
    ordinal = ordinal_of(carrier)
    return -1 if ordinal is None else ordinal


def _settle(
    packets: Packets,
    survey: _Survey,
    begins_anew: Collection[int],
    container: str,
    base: Fraction,
    rate: Fraction,
    held: frozenset[int],
) -> Settled:
    """Order and times of the frames that count. base, rate, held: as above."""
    may_vanish, announced = packets.may_vanish(begins_anew), set(packets.ordinals)
    counted = _counted(packets, survey.shown, may_vanish, begins_anew)
    order = [frame.ordinal for frame in counted]
    came = set(order)
    unshown = may_vanish - came
    lost = len(announced - may_vanish - packets.dropped_late - came) + len(order) - len(came & announced)
    if packets.sets_from is not None:
        # What refers to nothing is left out in silence. It is refused for want of parameter sets, or for damage: a
        # keyframe that is not told by its content any more makes all that follows seem to lead a group.
        lost += sum(ordinal >= packets.sets_from for ordinal in survey.refused & may_vanish)
    clock = _clock(packets, counted, container, held) if base else None
    flags = ["leading_pictures"] * bool(unshown)
    restarts: tuple[int, ...] = ()
    made_up = True
    if clock is None or 2 * clock.outliers > len(order):  # counting is all that is left
        earliest = float(min(known_stamps(packets), default=0) * base)
        times = earliest + np.arange(len(order), dtype=np.float64) * rate.denominator / rate.numerator
        flags += ["stamp_outliers"] * (clock is not None)
    else:
        times = clock.ticks * base.numerator / base.denominator
        restarts = tuple(order[frame] for frame in clock.restarts)
        made_up = bool(clock.restarts or clock.outliers)
        flags += ["clock_restarts"] * bool(clock.restarts) + ["stamp_outliers"] * bool(clock.outliers)
    return Settled(
        order=np.array(order, np.int64),
        times_seconds=times,
        made_up=made_up,
        unshown=frozenset(unshown | _discarded_before_keyframe(packets)),
        begins_anew=frozenset(begins_anew),
        restarts=restarts,
        lost=lost,
        flags=tuple(flags),
    )


def _counted(packets: Packets, shown: list[_Shown], may_vanish: set[int], begins_anew: Collection[int]) -> list[_Shown]:
    """The frames that count: none that may vanish and is marked corrupt, none before a keyframe that begins anew."""
    first = packets.first_keyframe[0] if packets.first_keyframe else 0
    start = first if first in begins_anew else 0
    return [frame for frame in shown if frame.ordinal >= start and not (frame.corrupt and frame.ordinal in may_vanish)]


def _clock(packets: Packets, frames: list[_Shown], container: str, held: frozenset[int]) -> Clock | None:
    """The clock of the frames, None where a stamp is missing."""
    stamp_of = dict(zip(packets.ordinals, packets.stamps, strict=True))
    stamps = [stamp_of.get(frame.ordinal) for frame in frames]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps) or not known:
        return None
    if container in _UNCLOCKED:
        known.sort()
    reached = np.maximum.accumulate([frame.ordinal for frame in frames])
    passed = np.searchsorted(packets.discarded_ordinals, reached).tolist()
    keyframes, away = [frame.keyframe for frame in frames], [frame.ordinal in held for frame in frames]
    return continuous_clock(known, keyframes, container=container, passed=passed, held=away)


def _discarded_before_keyframe(packets: Packets) -> set[int]:
    """Packets that an edit list hides and that refer to what is not there: what is said of them means nothing."""
    keyframe = packets.first_keyframe[0] if packets.first_keyframe else 0
    return {ordinal for ordinal in packets.discarded_ordinals if ordinal < keyframe}
