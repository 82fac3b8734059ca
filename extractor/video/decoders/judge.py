"""PyAV's decoding, packet by packet: every message that FFmpeg writes meanwhile is judged, and frames become RGB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from extractor.video.containers.survey import drained, ordinal_of
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoders.damage import means_damage, means_truncation
from extractor.video.transforms import orient
from schemas.errors import FailureClass, VideoError

Uint8Array = npt.NDArray[np.uint8]


class Judge:
    """Reads FFmpeg's messages while PyAV works; raises at the first sign of damage, or counts it where it is kept."""

    def __init__(self, request: DecodingRequest, decoder_names: set[str]) -> None:
        self.request = request
        self.names = decoder_names
        self.complaints = 0
        self._place: int | None = None  # of the packet being decoded: see `_place_of`
        self._damage_place: int | None = None  # of the last damaged packet that has one

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[tuple[int, str, str]]]:
        """Run one step of FFmpeg; its messages of level ERROR are judged when the step is done."""
        level, skips_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)
        # Else PyAV suppresses a message equal to the last one, even one of another file or of a packet not judged.
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture() as messages:
                yield messages
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips_repeated)
        for severity, name, message in messages:
            if severity <= av.logging.ERROR and means_damage(message, from_decoder=name in self.names):
                self.complain(message.strip())

    def complain(self, what: str) -> None:
        self.complaints += 1
        if self._place is not None:
            self._damage_place = max(self._place, self._damage_place or self._place)
        if not self.request.keep_corrupt:
            failure = FailureClass.TRUNCATED if means_truncation(what) else FailureClass.CORRUPT
            raise VideoError(
                failure, f"{self.request.path} is damaged: {what.rstrip('.')}. Fetch it again, or use --keep-corrupt"
            )

    def hears(self, packet: av.Packet[Any]) -> bool:
        """Note the packet that is decoded next. False: neither its frames nor its messages count."""
        self._place = self._place_of(packet)
        return ordinal_of(packet) not in self.request.inspection.unshown

    def _place_of(self, carrier: av.Packet[Any] | av.VideoFrame) -> int | None:
        """Its place in the file: the stamp, or the packet's number where stamps cannot be trusted."""
        return carrier.pts if self.request.inspection.order is None else ordinal_of(carrier)

    def doubts(self, frame: av.VideoFrame) -> bool:
        """Whether a frame may show damage: it is marked corrupt, or no keyframe has come since the last complaint."""
        if frame.is_corrupt or not self.complaints:
            return bool(frame.is_corrupt)
        damaged, shown = self._damage_place, self._place_of(frame)
        if frame.key_frame and damaged is not None and shown is not None and shown > damaged:
            self.complaints, self._damage_place = 0, None
            return False
        return True


def decoded_frames(
    packets: Iterator[av.Packet[Any]], context: av.VideoCodecContext, judge: Judge
) -> Iterator[av.VideoFrame]:
    """Frames in output order. An error in a packet fails the file, or loses that packet where damage is kept."""
    while True:
        frames: list[av.VideoFrame] = []
        error: Exception | None = None
        hears = True
        with judge.listening() as messages:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                hears = judge.hears(packet)
                if ordinal_of(packet) in judge.request.inspection.drained_before:
                    frames = drained(context)
                frames += packet.decode()
            except av.FFmpegError as failure:
                error = failure
            if not hears:
                messages.clear()
        unshown = judge.request.inspection.unshown
        yield from (frame for frame in frames if ordinal_of(frame) not in unshown)
        if isinstance(error, av.EOFError):
            return
        if error is not None and hears:
            judge.request.tally.bad_packets += 1
            judge.complain(getattr(error, "strerror", None) or str(error))


def watched(frames: Iterator[av.VideoFrame], request: DecodingRequest) -> Iterator[av.VideoFrame]:
    """The same frames. Flags a frame whose rotation differs from the file's, since all are rotated alike."""
    info = request.inspection.info
    of_file = (info.rotation + 180 * info.mirrored) % 360  # FFmpeg's angle ignores flips
    for frame in frames:
        if frame.rotation and frame.rotation % 360 != of_file and "odd_rotation" not in info.flags:
            request.tally.flags.add("orientation_changes")
        yield frame


class Converter:
    """Turns frames into (H, W, 3) uint8 RGB, upright. One serves a file, since it sets up FFmpeg's scaler once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, rotation: int, mirrored: bool) -> Uint8Array:
        converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        return orient(converted.to_ndarray().astype(np.uint8, copy=False), rotation, mirrored)
