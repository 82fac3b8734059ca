"""Whether the stamps of a file are one clock, and a continuous clock where they are not. Pure functions over numbers.

In a sound file the stamps rise in display order, by even or uneven steps, with gaps where a recording paused. Two
things break that. The clock *restarts* where files were joined byte by byte or a recorder was reset. Single stamps are
*outliers* where a writer failed. Sorting the stamps of such a file gives most frames the time of another frame.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extractor.video.containers.held_stamps import RARE, interpolated, narrow, released

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_SOUND_DISPLACEMENT = 4  # largest distance between place in the file and place by stamp in all sound files tried
_WRAPS = {"mpegts": 1 << 33, "mpeg": 1 << 33, "flv": 1 << 32}
"""Ticks after which the clock of a container wraps: after a day (MPEG) or a month (FLV). FFmpeg undoes it."""

_LOSSY = frozenset({"mpegts", "mpeg"})  # containers that lose packets without a trace
_LONGEST_BURST = 32  # frames; a longer row of wild stamps counts as a clock of its own
_BURST_COST, _BURST_COST_A_FRAME = 2.0, 0.015  # where the next sound stamp is the one that counting predicts
_RESTART_COST = 4.5
_RESTART_AT_KEYFRAME_COST = 2.5  # files are joined at keyframes
_SQUEEZED = 0.75  # share of the time that frames need, below which an overlap is likelier than a wild stamp
_SQUEEZED_COST = 7.0  # times the shortfall from that share
_AROUND = 8  # frames to either side that show how close stamps lie
_SOUND = 3.0  # typical steps by which a skipped stamp may miss its even place and not be wild
_FIT = 0.6  # typical steps by which a used stamp may miss the place that counting predicts


@dataclass(frozen=True, slots=True)
class Clock:
    """Times that rise in the order of the frames.

    ticks: (n,) float64, in units of the time base, non-decreasing. restarts: frames at which the stamps restarted.
    outliers: how many frames had an unusable stamp and are interpolated.
    """

    ticks: Float64Array
    restarts: tuple[int, ...]
    outliers: int


def order_in_doubt(
    stamps: Sequence[int],
    decoding_stamps: Sequence[int | None],
    keyframes: Sequence[bool],
    *,
    reorders: bool,
    container: str = "",
) -> bool:
    """Whether sorting the stamps may pair frames with the wrong times. Input: one value per packet, in file order.

    reorders: whether the codec may display frames in another order than it decodes them. True is not a verdict: it
    means that the order of the frames has to be surveyed.

    Decoded I P B P B, which is sound:
    >>> order_in_doubt([0, 2, 1, 4, 3], [-1, 0, 1, 2, 3], [True, False, False, False, False], reorders=True)
    False

    A keyframe displayed before frames that precede it in the file:
    >>> order_in_doubt([0, 2, 1, 0, 2, 1], [None] * 6, [True, False, False, True, False, False], reorders=True)
    True
    """
    if len(stamps) < 2:
        return False
    longest = _WRAPS.get(container, 1 << 63) // 2
    shown = np.array(stamps, np.int64)
    steps = np.diff(shown)
    if (steps > narrow(float(np.median(steps)))).all():
        return bool((steps > longest).any())
    if not reorders:
        return True
    by_stamp = np.argsort(shown, kind="stable")
    ordered = np.diff(shown[by_stamp])
    latest = np.maximum.accumulate(shown)[:-1]
    known = [(stamp, dts) for stamp, dts in zip(stamps, decoding_stamps, strict=True) if dts is not None]
    dts = np.array([dts for _, dts in known], np.int64)
    signs = (
        (ordered <= narrow(float(np.median(ordered)))).any(),
        (ordered > longest).any(),
        (np.array(keyframes[1:]) & (shown[1:] <= latest)).any(),
        (np.abs(by_stamp - np.arange(len(shown))) > _SOUND_DISPLACEMENT).any(),
        (np.diff(dts) < 0).any(),
        # A decoder may show the pictures around a missing packet in another order.
        container in _LOSSY and len(dts) > 1 and _holes(np.diff(dts)).any(),
        any(stamp < dts for stamp, dts in known),
        # A displaced stamp leaves a hole and comes close to another; where that is common, the frame rate varies.
        _rare(_holes(ordered)) or _rare(ordered <= 0.6 * float(np.median(ordered))),
    )
    return any(bool(sign) for sign in signs)


def _holes(steps: Int64Array) -> npt.NDArray[np.bool_]:
    """Which steps are so long that a stamp is missing within them."""
    return np.asarray(steps >= 1.5 * float(np.median(steps)))


def _rare(steps: npt.NDArray[np.bool_]) -> bool:
    return 0 < int(steps.sum()) <= max(2, RARE * len(steps))


def typical_step(stamps: Sequence[int]) -> float:
    """Median of the forward steps, 1.0 if there is none.

    >>> typical_step([0, 40, 80, 0, 40])
    40.0
    """
    steps = np.diff(np.array(stamps, np.int64))
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0


def continuous_clock(
    stamps: Sequence[int],
    keyframes: Sequence[bool],
    *,
    container: str = "",
    passed: Sequence[int] | None = None,
    held: Sequence[bool] = (),
) -> Clock:
    """One clock from the stamps of frames in display order.

    container: FFmpeg's name, which tells when the clock wraps. passed: (n,) how many frames the demuxer dropped before
    each one; where the clock restarts, they take up time. held: (n,) whose stamps a muxer held back, or () for none.

    Within each part the true spacing is kept; where the clock restarts, the next part continues one step later; a stamp
    that fits neither its part nor another is interpolated. Lasting jumps forward are kept: the recording paused.

    >>> clock = continuous_clock([0, 1, 2, 3, 0, 1, 2, 3], [True, False, False, False] * 2)
    >>> clock.ticks.tolist(), clock.restarts, clock.outliers
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], (4,), 0)

    >>> clock = continuous_clock([0, 10, 20, 990, 40, 50], [True] + [False] * 5)
    >>> clock.ticks.tolist(), clock.restarts, clock.outliers
    ([0.0, 10.0, 20.0, 30.0, 40.0, 50.0], (), 1)

    >>> continuous_clock([0, 10, 20, 990, 1000], [True] + [False] * 4).ticks.tolist()
    [0.0, 10.0, 20.0, 990.0, 1000.0]
    """
    values = _undo_false_wraps(stamps, _WRAPS.get(container))
    step = typical_step([value for value, away in zip(values, held, strict=True) if not away] if any(held) else values)
    if any(held):
        values = released(values, held, step)
    kept, restarting = _sound_frames(values, keyframes, step)
    ticks = np.zeros(len(values), np.float64)
    ticks[kept[0]] = values[kept[0]]
    restarts = []
    for before, after in itertools.pairwise(kept):
        span = values[after] - values[before]
        if after in restarting:
            restarts.append(after)
            dropped = passed[after] - passed[before] if passed else 0
            span_ticks = _step_before(values, kept, before, step) * (after - before + dropped)
        else:
            span_ticks = float(span)
        ticks[after] = ticks[before] + span_ticks
    ticks = interpolated(np.array(kept), ticks[kept], len(values), step)
    return Clock(ticks, tuple(restarts), len(values) - len(kept) + sum(held[frame] for frame in kept if held))


def joints(stamps: Sequence[int], keyframes: Sequence[bool], *, container: str = "") -> list[int]:
    """Keyframes at which the clock restarts, so another stream begins. Input: one value per packet, in file order.

    Pictures of such a stream must not refer to the end of the stream before it. A wild stamp can look like a joint:
    `continuous_clock` has to agree.

    Decoded I P B, I P B: the second I has the time of the first:
    >>> joints([0, 2, 1, 0, 2, 1], [True, False, False, True, False, False])
    [3]
    """
    values = _undo_false_wraps(stamps, _WRAPS.get(container))
    groups = np.cumsum(keyframes)
    # Sorting within each group of pictures yields the display order, since no picture crosses two keyframes.
    place = np.lexsort((np.array(values, np.int64), groups))
    shown = [values[index] for index in place]
    step = typical_step(shown)
    first_of_group = [at == 0 or groups[place[at]] != groups[place[at - 1]] for at in range(len(place))]
    kept, restarting = _sound_frames(shown, first_of_group, step)
    found = {
        int(groups[place[after]])
        for before, after in itertools.pairwise(kept)
        if after in restarting and groups[place[before]] != groups[place[after]]
    }
    return [index for index, key in enumerate(keyframes) if key and int(groups[index]) in found]


def _undo_false_wraps(stamps: Sequence[int], wrap: int | None) -> list[int]:
    """Stamps without the jumps that FFmpeg inserts where it mistakes a restart for a wrap of the clock.

    Such a jump is nearly a full period of the clock. Without it the clock steps back, which shows the restart.
    """
    if wrap is None:
        return list(stamps)
    values, offset = list(stamps[:1]), 0
    for before, after in itertools.pairwise(stamps):
        if after - before > wrap // 2:
            offset -= wrap
        elif before - after > wrap // 2:
            offset += wrap
        values.append(after + offset)
    return values


def _step_before(values: Sequence[int], kept: Sequence[int], frame: int, step: float) -> float:
    """Typical step of the part that ends with `frame`: the parts of a joined file may differ in rate."""
    at = bisect.bisect_left(kept, frame)
    near = [values[index] for index in kept[max(at - 16, 0) : at + 1]]
    return typical_step(near) if len(near) > 2 else step


def _step_around(values: Sequence[int], frame: int, step: float) -> float:
    """Typical step near a frame, but at most that of the whole file: how close sound stamps may lie there."""
    return min(step, typical_step(values[max(frame - _AROUND, 0) : frame + _AROUND + 1]))


def _sound_frames(values: Sequence[int], keyframes: Sequence[bool], step: float) -> tuple[list[int], set[int]]:
    """Frames whose stamps are used, and those of them at which the clock restarts.

    They are the cheapest path through the file, with a cost for each frame that is skipped and for each restart. Away
    from backward steps there is nothing to decide, so the running time grows with the number of those steps.
    """
    count = len(values)
    sparse = 2 * sum(keyframes) < count
    close = _too_close(values, step)
    backward = [frame for frame in range(1, count) if values[frame] - values[frame - 1] <= close]
    costs, previous, restarting = [0.0] * count, [-1] * count, set()
    for frame in range(count):
        nearest = bisect.bisect_left(backward, frame - _LONGEST_BURST)
        contested = nearest < len(backward) and backward[nearest] <= frame + _LONGEST_BURST
        restart = _RESTART_AT_KEYFRAME_COST if sparse and keyframes[frame] else _RESTART_COST
        near = _step_around(values, frame, step) if contested else step
        best = float(frame), -1, False  # skips all frames before it
        for earlier in range(frame - 1, max(frame - (2 + _LONGEST_BURST if contested else 2), -1), -1):
            price, restarts = _price(values, earlier, frame, near, restart, close)
            price += costs[earlier]
            if price < best[0] or (best[1] < 0 and price <= best[0]):
                best = price, earlier, restarts
        costs[frame], previous[frame], restarts = best
        if restarts:
            restarting.add(frame)
    at = min(range(max(count - 1 - _LONGEST_BURST, 0), count), key=lambda frame: costs[frame] + (count - 1 - frame))
    kept = []
    while at >= 0:
        kept.append(at)
        at = previous[at]
    return kept[::-1], restarting


def _too_close(values: Sequence[int], step: float) -> float:
    """Ticks up to which a step is as odd as a backward one; -1 if repeated stamps are common, and so no fault."""
    limit = narrow(step)
    found = sum(0 <= after - before <= limit for before, after in itertools.pairwise(values))
    return limit if found <= max(2, RARE * len(values)) else -1.0


def _price(
    values: Sequence[int], before: int, after: int, step: float, restart: float, close: float = -1.0
) -> tuple[float, bool]:
    """Cost of using the stamps of two frames and none between, and whether the clock restarts. close: see `_too_close`.

    >>> _price([0, 40, 20], 0, 1, 40.0, 4.5), _price([0, 40, 20], 1, 2, 40.0, 4.5)
    ((0.0, False), (4.5, True))
    """
    span, frames = values[after] - values[before], after - before
    skipped = frames - 1
    if span <= close:
        return skipped + restart, True
    if not skipped:
        return 0.0, False
    expected = frames * step
    uneven = 0.01 * min(abs(span / expected - 1), 10.0)  # decides between paths that skip equally many
    if abs(span - expected) <= _FIT * step:
        sound = sum(
            abs(values[frame] - values[before] - span * (frame - before) / frames) <= _SOUND * step
            for frame in range(before + 1, after)
        )
        wild = skipped - sound
        return sound + min(float(wild), _BURST_COST + _BURST_COST_A_FRAME * wild) + uneven, False
    squeeze = _SQUEEZED_COST * max(_SQUEEZED - span / expected, 0.0)
    return min((skipped + squeeze + uneven, False), (skipped + restart, True))
