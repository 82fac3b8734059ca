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

__all__ = [
    "ANY_TAGS",
    "COVER_PICTURE",
    "LATE_VIDEO",
    "exact",
    "is_image",
    "only_a_picture",
    "open_video",
    "opened",
    "video_streams",
]

COVER_PICTURE, LATE_VIDEO = "cover_picture", "late_video"
"""Flags: another stream than FFmpeg's choice was taken; FFmpeg had to read on to find the video."""

ANY_TAGS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Arguments of `av.open` with which tags that are not UTF-8 are no error: as they never are from PyAV 19 on."""

_REFERRING_CONTAINERS = frozenset({"hls", "dash", "concat", "sdp", "rtsp", "imf"})  # files that name other files
_LATE_CONTAINERS = frozenset({"flv", "mpeg", "mpegts"})  # streams show up as their packets come
_FURTHER = {"probesize": str(64 * 1024 * 1024), "analyzeduration": str(600 * 1_000_000)}  # bytes held; microseconds
_PICTURES = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def open_video(path: Path, *, further: bool = False) -> av.container.InputContainer:
    """Open a local file with PyAV. A name like `concat:x` or a playlist's address is never followed.

    further: read up to 64 MiB and ten minutes of the file to find out what its streams are, not FFmpeg's 5 MB and 5 s.
    """
    container: av.container.InputContainer = av.open(
        f"file:{path.absolute()}",
        container_options={"protocol_whitelist": "file", **(_FURTHER if further else {})},
        **ANY_TAGS,
    )
    return container


def exact(value: Fraction | None) -> Fraction:
    """A rate or ratio that PyAV states, 0 where the file has none.

    PyAV 18 returns a Fraction or None. PyAV 19 has a type of its own, whose products are rounded to 32 bits.
    """
    return Fraction(value.numerator, value.denominator) if value else Fraction(0)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, bool]]:
    """An open file, and whether its streams only showed when FFmpeg read on.

    Raises VideoError (cannot_open) where it names other files.
    """
    container, further = open_video(path), False
    try:
        if container.format.name in _REFERRING_CONTAINERS:
            raise VideoError(FailureClass.CANNOT_OPEN, f"{path} is a list of other files ({container.format.name})")
        if _may_be_late(container):
            container.close()
            container, further = open_video(path, further=True), True
        yield container, further
    finally:
        container.close()


def video_streams(path: Path, container: av.container.InputContainer) -> list[av.VideoStream]:
    """Video streams, FFmpeg's choice first; covers and thumbnails that are marked as such are left out.

    Raises VideoError (no_video_stream) where none is left.
    """
    best = container.streams.best("video")
    streams = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if streams:
        return sorted(streams, key=lambda stream: (not _same(stream, best), not _is_default(stream)))
    if best is None:
        raise VideoError(FailureClass.NO_VIDEO_STREAM, f"{path} has no video stream")
    raise only_a_picture(path)


def is_image(stream: av.VideoStream) -> bool:
    """Whether the frames of a stream are stored as images, as covers are, and some videos."""
    context = stream.codec_context
    return context is not None and context.codec.canonical_name in IMAGE_CODECS


def only_a_picture(path: Path) -> VideoError:
    """The error for a file whose only video stream is a picture."""
    return VideoError(FailureClass.NO_VIDEO_STREAM, f"{path} has a cover picture and no video: leave it out")


def _may_be_late(container: av.container.InputContainer) -> bool:
    best = container.streams.best("video")
    if best is None:
        return container.format.name in _LATE_CONTAINERS
    assert isinstance(best, av.VideoStream)
    context = best.codec_context
    return context is None or not context.width or not context.height


def _same(stream: av.VideoStream, other: av.stream.Stream | None) -> bool:
    return other is not None and stream.index == other.index


def _is_default(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)
