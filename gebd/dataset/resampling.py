"""Choose the stored frames for a video's samples, and the bounds of slices: pure functions over times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import StoreError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_SAMPLES = 10_000_000
"""Limit for one video: eleven days at 10 a second. More means wrong times, and would exhaust memory."""

TICK_SECONDS = 1e-6
"""Smaller differences between times are rounding errors."""

_HOLE = 2.0  # a gap longer than this many median gaps is a hole


@dataclass(frozen=True, eq=False)
class FrameOrder:
    """Distinct frames of one video in order of time: their rows, and the rows of the pairs they begin, -1 for none."""

    frame_row: Int64Array
    pair_row: Int64Array


def frame_order(index: Int64Array, valid: BoolArray, runs: Int64Array) -> FrameOrder:
    """Return the distinct frames of a video that is stored as runs of frames (clips, or the clips of one member).

    index: (m,) number of every stored frame in its file. valid: (m,) False for frames that repeat their predecessor or
    are damaged. runs: (n, 4) first and one past the last row of the frames and of the pairs of every run. Windows of
    one pass are one run.

    For a frame in several clips the row deepest inside its clip is used, because there the network saw most of its
    surroundings; rows that are not valid are a last resort. Frames that repeat their predecessor to fill a clip are
    never used. A pair counts only if it leads to a different frame.
    """
    lengths = runs[:, 1] - runs[:, 0]
    row = np.repeat(runs[:, 0] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    position = row - np.repeat(runs[:, 0], lengths)
    last = np.repeat(lengths - 1, lengths) == position
    has_pair = ~last & (np.repeat(runs[:, 3] - runs[:, 2], lengths) > 0)
    has_pair[has_pair] = index[row[has_pair] + 1] != index[row[has_pair]]
    pair = np.where(has_pair, np.repeat(runs[:, 2], lengths) + position, -1)
    if len(runs) > 1 or not valid.all():
        depth = np.minimum(position, np.repeat(lengths - 1, lengths) - position)
        order = np.lexsort((~has_pair, -depth, ~valid[row], index[row]))
        order = order[np.diff(index[row[order]], prepend=-1) != 0]
        row, pair = row[order], pair[order]
    return FrameOrder(row, pair)


@dataclass(frozen=True, eq=False)
class Resampling:
    """The n samples of a video with m frames: all (n,).

    position: index of the frame among the m. time_seconds: the frame's time or, for a frame that is held because none
    lies near enough, the instant it stands for. instant_seconds: the evenly spaced instants. held: whether the frame
    belongs to a neighbouring sample. hole: held across a gap in the stored frames, so the frame says nothing about its
    instant.
    """

    position: Int64Array
    time_seconds: Float64Array
    instant_seconds: Float64Array
    held: BoolArray
    hole: BoolArray


def resample(time_seconds: Float64Array, rate_hz: float | None) -> Resampling:
    """Sample frames at ascending times (m,), on the video's own clock, at k / rate; None keeps all frames.

    The instant k / rate uses the nearest frame. If that frame is within half a step and no other instant is nearer to
    it, the sample has the frame's own time; otherwise the frame is held and the sample has the instant's time. So
    samples are evenly spaced at any stored rate, and labels are computed for the times of the frames that were seen.
    """
    count = len(time_seconds)
    none = np.zeros(count, dtype=bool)
    if rate_hz is None:
        return Resampling(np.arange(count), time_seconds, time_seconds, none, none)
    first = max(0, round(float(time_seconds[0]) * rate_hz))
    last = max(first, int(np.floor(float(time_seconds[-1]) * rate_hz + 0.5 - TICK_SECONDS)))
    if last - first >= MAX_SAMPLES:
        raise StoreError(
            f"expected frames to span at most {MAX_SAMPLES} samples at {rate_hz:g} a second; got {last - first}. Lower "
            "rate_hz, or extract the video anew if its times are wrong"
        )
    instant = np.arange(first, last + 1) / rate_hz
    after = np.clip(np.searchsorted(time_seconds, instant), 1, max(count - 1, 1))
    before, after = after - 1, np.minimum(after, count - 1)
    later = time_seconds[after] - instant < instant - time_seconds[before]
    position = np.where(later, after, before)
    distance = np.abs(time_seconds[position] - instant)
    held = distance > 0.5 / rate_hz + TICK_SECONDS
    again = np.flatnonzero(np.diff(position) == 0)  # one frame for two instants: it belongs to the nearer
    held[np.where(distance[again + 1] < distance[again] - TICK_SECONDS, again, again + 1)] = True
    gap = time_seconds[after] - time_seconds[before]
    usual = float(np.median(np.diff(time_seconds))) if count > 1 else 0.0
    hole = held & (gap > _HOLE * usual + TICK_SECONDS)
    return Resampling(position, np.where(held, instant, time_seconds[position]), instant, held, hole)


def slices(
    instant_seconds: Float64Array, step_seconds: float, window_seconds: float | None, hop_seconds: float | None
) -> tuple[Float64Array, Int64Array, Int64Array]:
    """Return (start_seconds, first, stop) of slices of `window_seconds`, one every `hop_seconds`, over samples (n,).

    Sample i belongs to a slice if start <= instant < start + window. The last slice is shifted back to end with the
    last sample. A video shorter than the window, or a window of None, yields one slice. For instants 0, 0.1 ... 0.9, a
    window of 0.4 and a hop of 0.3, the starts are 0, 0.3 and 0.6.
    """
    start, end = float(instant_seconds[0]), float(instant_seconds[-1]) + step_seconds
    if window_seconds is None or end - start <= window_seconds + TICK_SECONDS:
        return np.array([start]), np.array([0]), np.array([len(instant_seconds)])
    hop = hop_seconds or window_seconds
    last = end - window_seconds
    count = int(np.floor((last - start) / hop + TICK_SECONDS)) + 1
    starts = start + hop * np.arange(count, dtype=np.float64)
    if starts[-1] < last - TICK_SECONDS:
        starts = np.append(starts, last)
    first = np.searchsorted(instant_seconds, starts - TICK_SECONDS).astype(np.int64)
    stop = np.searchsorted(instant_seconds, starts + window_seconds - TICK_SECONDS).astype(np.int64)
    some = stop > first  # irregular times can leave a slice empty
    return starts[some], first[some], stop[some]
