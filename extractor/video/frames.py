"""Sampled frames of one video, in memory, decoded as an extraction decodes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from extractor.video import decode
from schemas.config import ExtractionConfig, Resize, Sampling
from schemas.errors import FailureClass, VideoError
from schemas.records import Failure, FileJob, FrameChunk, Header, Item, PixelGrid, Restart

_MOST_BYTES = 2**31  # held at a time: 14,000 frames of 224 x 224


@dataclass(frozen=True, slots=True)
class SampledFrames:
    """`pixels` (T, size, size, 3) uint8 RGB, `time_seconds` (T,) on the container's clock, and their pixel grid."""

    pixels: npt.NDArray[np.uint8]
    time_seconds: npt.NDArray[np.float64]
    grid: PixelGrid


def read_frames(
    job: FileJob,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    rate_hz: float = 10.0,
    size: int = 224,
    resize: Resize = Resize.STRETCH,
) -> SampledFrames:
    """Frames of a file, or of its segment from start to end, decoded in this process. The job's items are ignored.

    Raises VideoError where the file cannot be decoded, or the segment is too short or too long for memory.
    """
    item = Item(job.items[0].video_id, start_seconds, end_seconds)
    config = ExtractionConfig(
        model="none", weights="none", sampling=Sampling.DENSE, rate_hz=rate_hz, size=size, resize=resize
    )
    header: Header | None = None
    chunks: list[FrameChunk] = []
    for event in decode(replace(job, items=(item,)), config):
        match event:
            case Header():
                header = event
                _check(event, size)
            case FrameChunk():
                chunks.append(event)
            case Restart():
                chunks.clear()
    assert header is not None and not isinstance(header.plans[0], Failure)  # or _check had raised
    return SampledFrames(np.concatenate([chunk.frames for chunk in chunks]), header.plans[0].time_seconds, header.grid)


def _check(header: Header, size: int) -> None:
    (plan,) = header.plans
    if isinstance(plan, Failure):
        raise VideoError(plan.failure, plan.message)
    needed = len(plan.index) * size * size * 3
    if needed > _MOST_BYTES:
        raise VideoError(
            FailureClass.TOO_LARGE,
            f"{plan.video_id}: expected at most {_MOST_BYTES} bytes of frames; got {needed} for {len(plan.index)} "
            "frames. Ask for a shorter segment",
        )
