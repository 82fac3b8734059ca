"""What a file is, from demuxing it with PyAV: nothing is decoded, so that it takes milliseconds.

It is decoded only where the packets leave it in doubt which frames are shown when (survey.py).

The result holds the true presentation times and the flags: reasons not to trust decord with the file.
"""

from __future__ import annotations

import itertools
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from extractor.video.containers.boxes import mp4_layout
from extractor.video.containers.ebml import has_encrypted_video
from extractor.video.containers.geometry import read_geometry
from extractor.video.containers.orientation import IMAGE_CODECS
from extractor.video.containers.packets import (
    header_flags,
    packet_flags,
    presentation_times,
    read_packets,
    slots_in_doubt,
)
from extractor.video.containers.streams import (
    COVER_PICTURE,
    LATE_VIDEO,
    exact,
    is_image,
    only_a_picture,
    open_video,
    opened,
    video_streams,
)
from extractor.video.containers.structure import claimed_bytes, end_of_flash
from extractor.video.containers.survey import survey
from extractor.video.fingerprints import not_reached, numbered_images
from schemas.errors import FailureClass, VideoError
from schemas.records import VideoInfo

__all__ = ["MAX_DURATION_SECONDS", "MAX_ELONGATION", "MAX_FRAMES", "MAX_PIXELS", "Inspection", "inspect_video"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MAX_PIXELS = 8192 * 8192
MAX_ELONGATION = 256.0
MAX_FRAMES = 10_000_000
MAX_DURATION_SECONDS = 360_000.0
"""What a file may claim (8K frames, their shape, four days at 30 Hz, a hundred hours) before it is taken for damaged or
hostile. Cropping scales the short side to the network's input, and the long one with it: hence the bound on shapes."""

_MOVING_IMAGES = 5  # images that make a video; where there are fewer, another stream is the video
_MOST_STREAMS = 8  # that are looked at in turn
_RIFF_SLACK_BYTES = 16  # writers of AVI disagree on whether padding and the header itself count


@dataclass(frozen=True, slots=True)
class Inspection:
    """What demuxing told.

    times_seconds: (n,) float64, sorted, one a frame. stamps: (n,) int64 presentation stamps that the times were made
    of, None where they are made up. images: files of a folder of images, in order. stream_index: the stream of the
    file that is meant. probed_further: it only shows where the file is opened with `further`. order: (n,) int64 numbers
    of the packets that the frames come from, only for a file whose order had to be looked at (see survey.py). unshown:
    numbers of its packets whose frames do not count. begins_anew: numbers of packets before which the decoder is
    drained.
    """

    info: VideoInfo
    times_seconds: Float64Array
    stamps: Int64Array | None = None
    images: tuple[Path, ...] = ()
    stream_index: int = 0
    probed_further: bool = False
    order: Int64Array | None = None
    unshown: frozenset[int] = frozenset()
    begins_anew: frozenset[int] = frozenset()


def inspect_video(path: Path | str, *, fps: float | None = None, keep_corrupt: bool = False) -> Inspection:
    """Demux a file, or look at a folder of numbered images that are shown at `fps`.

    Raises VideoError: missing, cannot_open (also where it is encrypted), no_video_stream, too_large, truncated (a file
    that ends before its header or index says; with keep_corrupt only where nothing is left to open, as in an MP4 that
    lost the index at its end), corrupt (a stream without packets).
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise not_reached(path, error) from error
    if stat.S_ISDIR(mode):
        return _inspect_images(path, fps)
    if not stat.S_ISREG(mode):
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} is neither a file nor a folder of images")
    cut_off = ""
    try:
        layout = mp4_layout(path)
        cut_off = layout.missing if layout.is_mp4 else _cut_off(path)
        if cut_off and not keep_corrupt:
            raise VideoError(FailureClass.TRUNCATED, f"{path} is cut off: {cut_off}; fetch it anew")
        if not layout.is_mp4 and has_encrypted_video(path):
            raise _encrypted(path)
        end_of_first = end_of_flash(path)
        if end_of_first and not keep_corrupt:
            raise VideoError(
                FailureClass.CORRUPT,
                f"{path} is several FLV files in one, of which only the first {end_of_first} bytes are read: split it",
            )
        flags = ("cut_off",) * bool(cut_off) + ("unread_rest",) * bool(end_of_first or layout.joined)
        return _inspect_file(path, layout.encrypted, flags, keep_corrupt)
    except (av.FFmpegError, OSError, ValueError) as error:  # PyAV gives ValueError for a format it cannot handle
        if cut_off:
            raise VideoError(
                FailureClass.TRUNCATED, f"{path} is cut off and its rest does not open: {cut_off}"
            ) from error
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} cannot be opened as a video: {_reason(error)}") from error


def _inspect_file(path: Path, encrypted: frozenset[int], flags: tuple[str, ...], keep_corrupt: bool) -> Inspection:
    """Look at the first video stream that has frames, since a cover picture may stand in front of it."""
    number, count, has_audio = 0, 1, False
    single: Inspection | None = None
    unreadable: VideoError | None = None
    while number < count:
        with opened(path) as (container, further):  # anew for each stream: demuxing goes forward only
            streams = video_streams(path, container)
            count, has_audio = min(len(streams), _MOST_STREAMS), bool(container.streams.audio)
            try:
                found = _inspect_stream(path, container, streams[number], encrypted, further, keep_corrupt)
            except VideoError as error:
                if not is_image(streams[number]) or error.failure is FailureClass.TOO_LARGE:
                    raise  # another stream may stand in for a picture, not for a video
                unreadable = unreadable or error
            else:
                found = replace(found, info=replace(found.info, flags=(*found.info.flags, *flags)))
                if found.info.num_frames >= (_MOVING_IMAGES if is_image(streams[number]) else 2):
                    return found
                single = single or found
        number += 1
    if single is None:
        assert unreadable is not None
        raise unreadable
    if has_audio and single.info.num_frames == 1 and single.info.codec in IMAGE_CODECS:
        raise only_a_picture(path)
    return single


def _inspect_stream(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    encrypted: frozenset[int],
    further: bool,
    keep_corrupt: bool,
) -> Inspection:
    context = stream.codec_context
    _check_header(path, stream, encrypted)
    codec = context.codec.canonical_name
    best = container.streams.best("video")
    flags = [LATE_VIDEO] * further + [COVER_PICTURE] * (best is None or best.index != stream.index)
    flags += header_flags(container.format.name, codec, context)
    packets = read_packets(path, container, stream, codec, look_inside=not flags, max_frames=MAX_FRAMES)
    if packets.first is None or not packets.stamps:
        raise VideoError(FailureClass.CORRUPT, f"{path} has a video stream, but no packet of it can be read")
    if packets.first.has_sidedata("encryption_info"):
        raise _encrypted(path)
    flags += packet_flags(packets, codec, flags)
    geometry = read_geometry(container, stream, packets.first, in_stream=packets.oriented)
    base, rate = exact(stream.time_base), exact(stream.average_rate) or exact(stream.guessed_rate) or Fraction(25)
    times, stamps = presentation_times(packets, base, rate)
    if slots_in_doubt(packets, container.format.name, reorders=bool(context.has_b_frames)):
        stamps, flags = None, [*flags, "uneven_slots"]
    settled = survey(path, packets, stream, rate, further=further, keep_corrupt=keep_corrupt)
    if settled is not None:
        times, stamps, flags = settled.times_seconds, None, [*flags, *settled.flags]
    last_seconds = float(packets.last[1] * base) if None not in packets.stamps else 0.0
    end = float(times[-1]) + (last_seconds if last_seconds > 0 else float(1 / rate))
    _check_bounds(path, context.width, context.height, len(times), end - float(times[0]), geometry.pixel_aspect)
    info = VideoInfo(
        codec=codec,
        container=container.format.name,
        width=context.width,
        height=context.height,
        rotation=geometry.rotation,
        fps=float(rate),
        num_frames=len(times),
        start_seconds=float(times[0]),
        end_seconds=end,
        times_made_up=stamps is None if settled is None else settled.made_up,
        flags=tuple(dict.fromkeys((*flags, *geometry.flags))),
        bad_packets=packets.corrupt,
        pixel_aspect=geometry.pixel_aspect,
        mirrored=geometry.mirrored,
    )
    found = Inspection(info, times, stamps, stream_index=stream.index, probed_further=further)
    if settled is None:
        return found
    return replace(found, order=settled.order, unshown=settled.unshown, begins_anew=settled.begins_anew)


def _check_header(path: Path, stream: av.VideoStream, encrypted: frozenset[int]) -> None:
    """Raises VideoError where the header of a stream says that it cannot be decoded, or is not to be trusted."""
    if stream.id in encrypted:
        raise _encrypted(path)
    context = stream.codec_context
    if context is None or not context.width or not context.height:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} has a video stream of unknown codec or size")
    duration = float(stream.duration * exact(stream.time_base)) if stream.duration else 0.0
    if (
        stream.container.format.name == "flv"
    ):  # whose clock, where it restarts, FFmpeg takes for one that ran for 50 days
        duration = 0.0
    _check_bounds(path, context.width, context.height, stream.frames, duration)


def _encrypted(path: Path) -> VideoError:
    return VideoError(FailureClass.CANNOT_OPEN, f"{path} is encrypted: decrypt it, or leave it out")


def _check_bounds(
    path: Path, width: int, height: int, frames: int, duration_seconds: float, pixel_aspect: float = 1.0
) -> None:
    shown = width * pixel_aspect / height if width and height else 1.0
    for what, value, limit in (
        ("pixels a frame", width * height, MAX_PIXELS),
        ("times as long as wide", max(shown, 1 / shown), MAX_ELONGATION),
        ("frames", frames, MAX_FRAMES),
        ("seconds", duration_seconds, MAX_DURATION_SECONDS),
    ):
        if value > limit:
            raise VideoError(FailureClass.TOO_LARGE, f"{path} claims {value:.0f} {what}, at most {limit:.0f} are taken")


def _cut_off(path: Path) -> str:
    """How much of the file is missing by its own account, '' where nothing is."""
    claimed, size = claimed_bytes(path), path.stat().st_size
    if claimed is None or claimed <= size + _RIFF_SLACK_BYTES:
        return ""
    return f"it claims {claimed} bytes and has {size}"


def _inspect_images(folder: Path, fps: float | None) -> Inspection:
    if not fps:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{folder} is a folder: name it in a table with its fps")
    try:
        images = numbered_images(folder)
        _require_consecutive(folder, images)
    except OSError as error:
        raise not_reached(folder, error) from error
    if not images:
        raise VideoError(FailureClass.NO_VIDEO_STREAM, f"{folder} holds no images whose names end in a number")
    try:
        with open_video(images[0]) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            codec, width, height = context.codec.canonical_name, context.width, context.height
            _check_bounds(folder, width, height, len(images), 0.0)
            geometry = read_geometry(container, stream, next(container.demux(stream)))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{images[0]} is no image: {_reason(error)}") from error
    times = np.arange(len(images), dtype=np.float64) / fps
    _check_bounds(folder, width, height, len(images), float(times[-1]), geometry.pixel_aspect)
    end = len(images) / fps
    info = VideoInfo(
        codec,
        "images",
        width,
        height,
        geometry.rotation,
        fps,
        len(images),
        0.0,
        end,
        True,
        ("images", *geometry.flags),
        pixel_aspect=geometry.pixel_aspect,
        mirrored=geometry.mirrored,
    )
    return Inspection(info, times, None, tuple(images))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _require_consecutive(folder: Path, images: Sequence[Path]) -> None:
    """A missing image would shift the time of every later one without a word."""
    numbers = [int(re.sub(r".*\D", "", image.stem)) for image in images]
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            raise VideoError(
                FailureClass.CORRUPT, f"{folder} lacks the images between number {before} and {after}: restore them"
            )
