"""Writing videos for demonstrations and tests: frames in, one file out. Extraction never encodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_FALLBACK = "mpeg4"  # part of every FFmpeg; libx264 is missing where FFmpeg was built without GPL parts


def available_codec(wanted: str = "libx264") -> str:
    """`wanted` if this build of FFmpeg can encode with it, else MPEG-4 part 2."""
    try:
        av.Codec(wanted, "w")
    except av.codec.codec.UnknownCodecError:
        return _FALLBACK
    return wanted


def encode_video(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: int | Fraction,
    codec: str = "libx264",
    crf: int = 20,
    keyframe_every: int = 50,
) -> int:
    """Encode RGB frames (H, W, 3), uint8, H and W even, to `path`; the suffix selects the container.

    Returns the number of frames. `crf` is the quality of H.264 (18 is near lossless, 28 coarse); the fallback codec
    gets a bit rate of about the same quality. Encodes in one thread, so that equal frames yield equal bytes. The file
    appears under its name only when it is complete. Raises ValueError for no frames, or for unsuitable or unequal ones.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise ValueError(f"{path}: expected at least one frame; got none. Pass frames to encode")
    if first.ndim != 3 or first.shape[2] != 3 or first.shape[0] % 2 or first.shape[1] % 2:
        raise ValueError(f"{path}: expected frames (H, W, 3) with even H and W; got {first.shape}. Crop or pad them")
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        with av.open(str(partial), "w") as container:
            name = available_codec(codec)
            stream: Any = container.add_stream(name, rate=Fraction(fps))
            _configure(stream, name, first.shape, crf, keyframe_every, float(fps))
            count = _encode(container, stream, chain((first,), source), first.shape, path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _configure(
    stream: VideoStream, codec: str, shape: tuple[int, ...], crf: int, keyframe_every: int, fps: float
) -> None:
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = keyframe_every
    if codec == _FALLBACK:
        stream.bit_rate = int(0.25 * shape[0] * shape[1] * fps)
    else:
        stream.options = {"crf": str(crf), "preset": "veryfast"}


def _encode(
    container: Any, stream: VideoStream, frames: Iterator[NDArray[np.uint8]], shape: tuple[int, ...], path: Path
) -> int:
    count = 0
    for count, frame in enumerate(frames, start=1):
        if frame.shape != shape or frame.dtype != np.uint8:
            raise ValueError(
                f"{path}: expected uint8 frames {shape}; frame {count - 1} is {frame.dtype} {frame.shape}. "
                "Convert all frames alike"
            )
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode(None))
    return count
