"""Decoding with PyAV: forward, every frame, and judging: a frame that is not surely right makes the file fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from extractor.video.backends import NativeFrame, NativeFrames, Request, distribution_version
from extractor.video.damage import means_damage, means_truncation
from extractor.video.orientation import EXIF_BYTES, Orientation, orientation_of
from extractor.video.streams import is_image, open_video
from extractor.video.transforms import orient
from schemas.errors import FailureClass, VideoError
from schemas.records import VideoInfo

__all__ = ["pyav_frames", "pyav_image_frames", "pyav_name_and_version"]

Uint8Array = npt.NDArray[np.uint8]


def pyav_name_and_version() -> tuple[str, str]:
    """("av", its version)."""
    return distribution_version("av")


def pyav_frames(request: Request) -> NativeFrames:
    """Sampled frames of a file, decoded forward.

    Raises VideoError (corrupt or truncated) on a frame marked corrupt, an error, a message that means damage, or
    another number of frames than stamps. With keep_corrupt it goes on instead: see `_Keeper`.
    """
    with open_video(request.path, further=request.inspection.probed_further) as container:
        stream = container.streams[request.inspection.stream_index]
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1  # parallel by processes: threads cost more CPU than they save
        judge = _Judge(request, {stream.codec_context.name, stream.codec_context.codec.canonical_name})
        frames = _watched(_decoded(container.demux(stream), judge), request)
        yield from (_keep if request.keep_corrupt else _strict)(request, frames, judge)


def pyav_image_frames(request: Request) -> NativeFrames:
    """Sampled images of a folder, one file a frame. A damaged one fails the folder, or is kept on request."""
    images = request.inspection.images
    last: Uint8Array | None = None
    for index in request.index.tolist():
        judge = _Judge(request, set())
        pixels: Uint8Array | None = None
        try:
            with open_video(images[index]) as container:
                stream = container.streams.video[0]
                judge.names = {stream.codec_context.name}
                exif = _ends_of(images[index]) if is_image(stream) else b""
                for frame in _decoded(container.demux(stream), judge):
                    found = orientation_of(frame, exif)
                    pixels = orient(_rgb(frame), found.rotation, found.mirrored)
                    _note_change(request, found)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            judge.complain(f"{images[index].name}: {error}")
        if pixels is None:
            judge.complain(f"{images[index].name} holds no image")
            pixels = last if last is not None else _black(request)
        yield NativeFrame(index, pixels, not judge.complaints)
        request.tally.bad_frames += bool(judge.complaints)
        last = pixels


class _Judge:
    """Listens to FFmpeg while PyAV works and raises at the first sign of damage, or counts where it is to be kept."""

    def __init__(self, request: Request, decoder_names: set[str]) -> None:
        self.request = request
        self.names = decoder_names
        self.complaints = 0
        self.stamp: int | None = None  # of the packet that is being decoded
        self._damage_stamp: int | None = None  # of the last packet that gave reason to complain, where it has one

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Run one step of FFmpeg; its messages of the level ERROR are judged when the step is done."""
        level = av.logging.get_level()
        repeated = av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)  # or PyAV keeps back a message that the last file, or image, gave as well
        try:
            with av.logging.Capture() as messages:
                yield
        finally:
            av.logging.set_skip_repeated(repeated)
            av.logging.set_level(level)
        for severity, name, message in messages:
            if severity <= av.logging.ERROR and means_damage(message, from_decoder=name in self.names):
                self.complain(message.strip())

    def complain(self, what: str) -> None:
        self.complaints += 1
        if self.stamp is not None:
            self._damage_stamp = max(self.stamp, self._damage_stamp or self.stamp)
        if not self.request.keep_corrupt:
            failure = FailureClass.TRUNCATED if means_truncation(what) else FailureClass.CORRUPT
            raise VideoError(failure, f"{self.request.path} is damaged: {what}")

    def doubts(self, frame: av.VideoFrame) -> bool:
        """Whether a frame may show damage: it is marked, or no keyframe has come since the last complaint."""
        if frame.is_corrupt or not self.complaints:
            return bool(frame.is_corrupt)
        damaged, shown = self._damage_stamp, frame.pts
        if frame.key_frame and damaged is not None and shown is not None and shown > damaged:
            self.complaints, self._damage_stamp = 0, None
            return False
        return True


def _decoded(packets: Iterator[av.Packet[Any]], judge: _Judge) -> Iterator[av.VideoFrame]:
    """Frames in output order. An error in one packet ends the file, or costs that packet where damage is kept."""
    while True:
        frames: list[av.VideoFrame] = []
        error: Exception | None = None
        with judge.listening():
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                judge.stamp = packet.pts
                frames = packet.decode()
            except av.FFmpegError as failure:
                error = failure
        yield from frames
        if isinstance(error, av.EOFError):
            return
        if error is not None:
            judge.request.tally.bad_packets += 1
            judge.complain(getattr(error, "strerror", None) or str(error))


def _watched(frames: Iterator[av.VideoFrame], request: Request) -> Iterator[av.VideoFrame]:
    """The same frames; one that asks to be turned otherwise than the file is noted, as all are turned alike."""
    info = request.inspection.info
    of_file = (info.rotation + 180 * info.mirrored) % 360  # the angle that FFmpeg names takes no notice of flips
    for frame in frames:
        if frame.rotation and frame.rotation % 360 != of_file and "odd_rotation" not in info.flags:
            request.tally.flags.add("orientation_changes")
        yield frame


def _ends_of(image: Path) -> bytes:
    """The start and the end of a file: EXIF stands in one or the other, and the file may be of any size."""
    with image.open("rb") as file:
        start = file.read(EXIF_BYTES)
        file.seek(max(file.seek(0, 2) - EXIF_BYTES, len(start)))
        return start + file.read(EXIF_BYTES)


def _note_change(request: Request, found: Orientation) -> None:
    info = request.inspection.info
    if (found.rotation, found.mirrored) != (info.rotation, info.mirrored):
        request.tally.flags.add("orientation_changes")
    if not found.known:
        request.tally.flags.add("orientation_unread")


def _strict(request: Request, frames: Iterator[av.VideoFrame], judge: _Judge) -> NativeFrames:
    """Frames counted in output order; as many as there are stamps, or the file is damaged."""
    count = request.inspection.info.num_frames
    sampled = set(request.index.tolist())
    last = count if request.to_end else int(request.index[-1])
    number = -1
    for number, frame in enumerate(frames):
        if number >= count:
            judge.complain(f"it gives more frames than the {count} that its packets announce")
        if frame.is_corrupt:
            judge.complain(f"frame {number} is corrupt")
        if number in sampled:
            yield NativeFrame(number, _pixels(frame, request.inspection.info), True)
        if number >= last:
            return
    if number + 1 != count:
        judge.complain(f"it gives {number + 1} frames where its packets announce {count}")


def _keep(request: Request, frames: Iterator[av.VideoFrame], judge: _Judge) -> NativeFrames:
    """Frames of a damaged file, told by their stamps, since counting them would shift all that follow a lost one.

    A sampled frame that is lost is filled with the one before it (the first ones with black). It is marked invalid,
    and so is every frame from a complaint to the next keyframe. Where frames have no stamps of their own (made up, or
    AVI, which stores the order of decoding), they can only be counted, and all from the first complaint on are invalid.
    """
    inspection, tally = request.inspection, request.tally
    stamps = None if inspection.info.container == "avi" else inspection.stamps
    wanted = request.index.tolist()
    cursor, last = 0, _black(request)
    for number, frame in enumerate(frames):
        if cursor == len(wanted) and not request.to_end:
            return
        index = number if stamps is None else _index_of(stamps, frame.pts)
        doubted = judge.doubts(frame) if stamps is not None else bool(judge.complaints or frame.is_corrupt)
        tally.bad_frames += doubted or index is None
        while cursor < len(wanted) and index is not None and wanted[cursor] < index:
            tally.bad_frames += 1
            yield NativeFrame(wanted[cursor], last, False)
            cursor += 1
        if cursor < len(wanted) and wanted[cursor] == index:
            last = _pixels(frame, inspection.info)
            yield NativeFrame(wanted[cursor], last, not doubted)
            cursor += 1
    for lost in wanted[cursor:]:
        tally.bad_frames += 1
        yield NativeFrame(lost, last, False)


def _index_of(stamps: npt.NDArray[np.int64], stamp: int | None) -> int | None:
    """Number of the frame with this stamp; None where it has none of the file's."""
    if stamp is None:
        return None
    index = int(np.searchsorted(stamps, stamp))
    return index if index < len(stamps) and stamps[index] == stamp else None


def _pixels(frame: av.VideoFrame, info: VideoInfo) -> Uint8Array:
    return orient(_rgb(frame), info.rotation, info.mirrored)


def _rgb(frame: av.VideoFrame) -> Uint8Array:
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _black(request: Request) -> Uint8Array:
    width, height = request.inspection.info.displayed_size
    return np.zeros((height, width, 3), np.uint8)
