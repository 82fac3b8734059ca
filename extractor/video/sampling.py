"""Which frames of an item are sampled, how they form clips, how long that may take: pure functions over times.

No file, no decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.config import ExtractionConfig, Sampling
from schemas.errors import ConfigurationError, FailureClass, VideoError
from schemas.records import Item, ItemPlan

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

TOLERANCE_SECONDS = 5e-7
"""A frame whose time exceeds an instant by no more than this counts as displayed then.

Instants are start + k / rate and times are ticks * time base, both rounded to float64: without a tolerance the instant
0.3 would miss the frame at 0.30000000000000004. Half a microsecond is a twentieth of the tick of the finest clock in
common use (1 / 90000 s), so it never confuses two frames.
"""

_GRID_BLOCK = 1 << 20  # instants looked up at a time: a header that claims days then costs time, not memory
_SLOWEST_BYTES_A_SECOND = 100_000  # a tenth of what a slow core decodes of ordinary video
_SLOWEST_OF_REAL_TIME = 2.0
_LONGEST_SECONDS = 3600.0  # a bound, since a header may claim days


def plan_for(
    times_seconds: Float64Array,
    end_seconds: float,
    item: Item,
    config: ExtractionConfig,
    members: Sequence[int] | None = None,
) -> ItemPlan:
    """`plan_item` with the options of a configuration."""
    return plan_item(
        times_seconds,
        end_seconds,
        item,
        sampling=config.sampling,
        num_frames=config.num_frames,
        rate_hz=config.rate_hz,
        hop=config.hop,
        clips=config.clips,
        members=members,
    )


def plan_item(
    times_seconds: Float64Array,
    end_seconds: float,
    item: Item,
    *,
    sampling: Sampling = Sampling.WINDOWS,
    num_frames: int | None = 8,
    rate_hz: float | None = 10.0,
    hop: int | None = None,
    clips: int | None = 1,
    members: Sequence[int] | None = None,
) -> ItemPlan:
    """Frames and clips of one item.

    times_seconds: (n,) float64, sorted, times of the file's frames. end_seconds: when its last frame ends. rate_hz:
    None takes every frame. hop: None means num_frames. members: frames per clip of each member of an ensemble; None
    means one member with num_frames.

    Raises VideoError (too_short) where the item has fewer than two frames, ConfigurationError where the members of an
    ensemble differ in length and the sampling is not segments.
    """
    first, last = item_frames(times_seconds, end_seconds, item)
    if last - first < 1:
        found = _too_few("one" if last == first else "none", item, times_seconds, end_seconds)
        raise VideoError(FailureClass.TOO_SHORT, f"expected at least two frames; got {found}")
    lengths = tuple(members) if members else (num_frames or 8,)
    if sampling is Sampling.SEGMENTS:
        return _plan_segments(times_seconds, first, last, item, lengths, clips or 1)
    if len(set(lengths)) > 1:
        raise ConfigurationError(
            f"expected the sampling segments for clips of {lengths} frames; got {sampling.value}. Use segments"
        )
    if rate_hz is None:
        index, capped = np.arange(first, last + 1, dtype=np.int64), False
    else:
        index, capped = _sample(times_seconds, first, last, item, end_seconds, rate_hz)
    count = len(index)
    length = count if sampling is Sampling.DENSE else lengths[0]
    ranges = window_ranges(count, length, hop or length)
    num_valid = ranges[:, 1] - ranges[:, 0]
    if sampling.is_continuous:
        return ItemPlan(item.video_id, index, times_seconds[index], num_valid, ranges, rate_capped=capped)
    positions = (clip_positions(ranges, length),) * len(lengths)
    return ItemPlan(item.video_id, index, times_seconds[index], num_valid, clips=positions, rate_capped=capped)


def expected_counts(
    native_frames: int, seconds: float, config: ExtractionConfig, members: Sequence[int]
) -> tuple[int, int]:
    """(sampled frames, clips) of an item of about this length, without the times of its frames: for planning.

    members: frames per clip of each member of the network. Within a frame of what `plan_item` finds for a file of
    constant rate.
    """
    native = max(native_frames, 2)
    if config.sampling is Sampling.SEGMENTS:
        clips = config.clips or 1
        return min(native, clips * sum(members)), clips
    frames = native
    if config.rate_hz is not None:
        frames = max(min(native, int(np.ceil(seconds * config.rate_hz - TOLERANCE_SECONDS))), 2)
    if config.sampling is Sampling.DENSE or frames <= members[0]:
        return frames, 1
    return frames, -(-(frames - members[0]) // (config.hop or members[0])) + 1


def item_frames(times_seconds: Float64Array, end_seconds: float, item: Item) -> tuple[int, int]:
    """First and last frame (inclusive) displayed within [start, end) of the item; last < first means none.

    The frame on display at the start belongs to the item, although it began earlier.
    """
    start = item.start_seconds
    end = end_seconds if item.end_seconds is None else item.end_seconds
    first = 0
    if start is not None:
        first = max(int(np.searchsorted(times_seconds, start + TOLERANCE_SECONDS, side="right")) - 1, 0)
        if start >= end_seconds - TOLERANCE_SECONDS:  # the last frame is no longer displayed
            return len(times_seconds), len(times_seconds) - 1
    if item.end_seconds is None:
        return first, len(times_seconds) - 1
    last = int(np.searchsorted(times_seconds, end - TOLERANCE_SECONDS, side="left")) - 1
    return first, last


def window_ranges(count: int, num_frames: int, hop: int) -> Int64Array:
    """(n, 2) first and one past the last position of windows over `count` sampled frames, `hop` apart.

    The last window is shifted back to end on the last frame; if there are fewer frames than a window holds, one window
    covers them all. window_ranges(10, 4, 4): [0, 4], [4, 8] and [6, 10].
    """
    if count <= num_frames:
        return np.array([[0, count]], np.int64)
    starts = np.arange(0, count - num_frames + 1, hop, dtype=np.int64)
    if starts[-1] != count - num_frames:
        starts = np.append(starts, np.int64(count - num_frames))
    return np.stack([starts, starts + num_frames], axis=1)


def clip_positions(ranges: Int64Array, num_frames: int) -> Int64Array:
    """(n, num_frames) positions of the frames of ranges (n, 2); a shorter range repeats its last frame."""
    positions: Int64Array = np.minimum(ranges[:, :1] + np.arange(num_frames, dtype=np.int64), ranges[:, 1:] - 1)
    return positions


def segment_positions(count: int, num_frames: int, clips: int = 1) -> Int64Array:
    """(clips, num_frames) positions over `count` frames: one frame from each of num_frames equal parts, by phase.

    Clip j of c takes floor(count / T * (i + (j + 1/2) / c)): the middle of every part with one clip, evenly spread
    phases with several. If there are fewer frames than T, each is taken once and the last is repeated; all clips are
    equal then. Integer arithmetic, because count / T * (i + 1/2) in floating point can fall just below an integer.
    """
    if count < num_frames:
        row = np.minimum(np.arange(num_frames, dtype=np.int64), count - 1)
        return np.repeat(row[None], clips, axis=0)
    part = np.arange(num_frames, dtype=np.int64)[None] * (2 * clips)
    phase = 2 * np.arange(clips, dtype=np.int64)[:, None] + 1
    return count * (part + phase) // (2 * clips * num_frames)


def _plan_segments(
    times: Float64Array, first: int, last: int, item: Item, lengths: tuple[int, ...], clips: int
) -> ItemPlan:
    count = last - first + 1
    native = [segment_positions(count, length, clips) for length in lengths]
    union = np.unique(np.concatenate([rows.ravel() for rows in native]))
    positions = tuple(np.searchsorted(union, rows).astype(np.int64) for rows in native)
    # Members of an ensemble share num_valid, that of the longest clip; for a shorter clip take the minimum with it.
    num_valid = np.full(clips, min(count, max(lengths)), np.int64)
    index = union + first
    return ItemPlan(item.video_id, index, times[index], num_valid, clips=positions)


def _sample(
    times: Float64Array, first: int, last: int, item: Item, end_seconds: float, rate_hz: float
) -> tuple[Int64Array, bool]:
    """Frames on display at start + k / rate, each once, and whether a rate above the file's own took all of them."""
    start = float(times[0]) if item.start_seconds is None else item.start_seconds
    end = end_seconds if item.end_seconds is None else min(item.end_seconds, end_seconds)
    taken: list[Int64Array] = []
    instants = 0
    count = max(int(np.ceil((end - start) * rate_hz)), 1) + 1
    for block in range(0, count, _GRID_BLOCK):
        grid = start + np.arange(block, min(block + _GRID_BLOCK, count)) / rate_hz
        grid = grid[(grid < end - TOLERANCE_SECONDS) & (grid >= times[first] - TOLERANCE_SECONDS)]
        if not len(grid):
            continue
        instants += len(grid)
        shown = np.searchsorted(times, grid + TOLERANCE_SECONDS, side="right") - 1
        taken.append(np.unique(np.clip(shown, first, last)))
    index = np.unique(np.concatenate(taken)) if taken else np.array([first])
    if len(index) == 1:  # the item has at least two frames, and motion needs two
        index = np.unique(np.append(index, last))
    native = last - first + 1
    return index.astype(np.int64), len(index) == native and instants > native


def _too_few(count: str, item: Item, times: Float64Array, end_seconds: float) -> str:
    if item.start_seconds is None and item.end_seconds is None:
        return f"{count}. Leave the video out"
    start = float(times[0]) if item.start_seconds is None else item.start_seconds
    end = end_seconds if item.end_seconds is None else item.end_seconds
    return f"{count} between {round(start, 3)} and {round(end, 3)} s. Leave the item out, or widen the segment"


def suggested_deadline_seconds(
    size_bytes: int | None, duration_seconds: float = 0.0, *, base_seconds: float = 60.0
) -> float:
    """Seconds without an event after which decoding counts as hung: generous, since a false alarm costs a video.

    base_seconds for any file, plus the longer of a second per 100 kB and twice the duration, up to an hour: one event
    may take most of a long file. size_bytes: None if unknown. duration_seconds: 0 if unknown.

    suggested_deadline_seconds(1_000_000) == 70.0
    """
    by_bytes = (size_bytes or 0) / _SLOWEST_BYTES_A_SECOND
    return base_seconds + min(_LONGEST_SECONDS, max(by_bytes, _SLOWEST_OF_REAL_TIME * duration_seconds))
