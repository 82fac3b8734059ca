"""When the rows of video_features are, on a clock that begins with the file's first frame.

A row of a frame is at the frame, as there: number / fps. A row of a stack is at the stack's middle here. For I3D,
`timestamps_ms` is the time of the frame behind the stack: the one that closes the last pair of optical flow. R(2+1)D
and S3D save no times, so they follow from the frame rate and the step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import FailureClass, VideoError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_MAX_FPS = 10_000.0
_MAX_SECONDS = 10 * 365 * 86_400.0
_SLACK_FRAMES = 1.5  # by which the end of a first stack may miss the others': rates and times are rounded


@dataclass(frozen=True, slots=True)
class Stacks:
    """Which frames a row sees: `stack_frames` from k * `step_frames` on."""

    stack_frames: int
    step_frames: int


@dataclass(frozen=True, slots=True)
class RowTimes:
    """time_seconds (n,): of rows, ascending. index (n,): of their frames, for stacks the middle ones. end_seconds: of
    the file."""

    time_seconds: Float64Array
    index: Int64Array
    fps: float
    end_seconds: float


def checked_fps(values: Float64Array, name: str) -> float:
    """The frame rate of a file `fps`; raises VideoError (corrupt) unless it is one."""
    if values.shape != (1,) or not 0 < values[0] <= _MAX_FPS:
        shown = values[:3].tolist()
        raise VideoError(FailureClass.CORRUPT, f"{name}: expected one frame rate above 0; got {shown}")
    return float(values[0])


def checked_stamps(values: Float64Array, rows: int, name: str) -> Float64Array:
    """The times of a file `timestamps_ms` in seconds; raises VideoError (corrupt) unless they fit `rows` and ascend."""
    if len(values) != rows:
        raise VideoError(FailureClass.CORRUPT, f"{name}: expected {rows} times, one a row; got {len(values)}")
    if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
        raise VideoError(FailureClass.CORRUPT, f"{name}: expected times that ascend; got others")
    if values[0] < 0 or values[-1] > _MAX_SECONDS * 1000:
        raise VideoError(
            FailureClass.CORRUPT, f"{name}: expected times from 0 on; got {values[0]:g} ms to {values[-1]:g} ms"
        )
    return values / 1000


def times_of_frames(stamps_seconds: Float64Array, fps: float) -> RowTimes:
    """Of a row a frame."""
    end = float(stamps_seconds[-1]) + 1 / fps
    return RowTimes(stamps_seconds, np.arange(len(stamps_seconds)), fps, end)


def times_of_stacks(ends_seconds: Float64Array, fps: float, stacks: Stacks, *, is_given: bool) -> RowTimes:
    """Of a row a stack, from the time of the frame behind each.

    Raises VideoError (corrupt) if the first stack cannot be that long. is_given: by the user, who knows of clocks that
    do not begin at 0; else it must be as long as in most videos.
    """
    times = ends_seconds - stacks.stack_frames / 2 / fps
    late = ends_seconds[0] * fps - stacks.stack_frames
    if late < -_SLACK_FRAMES or (late > _SLACK_FRAMES and not is_given):
        raise VideoError(
            FailureClass.CORRUPT,
            f"expected a first stack of {stacks.stack_frames} frames; got {ends_seconds[0] * fps:.0f} by its time. "
            "Import videos with other stacks on their own, or correct --stack-frames",
        )
    return RowTimes(times, _middle_frames(len(times), stacks), fps, float(ends_seconds[-1]))


def times_by_rate(rows: int, fps: float, stacks: Stacks) -> RowTimes:
    """Of a row a stack without times: stacks begin with the first frame."""
    starts = np.arange(rows) * stacks.step_frames
    times = np.asarray((starts + stacks.stack_frames / 2) / fps, np.float64)
    end = (int(starts[-1]) + stacks.stack_frames) / fps
    return RowTimes(times, _middle_frames(rows, stacks), fps, end)


def _middle_frames(rows: int, stacks: Stacks) -> Int64Array:
    return np.arange(rows) * stacks.step_frames + stacks.stack_frames // 2


def stacks_by_times(videos: Iterable[tuple[Float64Array, float]]) -> Stacks | None:
    """What most videos agree on, from (times of the frames behind their stacks in seconds, fps); None if nothing.

    The first stack ends when it is full; later ones end a step apart.
    """
    sizes: Counter[int] = Counter()
    steps: Counter[int] = Counter()
    for ends, fps in videos:
        sizes[round(float(ends[0]) * fps)] += 1
        if len(ends) > 1:
            steps[round(float(np.median(np.diff(ends))) * fps)] += 1
    if not sizes or (size := _commonest(sizes)) < 1:
        return None
    step = _commonest(steps) if steps else size
    return Stacks(size, step) if step >= 1 else None


def _commonest(counts: Counter[int]) -> int:
    return max(counts, key=lambda value: (counts[value], -value))


def is_rate(value: float) -> bool:
    """Whether a user's value can be a frame rate."""
    return math.isfinite(value) and 0 < value <= _MAX_FPS
