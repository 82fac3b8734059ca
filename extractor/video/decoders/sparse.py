"""Decoding H.264 with PyAV without the frames that nobody needs: not sampled, and referred to by no other frame.

The frames that are returned are those of a full decoding. What is left out cannot be checked: damage inside such a
frame goes unseen, and affects no other. So this is done only on request, and never has the last word: at any doubt the
file is decoded in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from extractor.video.containers.preflight import Inspection
from extractor.video.containers.streams import open_video
from extractor.video.decoders.backends import DecodingRequest, Misbehaved, NativeFrame, NativeFrames, index_of
from extractor.video.decoders.h264_headers import FrameHeaders
from extractor.video.decoders.judge import Converter, Judge, decoded_frames, watched
from schemas.errors import VideoError

_HARMLESS_FLAGS = frozenset({"long"})


def leaves_frames_out(inspection: Inspection) -> bool:
    """Whether frames of this file may be left out: H.264 whose packets are told apart by their stamps, without flags.

    Of other codecs MPEG-4 part 2 lost sampled frames, and the rest was not measured.
    """
    info = inspection.info
    return info.codec == "h264" and not set(info.flags) - _HARMLESS_FLAGS and inspection.stamps is not None


def sparse_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled frames of a file for which `leaves_frames_out` is True, decoded forward.

    Raises Misbehaved at any sign of damage that `pyav_frames` knows, and unless exactly the frames come that were not
    left out, in the order of their stamps.
    """
    try:
        with open_video(request.path, further=request.inspection.probed_further) as container:
            stream = container.streams[request.inspection.stream_index]
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.thread_count = 1
            yield from _Pass(request, stream.codec_context).frames(container.demux(stream))
    except VideoError as error:
        raise Misbehaved(f"without the frames that nobody needs: {error.message}") from None


class _Pass:
    """One pass over a file.

    wanted: (n,) bool, which frames are sampled. expected: (n,) bool, which have not been left out. underway: numbers of
    the frames that the decoder holds, by their stamps.
    """

    def __init__(self, request: DecodingRequest, context: av.VideoCodecContext) -> None:
        assert request.inspection.stamps is not None
        self.request, self.context = request, context
        self.stamps = request.inspection.stamps
        self.judge = Judge(request, {context.name, context.codec.canonical_name})
        self.expected = np.ones(len(self.stamps), np.bool_)
        self.wanted = np.zeros(len(self.stamps), np.bool_)
        self.wanted[request.index] = True
        self.headers = FrameHeaders(context.extradata or b"")
        self.underway: dict[int | None, int | None] = {}

    def frames(self, packets: Iterator[av.Packet[Any]]) -> NativeFrames:
        info, converter = self.request.inspection.info, Converter()
        last = len(self.stamps) if self.request.to_end else int(self.request.index[-1])
        following = 0  # the frame behind the last one
        for frame in watched(decoded_frames(self._leaving_out(packets), self.context, self.judge), self.request):
            number = self.underway.pop(frame.pts, None)
            if frame.is_corrupt or number is None or number != self._next_expected(following):
                self.judge.complain(f"expected the frame behind frame {following - 1}; got one of stamp {frame.pts}")
                return
            if self.wanted[number]:
                yield NativeFrame(number, converter(frame, info.rotation, info.mirrored), True)
            if number >= last:
                return
            following = number + 1
        if self._next_expected(following) is not None:
            self.judge.complain(f"expected {len(self.stamps)} frames; got none behind frame {following - 1}")

    def _next_expected(self, number: int) -> int | None:
        """The first frame from `number` on that has not been left out."""
        while number < len(self.expected) and not self.expected[number]:
            number += 1
        return number if number < len(self.expected) else None

    def _leaving_out(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The same packets. The decoder leaves out the frame of each that is not needed (AVDISCARD_NONREF)."""
        left_out: int | None = None  # number in the header of the frame before this one, if that was left out
        for packet in packets:
            number = index_of(self.stamps, packet.pts)
            unwanted = number is not None and not self.wanted[number]
            header = self.headers.read(bytes(packet)) if unwanted or left_out is not None else None
            if left_out is not None and packet.size and (header is None or not header.follows(left_out)):
                self.judge.complain("a frame that was left out says that no other refers to it; the next denies it")
            left_out = None
            if unwanted and header is not None and header.unreferenced:
                self.expected[number], left_out = False, header.number
                self.context.skip_frame = "NONREF"
            else:
                self.underway[packet.pts] = number
                self.context.skip_frame = "DEFAULT"
            yield packet
