"""Decoding with PyAV: forward and every frame; a frame that is not certainly right makes the file fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from extractor.video.containers.orientation import EXIF_BYTES, Orientation, orientation_of
from extractor.video.containers.preflight import Inspection
from extractor.video.containers.streams import is_image, open_video
from extractor.video.containers.survey import drained, ordinal_of, tagged
from extractor.video.decoders.backends import DecodingRequest, NativeFrame, NativeFrames
from extractor.video.decoders.damage import means_damage, means_truncation
from extractor.video.transforms import orient
from schemas.errors import FailureClass, VideoError

Uint8Array = npt.NDArray[np.uint8]


def pyav_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled frames of a file, decoded forward.

    Raises VideoError (corrupt or truncated) on a frame marked corrupt, an error, a message that means damage, or a
    number of frames that differs from the number of stamps. With keep_corrupt it continues instead: see `_keep`.
    """
    with open_video(request.path, further=request.inspection.probed_further) as container:
        stream = container.streams[request.inspection.stream_index]
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1  # files run in parallel: threads would cost more CPU than they save
        judge = _Judge(request, {stream.codec_context.name, stream.codec_context.codec.canonical_name})
        packets = container.demux(stream)
        if request.inspection.order is not None:
            packets = tagged(packets, stream.codec_context)
        frames = _watched(_decoded(packets, stream.codec_context, judge), request)
        yield from (_keep if request.keep_corrupt else _strict)(request, frames, judge)


def pyav_image_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled images of a folder, one file per frame. A damaged image fails the folder, or is kept on request."""
    images = request.inspection.images
    converter = _Converter()
    last: Uint8Array | None = None
    for index in request.index.tolist():
        judge = _Judge(request, set())
        pixels: Uint8Array | None = None
        try:
            with open_video(images[index]) as container:
                stream = container.streams.video[0]
                judge.names = {stream.codec_context.name}
                exif = _ends_of(images[index]) if is_image(stream) else b""
                for frame in _decoded(container.demux(stream), stream.codec_context, judge):
                    found = orientation_of(frame, exif)
                    pixels = converter(frame, found.rotation, found.mirrored)
                    _note_change(request, found)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            judge.complain(f"{images[index].name}: {error}")
        if pixels is None:
            judge.complain(f"{images[index].name} contains no image")
            pixels = last if last is not None else _black(request)
        yield NativeFrame(index, pixels, not judge.complaints)
        request.tally.bad_frames += bool(judge.complaints)
        last = pixels


class _Judge:
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


def _decoded(
    packets: Iterator[av.Packet[Any]], context: av.VideoCodecContext, judge: _Judge
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


def _watched(frames: Iterator[av.VideoFrame], request: DecodingRequest) -> Iterator[av.VideoFrame]:
    """The same frames. Flags a frame whose rotation differs from the file's, since all are rotated alike."""
    info = request.inspection.info
    of_file = (info.rotation + 180 * info.mirrored) % 360  # FFmpeg's angle ignores flips
    for frame in frames:
        if frame.rotation and frame.rotation % 360 != of_file and "odd_rotation" not in info.flags:
            request.tally.flags.add("orientation_changes")
        yield frame


def _ends_of(image: Path) -> bytes:
    """The start and the end of a file: EXIF lies in one or the other, and the file may be of any size."""
    with image.open("rb") as file:
        start = file.read(EXIF_BYTES)
        file.seek(max(file.seek(0, 2) - EXIF_BYTES, len(start)))
        return start + file.read(EXIF_BYTES)


def _note_change(request: DecodingRequest, found: Orientation) -> None:
    info = request.inspection.info
    if (found.rotation, found.mirrored) != (info.rotation, info.mirrored):
        request.tally.flags.add("orientation_changes")
    if not found.known:
        request.tally.flags.add("orientation_unread")


def _strict(request: DecodingRequest, frames: Iterator[av.VideoFrame], judge: _Judge) -> NativeFrames:
    """Frames counted in output order; the file is damaged if there are not as many as stamps."""
    count, order = request.inspection.info.num_frames, request.inspection.order
    info, converter = request.inspection.info, _Converter()
    sampled = set(request.index.tolist())
    last = count if request.to_end else int(request.index[-1])
    number = -1
    for number, frame in enumerate(frames):
        if number >= count:
            judge.complain(f"expected the {count} frames that its packets announce; got more")
        if frame.is_corrupt:
            judge.complain(f"frame {number} is corrupt")
        if order is not None and ordinal_of(frame) != order[number]:
            judge.complain(f"expected frame {number} to be the one of the survey; got another")
        if number in sampled:
            yield NativeFrame(number, converter(frame, info.rotation, info.mirrored), True)
        if number >= last:
            return
    if number + 1 != count:
        judge.complain(f"expected the {count} frames that its packets announce; got {number + 1}")


def _keep(request: DecodingRequest, frames: Iterator[av.VideoFrame], judge: _Judge) -> NativeFrames:
    """Frames of a damaged file, identified by their stamps, since counting would shift all that follow a lost one.

    A sampled frame that is lost is filled with the one before it (the first ones with black) and marked invalid, and so
    is every frame from a complaint to the next keyframe. Frames without stamps of their own (made up, or AVI, which
    stores the decoding order) can only be counted, and all from the first complaint on are invalid. In a surveyed file
    frames are identified by their packets, and a lost one has no place in the order.
    """
    inspection, tally = request.inspection, request.tally
    info, converter = inspection.info, _Converter()
    place_of = _places(inspection)
    wanted = request.index.tolist()
    cursor, last = 0, _black(request)
    for number, frame in enumerate(frames):
        if cursor == len(wanted) and not request.to_end:
            return
        index = number if place_of is None else place_of(frame)
        doubted = judge.doubts(frame) if place_of is not None else bool(judge.complaints or frame.is_corrupt)
        tally.bad_frames += doubted or index is None
        while cursor < len(wanted) and index is not None and wanted[cursor] < index:
            tally.bad_frames += 1
            yield NativeFrame(wanted[cursor], last, False)
            cursor += 1
        if cursor < len(wanted) and wanted[cursor] == index:
            last = converter(frame, info.rotation, info.mirrored)
            yield NativeFrame(wanted[cursor], last, not doubted)
            cursor += 1
    for lost in wanted[cursor:]:
        tally.bad_frames += 1
        yield NativeFrame(lost, last, False)


def _places(inspection: Inspection) -> Callable[[av.VideoFrame], int | None] | None:
    """A function that returns the number of a frame; None where frames can only be counted."""
    stamps, order = inspection.stamps, inspection.order
    if order is not None:
        numbers = {ordinal: number for number, ordinal in enumerate(order.tolist())}
        return lambda frame: numbers.get(ordinal_of(frame))
    if stamps is None or inspection.info.container == "avi":
        return None
    return lambda frame: _index_of(stamps, frame.pts)


def _index_of(stamps: npt.NDArray[np.int64], stamp: int | None) -> int | None:
    """Number of the frame with this stamp; None where no frame of the file has it."""
    if stamp is None:
        return None
    index = int(np.searchsorted(stamps, stamp))
    return index if index < len(stamps) and stamps[index] == stamp else None


class _Converter:
    """Turns decoded frames into (H, W, 3) uint8 RGB, upright; kept for a whole file, since FFmpeg's scaler is set up once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame, rotation: int, mirrored: bool) -> Uint8Array:
        converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        return orient(converted.to_ndarray().astype(np.uint8, copy=False), rotation, mirrored)


def _black(request: DecodingRequest) -> Uint8Array:
    width, height = request.inspection.info.displayed_size
    return np.zeros((height, width, 3), np.uint8)
