"""Opening a file with PyAV, and which of its streams is the video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from extractor.video.containers.orientation import IMAGE_CODECS
from schemas.errors import FailureClass, VideoError

ANY_TAGS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Arguments of `av.open` with which tags that are not UTF-8 are no error. From PyAV 19 on they never are."""

_REFERRING_CONTAINERS = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})  # files that name other files
_LATE_CONTAINERS = frozenset({"flv", "mpeg", "mpegts"})  # streams appear as their packets come
_FURTHER = {"probesize": str(64 * 1024 * 1024), "analyzeduration": str(600 * 1_000_000)}  # bytes held; microseconds
_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def open_video(path: Path, *, further: bool = False) -> av.container.InputContainer:
    """Open a local file with PyAV. Never follows a name like `concat:x` or an address in a playlist.

    further: probe up to 64 MiB and ten minutes of the file for its streams, instead of FFmpeg's 5 MB and 5 s.
    """
    container: av.container.InputContainer = av.open(
        f"file:{path.absolute()}",
        container_options={"protocol_whitelist": "file", **(_FURTHER if further else {})},
        **ANY_TAGS,
    )
    return container


def exact(value: Fraction | None) -> Fraction:
    """A rate or ratio that PyAV reports, 0 if the file states none.

    PyAV 18 returns a Fraction or None. PyAV 19 has its own type, whose products are rounded to 32 bits.
    """
    return Fraction(value.numerator, value.denominator) if value else Fraction(0)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, bool]]:
    """An open file, and whether FFmpeg had to read further to find its streams.

    Raises VideoError (cannot_open) if the file only names other files.
    """
    container, further = open_video(path), False
    try:
        if container.format.name in _REFERRING_CONTAINERS:
            raise VideoError(
                FailureClass.CANNOT_OPEN,
                f"{path}: expected a video; got a list of other files ({container.format.name}). "
                "Name those files instead",
            )
        if _may_be_late(container):
            container.close()
            container, further = open_video(path, further=True), True
        yield container, further
    finally:
        container.close()


def video_streams(path: Path, container: av.container.InputContainer) -> list[av.VideoStream]:
    """Video streams, FFmpeg's choice first, then default ones. Leaves out covers and thumbnails marked as such.

    Raises VideoError (no_video_stream) if none is left.
    """
    best = container.streams.best("video")
    streams = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if best is None and not streams:
        raise VideoError(FailureClass.NO_VIDEO_STREAM, f"{path}: expected a video stream; got none. Leave it out")
    if not streams:
        raise only_a_picture(path)
    first = None if best is None else best.index
    default = av.stream.Disposition.default
    return sorted(streams, key=lambda stream: (stream.index != first, not stream.disposition & default))


def is_image(stream: av.VideoStream) -> bool:
    """Whether the frames of a stream are stored as images, as those of covers and of some videos are."""
    context = stream.codec_context
    return context is not None and context.codec.canonical_name in IMAGE_CODECS


def only_a_picture(path: Path) -> VideoError:
    """The error for a file whose only video stream is a picture."""
    return VideoError(
        FailureClass.NO_VIDEO_STREAM, f"{path}: expected a video stream; got only a cover picture. Leave it out"
    )


def _may_be_late(container: av.container.InputContainer) -> bool:
    best = container.streams.best("video")
    if best is None:
        return container.format.name in _LATE_CONTAINERS
    assert isinstance(best, av.VideoStream)
    context = best.codec_context
    return context is None or not context.width or not context.height
