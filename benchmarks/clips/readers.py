"""Ways to read given frames of a file: this project's, and those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from extractor.video import FrameReader
from schemas.records import FileJob, Item

Frame: TypeAlias = npt.NDArray[np.uint8]
Read: TypeAlias = Callable[[str, npt.NDArray[np.int64], Callable[[Frame], Frame]], Sequence[Frame]]
"""Frames (H, W, 3) of a file by ascending numbers, each passed through a function."""


def ours() -> Read:
    """A reader that remembers what it has read of a file."""
    reader = FrameReader()

    def read(path: str, index: npt.NDArray[np.int64], convert: Callable[[Frame], Frame]) -> Sequence[Frame]:
        return reader.read(FileJob(path, (Item("clip"),)), index, convert)

    return read


def by_decord(path: str, index: npt.NDArray[np.int64], convert: Callable[[Frame], Frame]) -> Sequence[Frame]:
    """decord's own random access, as loaders of other projects use it."""
    import decord

    frames = decord.VideoReader(path, num_threads=1).get_batch(index.tolist()).asnumpy()
    return [convert(frame) for frame in frames]


def by_torchcodec(path: str, index: npt.NDArray[np.int64], convert: Callable[[Frame], Frame]) -> Sequence[Frame]:
    """torchcodec's random access."""
    decoders: Any = __import__("torchcodec.decoders").decoders
    decoder = decoders.VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    return [convert(frame) for frame in decoder.get_frames_at(index.tolist()).data.numpy()]


def torchcodec_is_missing() -> str:
    """Why torchcodec cannot be measured, in one line; empty if it can."""
    try:
        __import__("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return ""
