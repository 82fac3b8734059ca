"""Stamps that a muxer held back: what FFmpeg writes where its input stamps step back or repeat.

Formats require rising decoding stamps. Where a clock restarts, or a single stamp is wild, FFmpeg therefore repeats the
last stamp, or writes one a tick later, until the clock has caught up ("Non-monotonous DTS; changing to ..."). All
frames are there, but their true times are lost: a hundred frames may lie within a hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_LONGEST_TICK = Fraction(1, 500)  # seconds; with longer ticks, frames may truly lie a tick apart
_SHORTEST_STEP = 8.0  # ticks between frames below which a distance of one tick means nothing
_SURE_RUN, _FEW_RUNS = 3, 2  # shorter runs that are neither few nor rare are bursts of a variable rate
RARE = 0.02
"""Share of the steps up to which irregular ones count as a fault."""

_NARROW = 1 / 32  # share of a step: a tick of a coarser clock, if the file was remuxed


def narrow(step: float) -> float:
    """Ticks up to which two frames lie implausibly close, if frames are usually `step` ticks apart.

    >>> narrow(40.0), narrow(3600.0), narrow(2.0)
    (1.25, 112.5, 0.0)
    """
    return max(1.0, step * _NARROW) if step >= _SHORTEST_STEP else 0.0


def held_back(
    stamps: Sequence[int], decoding_stamps: Sequence[int | None], base: Fraction, rate: Fraction | None
) -> BoolArray:
    """(n,) bool: packets whose stamps a muxer held back. Input: one value per packet, in file order.

    base: seconds per tick, 0 if unknown. rate: frames per second that the codec states, for use if most are held back.

    >>> held_back([0, 40, 80, 80, 81, 200], [0, 40, 80, 80, 81, 200], Fraction(1, 1000), None).tolist()
    [False, False, False, True, True, False]
    """
    found = np.zeros(len(stamps), np.bool_)
    if len(stamps) < 2 or not 0 < base <= _LONGEST_TICK:
        return found
    shown = np.array(stamps, np.int64)
    pairs = zip(decoding_stamps, stamps, strict=True)
    dts = np.array([stamp if decoded is None else decoded for decoded, stamp in pairs], np.int64)
    steps = np.diff(dts)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    limit = narrow(usual) or (narrow(float(1 / (rate * base))) if rate else 0.0)
    if limit:
        found[1:] = (steps >= 0) & (steps <= limit) & (shown[1:] == dts[1:])
    runs = np.flatnonzero(np.diff(np.concatenate(([False], found, [False])).astype(np.int8))).reshape(-1, 2)
    lengths = runs[:, 1] - runs[:, 0]
    bursts = (lengths < _SURE_RUN).sum() > max(_FEW_RUNS, RARE * len(stamps))
    for (start, stop), length in zip(runs.tolist(), lengths.tolist(), strict=True):
        # A single one, behind which the clock continues by its step, is where two clocks overlap by a frame.
        overlap = length == 1 and stop < len(stamps) and abs(steps[stop - 1] - usual) <= usual / 4
        if overlap or (bursts and length < _SURE_RUN):
            found[start:stop] = False
    return found


def released(values: Sequence[int], held: Sequence[bool], step: float) -> list[int]:
    """Stamps of frames in display order, with those that were held back spread evenly between their neighbours.

    step: ticks between them where no sound stamp follows or precedes.

    >>> released([0, 40, 80, 81, 82, 200, 201], [False, False, False, True, True, False, True], 40.0)
    [0, 40, 80, 120, 160, 200, 240]
    """
    sound = np.flatnonzero(~np.array(held, np.bool_))
    if not len(sound) or len(sound) == len(values):
        return list(values)
    spread = interpolated(sound, np.array(values, np.float64)[sound], len(values), step)
    return [
        round(value) if away else values[index] for index, (value, away) in enumerate(zip(spread, held, strict=True))
    ]


def interpolated(frames: Int64Array, ticks: Float64Array, count: int, step: float) -> Float64Array:
    """(count,) ticks of all frames from the (k,) ticks of some, ascending; `step` apart before the first and behind
    the last of them.

    >>> interpolated(np.array([1, 3]), np.array([10.0, 50.0]), 5, 20.0).tolist()
    [-10.0, 10.0, 30.0, 50.0, 70.0]
    """
    numbers = np.arange(count)
    first, last = int(frames[0]), int(frames[-1])
    result: Float64Array = np.interp(numbers, frames, ticks)
    result[:first] = ticks[0] - step * (first - numbers[:first])
    result[last + 1 :] = ticks[-1] + step * (numbers[last + 1 :] - last)
    return result
