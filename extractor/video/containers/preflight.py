"""What a file is, from demuxing it with PyAV: nothing is decoded, so this takes milliseconds.

The file is decoded only if its packets leave in doubt which frames are shown when (survey.py). The result contains the
true presentation times and the flags: reasons not to trust decord with the file.
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

from extractor.video.bitstreams.entry_points import EntryPoint
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

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MAX_PIXELS = 8192 * 8192
MAX_ELONGATION = 256.0
MAX_FRAMES = 10_000_000
MAX_DURATION_SECONDS = 360_000.0
"""What a file may claim (8K frames, their shape, four days at 30 Hz, a hundred hours) before it counts as damaged or
hostile. The shape is bounded since cropping scales the short side to the network's input, and the long one with it."""

_MOVING_IMAGES = 5  # images that make a video; with fewer, another stream is the video
_MOST_STREAMS = 8  # tried in turn
_RIFF_SLACK_BYTES = 16  # AVI writers disagree on whether padding and the header itself count


@dataclass(frozen=True, slots=True)
class Inspection:
    """What demuxing says about a file or a folder of images.

    times_seconds: (n,) float64, sorted, one per frame. stamps: (n,) int64, the presentation stamps behind the times;
    None if these are made up. images: files of a folder of images, in order. stream_index: the video's stream in the
    file. probed_further: that stream appears only if the file is opened with `further`. order: (n,) int64, the ordinal
    of each frame's packet, only for a surveyed file (see survey.py). unshown: ordinals of its packets whose frames do
    not count. drained_before: ordinals of packets before which the decoder is drained. entry_points: keyframes at which
    decoding may begin, in file order; none for a surveyed file.
    """

    info: VideoInfo
    times_seconds: Float64Array
    stamps: Int64Array | None = None
    images: tuple[Path, ...] = ()
    stream_index: int = 0
    probed_further: bool = False
    order: Int64Array | None = None
    unshown: frozenset[int] = frozenset()
    drained_before: frozenset[int] = frozenset()
    entry_points: tuple[EntryPoint, ...] = ()


def inspect_video(path: Path | str, *, fps: float | None = None, keep_corrupt: bool = False) -> Inspection:
    """Demux a file, or inspect a folder of numbered images that are shown at `fps`.

    Raises VideoError: missing, cannot_open (also if it is encrypted), no_video_stream, too_large, truncated (a file
    that ends before its header or index says; with keep_corrupt only if nothing is left to open, as in an MP4 that lost
    the index at its end), corrupt (a stream without packets, several FLV files in one, a folder that lacks images).
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise not_reached(path, error) from error
    if stat.S_ISDIR(mode):
        return _inspect_images(path, fps)
    if not stat.S_ISREG(mode):
        raise VideoError(
            FailureClass.CANNOT_OPEN, f"{path}: expected a file or a folder of images; got a special file. Leave it out"
        )
    cut_off = ""
    try:
        layout = mp4_layout(path)
        cut_off = layout.missing if layout.is_mp4 else _cut_off(path)
        if cut_off and not keep_corrupt:
            raise VideoError(FailureClass.TRUNCATED, f"{path} is cut off: {cut_off}. Fetch it again")
        if not layout.is_mp4 and has_encrypted_video(path):
            raise _encrypted(path)
        end_of_first = end_of_flash(path)
        if end_of_first and not keep_corrupt:
            raise VideoError(
                FailureClass.CORRUPT,
                f"{path}: expected one FLV file; got several joined, of which FFmpeg reads only the first "
                f"{end_of_first} bytes. Split it",
            )
        flags = ("cut_off",) * bool(cut_off) + ("unread_rest",) * bool(end_of_first or layout.joined)
        return _inspect_file(path, layout.encrypted, flags, keep_corrupt)
    except (av.FFmpegError, OSError, ValueError) as error:  # PyAV raises ValueError for a format it cannot handle
        if cut_off:
            raise VideoError(
                FailureClass.TRUNCATED, f"{path} is cut off and its rest does not open: {cut_off}. Fetch it again"
            ) from error
        raise VideoError(
            FailureClass.CANNOT_OPEN,
            f"{path} cannot be opened as a video ({_reason(error)}). Fetch it again, or leave it out",
        ) from error


def _inspect_file(path: Path, encrypted: frozenset[int], flags: tuple[str, ...], keep_corrupt: bool) -> Inspection:
    """Inspect the first video stream that has frames: a cover picture may come before it."""
    number, count, has_audio = 0, 1, False
    single: Inspection | None = None
    unreadable: VideoError | None = None
    while number < count:
        with opened(path) as (container, further):  # reopened for each stream: demuxing goes forward only
            streams = video_streams(path, container)
            count, has_audio = min(len(streams), _MOST_STREAMS), bool(container.streams.audio)
            try:
                found = _inspect_stream(path, container, streams[number], encrypted, further, keep_corrupt)
            except VideoError as error:
                if not is_image(streams[number]) or error.failure is FailureClass.TOO_LARGE:
                    raise  # another stream may replace a picture, but not a video
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
    flags = ["late_video"] * further + ["cover_picture"] * (best is None or best.index != stream.index)
    flags += header_flags(container.format.name, codec, context)
    packets = read_packets(path, container, stream, codec, look_inside=not flags, max_frames=MAX_FRAMES)
    if packets.first is None or not packets.stamps:
        raise VideoError(
            FailureClass.CORRUPT,
            f"{path}: expected a video stream with packets; got one with none that can be read. Fetch it again",
        )
    if packets.first.has_sidedata("encryption_info"):
        raise _encrypted(path)
    flags += packet_flags(packets, flags)
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
        return replace(found, entry_points=packets.entry_points)
    return replace(found, order=settled.order, unshown=settled.unshown, drained_before=settled.drained_before)


def _check_header(path: Path, stream: av.VideoStream, encrypted: frozenset[int]) -> None:
    """Raises VideoError if the header of a stream says that it cannot be decoded, or claims too much."""
    if stream.id in encrypted:
        raise _encrypted(path)
    context = stream.codec_context
    if context is None or not context.width or not context.height:
        raise VideoError(
            FailureClass.CANNOT_OPEN,
            f"{path}: expected a video stream of known codec and size; got an unknown one. Convert it, or leave it out",
        )
    duration = float(stream.duration * exact(stream.time_base)) if stream.duration else 0.0
    # FFmpeg mistakes a restart of an FLV clock for a wrap after 50 days.
    flash = stream.container.format.name == "flv"
    _check_bounds(path, context.width, context.height, stream.frames, 0.0 if flash else duration)


def _encrypted(path: Path) -> VideoError:
    return VideoError(FailureClass.CANNOT_OPEN, f"{path} is encrypted. Decrypt it, or leave it out")


def _check_bounds(
    path: Path, width: int, height: int, frames: int, duration_seconds: float, pixel_aspect: float = 1.0
) -> None:
    shown = width * pixel_aspect / height if width and height else 1.0
    for what, value, limit in (
        ("pixels per frame", width * height, MAX_PIXELS),
        ("times as long as wide", max(shown, 1 / shown), MAX_ELONGATION),
        ("frames", frames, MAX_FRAMES),
        ("seconds", duration_seconds, MAX_DURATION_SECONDS),
    ):
        if value > limit:
            raise VideoError(
                FailureClass.TOO_LARGE,
                f"{path}: expected at most {limit:.0f} {what}; got {value:.0f}. Convert or split it, or leave it out",
            )


def _cut_off(path: Path) -> str:
    """Why the end of the file must be missing by its own header; '' if it is not."""
    claimed, size = claimed_bytes(path), path.stat().st_size
    if claimed is None or claimed <= size + _RIFF_SLACK_BYTES:
        return ""
    return f"expected {claimed} bytes; got {size}"


def _inspect_images(folder: Path, fps: float | None) -> Inspection:
    if not fps:
        raise VideoError(
            FailureClass.CANNOT_OPEN,
            f"{folder}: expected the fps of a folder of images; got none. State it in a table, or as fps in Python",
        )
    try:
        images = numbered_images(folder)
        _require_consecutive(folder, images)
    except OSError as error:
        raise not_reached(folder, error) from error
    if not images:
        raise VideoError(
            FailureClass.NO_VIDEO_STREAM,
            f"{folder}: expected images whose names end in a number; got none. Rename them, or leave the folder out",
        )
    try:
        with open_video(images[0]) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            codec, width, height = context.codec.canonical_name, context.width, context.height
            _check_bounds(folder, width, height, len(images), 0.0)
            geometry = read_geometry(container, stream, next(container.demux(stream)))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(
            FailureClass.CANNOT_OPEN, f"{images[0]} cannot be opened as an image ({_reason(error)}). Restore it"
        ) from error
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
    """Raises VideoError (corrupt) if an image is missing, which would silently shift the time of every later one."""
    numbers = [int(re.sub(r".*\D", "", image.stem)) for image in images]
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            raise VideoError(
                FailureClass.CORRUPT, f"{folder} lacks the images between number {before} and {after}. Restore them"
            )
