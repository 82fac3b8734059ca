"""What a file is, from demuxing it with PyAV: nothing is decoded, so that it takes milliseconds.

It is decoded only where the packets leave it in doubt which frames are shown when (survey.py).

The result holds the true presentation times and the flags: reasons not to trust decord with the file.
"""

from __future__ import annotations

import itertools
import math
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from extractor.video.fingerprints import not_reached, numbered_images
from extractor.video.packets import Packets, header_flags, packet_flags, presentation_times, read_packets
from extractor.video.structure import claimed_bytes, end_of_flash
from extractor.video.survey import Settled, needs_survey, settled_order
from schemas.errors import FailureClass, VideoError
from schemas.records import VideoInfo

__all__ = ["MAX_DURATION_SECONDS", "MAX_FRAMES", "MAX_PIXELS", "Inspection", "inspect_video", "open_video"]

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MAX_PIXELS = 8192 * 8192
MAX_FRAMES = 10_000_000
MAX_DURATION_SECONDS = 360_000.0
"""What a file may claim (8K frames, four days at 30 Hz, a hundred hours) before it is taken for damaged or hostile."""

_REFERRING_CONTAINERS = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})  # files that name other files
_ROTATION = re.compile(r"rotation of (-?\d+(?:\.\d+)?) degrees")
_RIFF_SLACK_BYTES = 16  # writers of AVI disagree on whether padding and the header itself count


@dataclass(frozen=True, slots=True)
class Inspection:
    """What demuxing told.

    times_seconds: (n,) float64, sorted, one a frame. stamps: (n,) int64 presentation stamps that the times were made
    of, None where they are made up. images: files of a folder of images, in order. order: (n,) int64 numbers of the
    packets that the frames come from, only for a file whose order had to be looked at (see survey.py). unshown: numbers
    of its packets whose frames do not count. begins_anew: numbers of packets before which the decoder is drained.
    """

    info: VideoInfo
    times_seconds: Float64Array
    stamps: Int64Array | None = None
    images: tuple[Path, ...] = ()
    order: Int64Array | None = None
    unshown: frozenset[int] = frozenset()
    begins_anew: frozenset[int] = frozenset()


def inspect_video(path: Path | str, *, fps: float | None = None, keep_corrupt: bool = False) -> Inspection:
    """Demux a file, or look at a folder of numbered images that are shown at `fps`.

    Raises VideoError: missing, cannot_open, no_video_stream, too_large, truncated (a file that ends before its header
    says; with keep_corrupt only where nothing is left to open, as in an MP4 that lost the index at its end), corrupt
    (a stream without packets).
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
        cut_off = _cut_off(path)
        if cut_off and not keep_corrupt:
            raise VideoError(FailureClass.TRUNCATED, f"{path} is cut off: {cut_off}")
        with open_video(path) as container:
            return _inspect(path, container, cut_off, keep_corrupt=keep_corrupt)
    except (av.FFmpegError, OSError, ValueError) as error:  # PyAV gives ValueError for a format it cannot handle
        if cut_off:
            raise VideoError(
                FailureClass.TRUNCATED, f"{path} is cut off and its rest does not open: {cut_off}"
            ) from error
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} cannot be opened as a video: {_reason(error)}") from error


def open_video(path: Path) -> av.container.InputContainer:
    """Open a local file with PyAV. A name like `concat:x` or a playlist's address is never followed."""
    return av.open(
        f"file:{path.absolute()}", metadata_errors="replace", container_options={"protocol_whitelist": "file"}
    )


def _inspect(path: Path, container: av.container.InputContainer, cut_off: str, *, keep_corrupt: bool) -> Inspection:
    stream = _video_stream(path, container)
    context = stream.codec_context
    codec = context.codec.canonical_name
    flags = header_flags(container.format.name, codec, context)
    rotation, odd_rotation = _rotation(container, stream.index)
    packets = read_packets(path, container, stream, codec, look_inside=not flags, max_frames=MAX_FRAMES)
    if not packets.stamps:
        raise VideoError(FailureClass.CORRUPT, f"{path} has a video stream, but no packet of it can be read")
    flags += packet_flags(packets, codec, flags)
    end_of_first = end_of_flash(path) if container.format.name == "flv" else None
    if end_of_first and not keep_corrupt:
        raise VideoError(
            FailureClass.CORRUPT,
            f"{path} is several FLV files in one, and nothing behind byte {end_of_first} is read: split or remux it",
        )
    flags += ["unread_rest"] * bool(end_of_first)
    flags += ["odd_rotation"] * odd_rotation + ["cut_off"] * bool(cut_off)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    times, stamps = presentation_times(packets, stream.time_base, rate)
    settled = _settled(path, packets, stream, rate, keep_corrupt=keep_corrupt)
    if settled is not None:
        times, stamps, flags = settled.times_seconds, None, [*flags, *settled.flags]
    last_seconds = float(packets.last[1] * stream.time_base) if None not in packets.stamps and stream.time_base else 0.0
    end = float(times[-1]) + (last_seconds if last_seconds > 0 else float(1 / rate))
    _check_bounds(path, context.width, context.height, len(times), end - float(times[0]))
    info = VideoInfo(
        codec=codec,
        container=container.format.name,
        width=context.width,
        height=context.height,
        rotation=rotation,
        fps=float(rate),
        num_frames=len(times),
        start_seconds=float(times[0]),
        end_seconds=end,
        times_made_up=stamps is None if settled is None else settled.made_up,
        flags=tuple(flags),
        bad_packets=packets.corrupt,
    )
    if settled is None:
        return Inspection(info, times, stamps)
    return Inspection(info, times, None, (), settled.order, settled.unshown, settled.begins_anew)


def _settled(
    path: Path, packets: Packets, stream: av.VideoStream, rate: Fraction, *, keep_corrupt: bool
) -> Settled | None:
    """What decoding the file once says of its order; None where its packets are enough, and nothing is odd.

    Raises VideoError (corrupt) where frames are lost besides, so that nobody can tell which time the others have.
    """
    container, context = stream.container.format.name, stream.codec_context
    codec = context.codec.canonical_name
    if not needs_survey(packets, container, codec, reorders=bool(context.has_b_frames)):
        return None
    settled = settled_order(packets, lambda: open_video(path), container, stream.time_base or Fraction(0), rate)
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


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The stream to decode. Raises VideoError where there is none, or where its header is not to be trusted."""
    if container.format.name in _REFERRING_CONTAINERS:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} is a list of other files ({container.format.name})")
    stream = container.streams.best("video")
    if stream is None:
        raise VideoError(FailureClass.NO_VIDEO_STREAM, f"{path} has no video stream")
    assert isinstance(stream, av.VideoStream)
    context = stream.codec_context
    if context is None or not context.width or not context.height:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path} has a video stream of unknown codec or size")
    duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    if container.format.name == "flv":  # whose clock, where it restarts, FFmpeg takes for one that ran for 50 days
        duration = 0.0
    _check_bounds(path, context.width, context.height, stream.frames, duration)
    return stream


def _rotation(container: av.container.InputContainer, stream_index: int) -> tuple[int, bool]:
    """Counter-clockwise degrees (0, 90, 180, 270) of the stream's display matrix, and whether they had to be rounded.

    PyAV shows the matrix on decoded frames only; without decoding, FFmpeg's own description of the file has it.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description: str = container.dumps_format()  # type: ignore[attr-defined]  # its stub lacks it
    finally:
        av.logging.set_level(level)
    for part in description.split("Stream #")[1:]:
        if re.match(rf"\d+:{stream_index}\D", part):
            found = _ROTATION.search(part)
            degrees = float(found.group(1)) if found else 0.0
            return round(degrees / 90) % 4 * 90, not math.isclose(degrees % 90, 0.0, abs_tol=0.01)
    return 0, False


def _check_bounds(path: Path, width: int, height: int, frames: int, duration_seconds: float) -> None:
    for what, value, limit in (
        ("pixels a frame", width * height, MAX_PIXELS),
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
    return f"it claims {claimed} bytes and has {size}; fetch it anew"


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
            context = container.streams.video[0].codec_context
            codec, width, height = context.codec.canonical_name, context.width, context.height
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{images[0]} is no image: {_reason(error)}") from error
    times = np.arange(len(images), dtype=np.float64) / fps
    _check_bounds(folder, width, height, len(images), float(times[-1]))
    end = len(images) / fps
    info = VideoInfo(codec, "images", width, height, 0, fps, len(images), 0.0, end, True, ("images",))
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
