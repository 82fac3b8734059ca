"""Decoding with PyAV: forward and every frame; a frame that is not certainly right makes the file fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from extractor.video.containers.orientation import EXIF_BYTES, Orientation, orientation_of
from extractor.video.containers.preflight import Inspection
from extractor.video.containers.streams import is_image, open_video
from extractor.video.containers.survey import ordinal_of, tagged
from extractor.video.decoders.backends import DecodingRequest, NativeFrame, NativeFrames, index_of
from extractor.video.decoders.judge import Converter, Judge, decoded_frames, watched

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
        judge = Judge(request, {stream.codec_context.name, stream.codec_context.codec.canonical_name})
        packets = container.demux(stream)
        if request.inspection.order is not None:
            packets = tagged(packets, stream.codec_context)
        frames = watched(decoded_frames(packets, stream.codec_context, judge), request)
        yield from (_keep if request.keep_corrupt else _strict)(request, frames, judge)


def pyav_image_frames(request: DecodingRequest) -> NativeFrames:
    """Sampled images of a folder, one file per frame. A damaged image fails the folder, or is kept on request."""
    images = request.inspection.images
    converter = Converter()
    last: Uint8Array | None = None
    for index in request.index.tolist():
        judge = Judge(request, set())
        pixels: Uint8Array | None = None
        try:
            with open_video(images[index]) as container:
                stream = container.streams.video[0]
                judge.names = {stream.codec_context.name}
                exif = _ends_of(images[index]) if is_image(stream) else b""
                for frame in decoded_frames(container.demux(stream), stream.codec_context, judge):
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


def _strict(request: DecodingRequest, frames: Iterator[av.VideoFrame], judge: Judge) -> NativeFrames:
    """Frames counted in output order; the file is damaged if there are not as many as stamps.

    A frame that the codec dropped silently is noticed at the next one, whose stamp or packet is that of a later place.
    A frame without a known stamp has its place by counting.
    """
    count, order = request.inspection.info.num_frames, request.inspection.order
    info, converter, place_of = request.inspection.info, Converter(), _places(request.inspection)
    sampled = set(request.index.tolist())
    last = count if request.to_end else int(request.index[-1])
    number = -1
    for number, frame in enumerate(frames):
        if number >= count:
            judge.complain(f"expected the {count} frames that its packets announce; got more")
        if frame.is_corrupt:
            judge.complain(f"frame {number} is corrupt")
        place = number if place_of is None else place_of(frame)
        if place != number and (place is not None or order is not None):
            judge.complain(f"expected frame {number}; got {'another' if place is None else f'frame {place}'}")
        if number in sampled:
            yield NativeFrame(number, converter(frame, info.rotation, info.mirrored), True)
        if number >= last:
            return
    if number + 1 != count:
        judge.complain(f"expected the {count} frames that its packets announce; got {number + 1}")


def _keep(request: DecodingRequest, frames: Iterator[av.VideoFrame], judge: Judge) -> NativeFrames:
    """Frames of a damaged file, identified by their stamps, since counting would shift all that follow a lost one.

    A sampled frame that is lost is filled with the one before it (the first ones with black) and marked invalid, and so
    is every frame from a complaint to the next keyframe. Frames without stamps of their own (made up, or AVI, which
    stores the decoding order) can only be counted, and all from the first complaint on are invalid. In a surveyed file
    frames are identified by their packets, and a lost one has no place in the order.
    """
    inspection, tally = request.inspection, request.tally
    info, converter = inspection.info, Converter()
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
    return lambda frame: index_of(stamps, frame.pts)


def _black(request: DecodingRequest) -> Uint8Array:
    width, height = request.inspection.info.displayed_size
    return np.zeros((height, width, 3), np.uint8)
