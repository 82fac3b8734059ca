"""Decoding with PyAV from keyframe to keyframe: over long stretches that no item covers, decoding jumps.

The frames that are returned are those of decoding from the start. Decoding begins at entry points only
(entry_points.py), every frame from there on must come in the order of the stamps, and once a file both ways of decoding
are compared. What is jumped over cannot be checked. At any doubt the file is decoded from its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from extractor.video.bitstreams.entry_points import EntryPoint
from extractor.video.containers.preflight import Inspection
from extractor.video.containers.streams import exact, open_video
from extractor.video.decoders.backends import DecodingRequest, Misbehaved, NativeFrame, NativeFrames, index_of
from extractor.video.decoders.judge import Converter, Judge, decoded_frames, watched
from schemas.errors import VideoError

Int64Array = npt.NDArray[np.int64]

_HARMLESS_FLAGS = frozenset(
    {
        "codec:mpeg2video",
        "container:mpegts",
        "cover_picture",
        "late_video",
        "long",
        "maybe_interlaced",
        "mirrored",
        "more_than_8_bits",
        "odd_rotation",
        "orientation_in_stream",
        "orientation_unread",
        "pixel_aspect_ignored",
    }
)
"""Reasons not to trust decord that say nothing against the stamps and the keyframes of a file."""

LONG_GAP = 750
"""Frames that jumps have to save, at least: half a second of decoding small frames."""

_LEAST_GAP = 100  # frames that one jump saves
_COMPARED = 128  # frames, at most: more than a decoder can hold to refer to
_WORTH = 2  # what jumps save, in frames, over what the comparison takes
_EARLIER_SECONDS = (3, 30)  # before an entry point, where a demuxer that passes it is sent next
_LEADING = 0  # the tag of pictures that lead an entry point


class Run(NamedTuple):
    """Frames that are decoded in one go: from `first` up to `end`, exclusive. entry: None for the file's start."""

    entry: EntryPoint | None
    first: int
    end: int


class Entry(NamedTuple):
    """An entry point, and the number of its frame in output order."""

    number: int
    point: EntryPoint


class Plan(NamedTuple):
    """How to decode a file with jumps. probes: what is compared first. saved: frames that need not be decoded."""

    runs: tuple[Run, ...]
    probes: tuple[Run, ...]
    saved: int

    @property
    def cost(self) -> int:
        """Frames that are decoded for comparison."""
        return comparison_cost(self.probes)


def has_long_gap(request: DecodingRequest) -> bool:
    """Whether items leave a stretch uncovered, before one of them, that is long enough to jump over it."""
    ends = np.concatenate([[0], request.covered[:-1, 1]]) if len(request.covered) else np.empty(0, np.int64)
    return bool((request.covered[:, 0] - ends >= LONG_GAP).any())


def planned_jumps(request: DecodingRequest) -> Plan | None:
    """How to decode a file with jumps; None if it does not allow them, or if they save too little."""
    entries = numbered_entries(request.inspection)
    if not len(request.covered) or request.keep_corrupt:
        return None
    count = request.inspection.info.num_frames
    plans = [_plan(request.covered, usable, count) for usable in kinds_of(entries)]
    best = max(plans, key=lambda plan: plan.saved - plan.cost, default=None)
    return best if best is not None and pays(best.saved, best.cost) else None


def pays(saved: int, cost: int) -> bool:
    """Whether so many frames that need not be decoded, or not here, are worth the comparison of `cost` frames."""
    return saved >= max(LONG_GAP, _WORTH * cost)


def runs_over(covered: Int64Array, entries: Sequence[Entry], least_gap: int | None = None) -> tuple[Run, ...]:
    """The runs that decode all covered stretches. entries: ascending. least_gap: frames that a jump saves, at least.

    Entries at frames 0, 250 and 500, covered (510, 600): one run from 500 to 600.
    """
    numbers = np.array([entry.number for entry in entries], np.int64)
    least_gap = _LEAST_GAP if least_gap is None else least_gap
    runs: list[Run] = []
    position = 0  # behind the last frame that is decoded
    for first, end in covered.tolist():
        at = int(numbers.searchsorted(first, "right")) - 1
        if at >= 0 and numbers[at] - position >= least_gap:
            runs.append(Run(entries[at].point, entries[at].number, end))
        elif runs:
            runs[-1] = runs[-1]._replace(end=end)
        else:
            runs.append(Run(None, 0, end))
        position = end
    return tuple(runs)


def jumping_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled frames of a file that `planned_jumps` has a plan for.

    Raises Misbehaved at any sign of damage that `pyav_frames` knows, unless exactly the expected frames come in the
    order of their stamps, and if a comparison shows that decoding from a keyframe differs from decoding from the start.
    """
    plan = planned_jumps(request)
    assert plan is not None
    try:
        prove(request, plan.probes)
    except FAULTS as error:
        raise misbehaved(error) from None
    yield from frames_of_runs(request, plan.runs)
    request.tally.flags.add("jumps")


def frames_of_runs(request: DecodingRequest, runs: Sequence[Run]) -> NativeFrames:
    """Sampled frames of runs whose entry points are proven. Raises Misbehaved, as `jumping_frames`."""
    try:
        with closing(Source(request)) as source:
            for run in runs:
                yield from source.sampled(run, to_end=request.to_end and run is runs[-1])
    except FAULTS as error:
        raise misbehaved(error) from None


FAULTS = (VideoError, av.FFmpegError, OSError)
"""What decoding from a keyframe may raise, none of which is the last word on the file."""


def misbehaved(error: BaseException) -> Misbehaved:
    """One of `FAULTS` as a verdict on decoding from a keyframe."""
    return Misbehaved(f"decoding from a keyframe: {error.message if isinstance(error, VideoError) else error}")


def numbered_entries(inspection: Inspection) -> list[Entry]:
    """The entry points of a file, ascending; none if its stamps do not identify its frames."""
    flags = {flag for flag in inspection.info.flags if not flag.startswith("pixel_format:")}
    if inspection.stamps is None or flags - _HARMLESS_FLAGS:
        return []
    numbered = ((index_of(inspection.stamps, point.stamp), point) for point in inspection.entry_points)
    return sorted(Entry(number, point) for number, point in numbered if number is not None)


def kinds_of(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entry points to choose from: all, those of open groups, and those of closed ones.

    A kind of which the file's first one comes late is not worth its comparison: perhaps without it.
    """
    kinds = [[one for one in entries if one.point.opens in opens] for opens in ((True, False), (True,), (False,))]
    return [usable for usable in kinds if usable]


def _plan(covered: Int64Array, entries: Sequence[Entry], count: int) -> Plan:
    runs = runs_over(covered, entries)
    saved = runs[0].first + sum(after.first - before.end for before, after in pairwise(runs))
    return Plan(runs, probes_for(runs, entries, count), saved)


def probes_for(runs: Sequence[Run], entries: Sequence[Entry], count: int) -> tuple[Run, ...]:
    """Of each kind of entry point that runs use, the frames behind the first one of these entries, but the start's."""
    probes = []
    for opens in sorted({run.entry.opens for run in runs if run.entry is not None}):
        at, first = next((at, one) for at, one in enumerate(entries) if one.number > 0 and one.point.opens == opens)
        following = entries[at + 1].number if at + 1 < len(entries) else count
        probes.append(Run(first.point, first.number, min(following, first.number + _COMPARED)))
    return tuple(probes)


def comparison_cost(probes: Sequence[Run]) -> int:
    """Frames that are decoded for comparison."""
    return sum(probe.end + probe.end - probe.first for probe in probes)


def prove(request: DecodingRequest, probes: Sequence[Run]) -> None:
    """Raises Misbehaved unless the frames of all probes are those of decoding from the start, bit by bit."""
    for probe in probes:
        _compare(request, probe)


def _compare(request: DecodingRequest, probe: Run) -> None:
    with closing(Source(request)) as forward, closing(Source(request)) as direct:
        from_start = forward.frames(Run(None, 0, probe.end))
        for number, frame in direct.frames(probe):
            expected = next(same for place, same in from_start if place == number)
            if not _alike(expected, frame):
                raise Misbehaved(
                    f"decoding from a keyframe: frame {number} differs from that of decoding from the start"
                )


def _alike(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    """Whether two decoded frames are equal, as they were coded and in what says how to convert them."""

    def properties(frame: av.VideoFrame) -> tuple[object, ...]:
        return frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range, frame.interlaced_frame

    return properties(one) == properties(other) and all(
        np.array_equal(_samples(mine, one), _samples(theirs, other))
        for mine, theirs in zip(one.planes, other.planes, strict=True)
    )


def _samples(plane: Any, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """Bytes of a plane, without what pads its lines."""
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    largest = max(component.bits for component in frame.format.components)
    used = plane.width * (frame.format.padded_bits_per_pixel if len(frame.planes) == 1 else 8 * -(-largest // 8)) // 8
    return lines[:, :used]


class Source:
    """An open file, whose frames can be decoded from its start or from any entry point."""

    def __init__(self, request: DecodingRequest) -> None:
        assert request.inspection.stamps is not None
        self._stamps = request.inspection.stamps
        # Pictures that lead an entry point are decoded, as the decoder expects, and neither they nor messages count.
        inspection = replace(request.inspection, unshown=frozenset({_LEADING}))
        self._request = replace(request, inspection=inspection)
        self._container = open_video(request.path, further=inspection.probed_further)
        stream = self._container.streams[inspection.stream_index]
        assert isinstance(stream, av.VideoStream)
        self._stream, self._context = stream, stream.codec_context
        self._context.thread_count = 1
        self._context.copy_opaque = True  # for the tags of leading pictures
        self._judge = Judge(self._request, {self._context.name, self._context.codec.canonical_name})
        self._converter = Converter()
        self._wanted = set(request.index.tolist())
        self._begun = False

    def close(self) -> None:
        self._container.close()

    def sampled(self, run: Run, *, to_end: bool) -> NativeFrames:
        """The sampled frames of a run; see `frames`."""
        info = self._request.inspection.info
        for number, frame in self.frames(run, to_end=to_end):
            if number in self._wanted:
                yield NativeFrame(number, self._converter(frame, info.rotation, info.mirrored), True)

    def frames(self, run: Run, *, to_end: bool = False) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of a run with their numbers. to_end: check that they are the file's last ones.

        Raises VideoError at a sign of damage, and unless exactly these frames come, in this order.
        """
        if run.entry is not None and not self._begun:
            # The first packet may name the encoder, whose bugs FFmpeg then undoes: those of x264 in 4:4:4, of XviD.
            for _ in self._decoded(islice(self._container.demux(self._stream), 1)):
                pass
        self._begun = True
        packets = self._container.demux(self._stream) if run.entry is None else self._from(run.entry)
        number = run.first
        for frame in watched(self._decoded(packets), self._request):
            if frame.is_corrupt or index_of(self._stamps, frame.pts) != number:
                self._judge.complain(f"expected frame {number}; got one of stamp {frame.pts}")
            yield number, frame
            number += 1
            if number >= run.end and not to_end:
                return
        if number < run.end:
            self._judge.complain(f"expected {run.end} frames; got none behind frame {number - 1}")

    def _decoded(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.VideoFrame]:
        return decoded_frames(packets, self._context, self._judge)

    def _from(self, entry: EntryPoint) -> Iterator[av.Packet[Any]]:
        """Packets from an entry point on, with tags on the pictures that lead it.

        Raises Misbehaved if the demuxer does not find it.
        """
        base = exact(self._stream.time_base)
        starts = [entry.stamp, *([] if entry.decoding_stamp is None else [entry.decoding_stamp])]
        for start in (*starts, *(min(starts) - round(seconds / base) for seconds in _EARLIER_SECONDS)):
            with suppress(av.FFmpegError):
                self._container.seek(start, stream=self._stream)  # which resets the decoder, too
                packets = self._container.demux(self._stream)
                if (first := _packet_of(entry, packets)) is not None:
                    return chain([first], (_tagged(packet, entry) for packet in packets))
        raise Misbehaved("decoding from a keyframe: the demuxer does not find it")


def _packet_of(entry: EntryPoint, packets: Iterator[av.Packet[Any]]) -> av.Packet[Any] | None:
    """The packet of an entry point, if it is among those that come; reads no further than where it should be."""
    for packet in packets:
        if packet.pts == entry.stamp and packet.size == entry.size and packet.is_keyframe:
            return packet
        if not packet.size or (packet.dts is not None and packet.dts > entry.stamp):
            break
    return None


def _tagged(packet: av.Packet[Any], entry: EntryPoint) -> av.Packet[Any]:
    if packet.size and packet.pts is not None and packet.pts < entry.stamp:
        packet.opaque = [_LEADING]  # an object of its own: PyAV tells them apart by their address
    return packet
