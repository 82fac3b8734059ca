"""Stamps that a muxer held back: what FFmpeg writes where those that it is given step back or stand still.

Formats want decoding stamps that rise. Where a clock restarts, or a single stamp is wild, FFmpeg therefore writes the
last stamp once more, or one tick later, for as long as the clock lies behind ("Non-monotonous DTS; changing to ...").
The frames are all there, and their true times are lost: a hundred of them may lie within a hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["RARE", "held_back", "narrow", "released"]

BoolArray = npt.NDArray[np.bool_]

_LONGEST_TICK = Fraction(1, 500)  # seconds; where ticks are longer, frames may truly lie a tick apart
_SHORTEST_STEP = 8.0  # ticks between frames below which a tick is no sign
_SURE_RUN, _FEW_RUNS = 3, 2  # shorter runs, where they are neither few nor rare, are bursts of a variable rate
RARE = 0.02
"""Share of the steps up to which irregular ones are taken for a fault."""

_NARROW = 1 / 32  # share of a step: a tick of a coarser clock, where the file was written anew


def narrow(step: float) -> float:
    """Ticks up to which two frames lie too close to be two, where frames are usually `step` ticks apart.

    >>> narrow(40.0), narrow(3600.0), narrow(2.0)
    (1.25, 112.5, 0.0)
    """
    return max(1.0, step * _NARROW) if step >= _SHORTEST_STEP else 0.0


def held_back(
    stamps: Sequence[int], decoding_stamps: Sequence[int | None], base: Fraction, rate: Fraction | None
) -> BoolArray:
    """(n,) bool: packets whose stamps a muxer held back. Input: one value a packet, in the file's order.

    base: seconds a tick, 0 where unknown. rate: frames a second that the codec states, for where most are held.

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
        # One alone behind which the clock goes on by its step is where two clocks overlap by a frame.
        overlap = length == 1 and stop < len(stamps) and abs(steps[stop - 1] - usual) <= usual / 4
        if overlap or (bursts and length < _SURE_RUN):
            found[start:stop] = False
    return found


def released(values: Sequence[int], held: Sequence[bool], step: float) -> list[int]:
    """Stamps of frames in the order in which they are shown, those that were held back spread evenly in their place.

    step: ticks by which they go on where no sound one follows.

    >>> released([0, 40, 80, 81, 82, 200, 201], [False, False, False, True, True, False, True], 40.0)
    [0, 40, 80, 120, 160, 200, 240]
    """
    sound = np.flatnonzero(~np.array(held, np.bool_))
    if not len(sound) or len(sound) == len(values):
        return list(values)
    numbers = np.arange(len(values))
    spread = np.interp(numbers, sound, np.array(values, np.float64)[sound])
    first, last = int(sound[0]), int(sound[-1])
    spread[:first] = spread[first] - step * (first - numbers[:first])
    spread[last + 1 :] = spread[last] + step * (numbers[last + 1 :] - last)
    return [
        round(value) if away else values[index] for index, (value, away) in enumerate(zip(spread, held, strict=True))
    ]
