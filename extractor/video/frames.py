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


def frames_at(
    job: FileJob, config: ExtractionConfig, time_seconds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Of the frames that an extraction samples, those nearest to times (T,) on the container's clock.

    config: that of the extraction, with the `size` of the frames wanted. Returns the frames (T, size, size, 3) uint8
    RGB and their times (T,). The file is decoded to its end; no other frames are kept. Raises VideoError where it
    cannot be decoded or lacks the job's only item.
    """
    (item,) = job.items
    found = np.zeros((len(time_seconds), config.size, config.size, 3), np.uint8)
    wanted, times = np.zeros(0, np.int64), np.zeros(0)
    for event in decode(job, config):
        match event:
            case Header():
                (plan,) = event.plans
                if isinstance(plan, Failure):
                    raise VideoError(plan.failure, f"{item.video_id}: {plan.message}")
                nearest = _nearest(plan.time_seconds, time_seconds)
                wanted, times = plan.index[nearest], plan.time_seconds[nearest]
            case FrameChunk():
                _, ours, theirs = np.intersect1d(wanted, event.index, return_indices=True)
                found[ours] = event.frames[theirs]
    _, first, copies = np.unique(wanted, return_index=True, return_inverse=True)
    return found[first[copies]], times  # times may share a frame


def _nearest(times: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positions (T,) of the nearest of ascending times."""
    right = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
    left = right - 1
    right = np.minimum(right, len(times) - 1)
    nearest: npt.NDArray[np.int64] = np.where(wanted - times[left] <= times[right] - wanted, left, right)
    return nearest


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
