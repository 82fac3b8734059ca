"""One file by several decoders: cut at entry points into stretches, of which each decodes those it is asked for.

All stretches together are the frames that one decoder would decode, no more and no fewer, so that damage is seen
wherever one decoder sees it. A decoder that is asked for all of them, in order, decodes the file as it would alone.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from extractor.video.decoders.backends import DecodingRequest, NativeFrame, NativeFrames
from extractor.video.decoders.jumping import (
    FAULTS,
    Entry,
    Int64Array,
    Run,
    Source,
    comparison_cost,
    kinds_of,
    misbehaved,
    numbered_entries,
    pays,
    planned_jumps,
    probes_for,
    prove,
)

LEAST_FRAMES = 200
"""In a stretch: to begin one costs about as much as decoding five."""

LEAST_STRETCHES = 8


class Stretches(NamedTuple):
    """A file cut into stretches.

    sampled: of each, how many of its frames are. probes: what is compared.
    """

    runs: tuple[Run, ...]
    sampled: tuple[int, ...]
    probes: tuple[Run, ...]


def planned_stretches(request: DecodingRequest, most_sampled: int) -> Stretches | None:
    """How to cut a file; None if it does not allow it, or if too little is gained.

    Two decoders must save as much as a jump must. most_sampled: frames that a stretch may return, since those of one
    that is not due yet are kept in memory: None if keyframes are too far apart for that.
    """
    if request.keep_corrupt or not len(request.index):
        return None
    entries, info = numbered_entries(request.inspection), request.inspection.info
    jumps = planned_jumps(request)
    end = info.num_frames if request.to_end else int(request.index[-1]) + 1
    alone = (Run(None, 0, end),) if jumps is None else jumps.runs
    found: list[Stretches] = []
    for usable in kinds_of(entries):
        runs = cut(alone, usable, request.index)
        sampled = tuple(np.diff([*(place(request.index, run.first) for run in runs), len(request.index)]).tolist())
        probes = probes_for(runs, entries, info.num_frames)
        saved = sum(run.end - run.first for run in runs) // 2
        if len(runs) >= LEAST_STRETCHES and max(sampled) <= most_sampled and pays(saved, comparison_cost(probes)):
            found.append(Stretches(runs, sampled, probes))
    return max(found, key=lambda one: len(one.runs), default=None)


def cut(runs: Sequence[Run], entries: Sequence[Entry], index: Int64Array) -> tuple[Run, ...]:
    """The same frames in more runs, each of which begins at an entry point or where one of `runs` does.

    Every one has a sampled frame, and none that was made by a cut is shorter than `LEAST_FRAMES`. index: the sampled
    frames. Entries at frames 0, 250 and 500, one run from 0 to 600: from 0 to 250, and from there to 600.
    """
    found: list[Run] = []
    numbers = [entry.number for entry in entries]
    for rest in runs:
        for number, point in entries[bisect(numbers, rest.first) : bisect(numbers, rest.end)]:
            long = min(number - rest.first, rest.end - number) >= LEAST_FRAMES
            if long and place(index, rest.first) < place(index, number) < place(index, rest.end):
                found.append(rest._replace(end=number))
                rest = Run(point, number, rest.end)
        found.append(rest)
    return tuple(found)


def place(index: Int64Array, number: int) -> int:
    """How many sampled frames come before a frame."""
    return int(index.searchsorted(number))


class StretchDecoder:
    """Decodes stretches of a file as they are asked for, ascending.

    forward: all sampled frames of the file, as one decoder alone would decode them; used until a stretch is left out.
    """

    def __init__(self, request: DecodingRequest, stretches: Stretches, forward: NativeFrames) -> None:
        self._request = request
        self._stretches = stretches
        self._forward: NativeFrames | None = forward
        self._decoded = 0  # stretches, by `forward`
        self._ahead: list[NativeFrame] = []  # the first frame of the next one
        self._source: Source | None = None

    def close(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.close()

    def frames(self, number: int, *, proves: bool) -> NativeFrames:
        """The sampled frames of a stretch. proves: see `Ask`; it comes with the first that was not the next one.

        Raises what `forward` raises, whose word on the file is as good as ever, and Misbehaved at any sign of damage
        once a stretch was left out.
        """
        if self._forward is not None and number == self._decoded:
            yield from self._next(self._forward)
        else:
            self._forward = None
            yield from self._jumped(number, proves)

    def _next(self, forward: NativeFrames) -> NativeFrames:
        """The next stretch, decoded to where the one behind it begins: this one may be the last that is asked for."""
        self._decoded += 1
        yield from self._ahead
        if self._decoded == len(self._stretches.runs):
            yield from forward
            return
        yield from islice(forward, self._stretches.sampled[self._decoded - 1] - len(self._ahead))
        self._ahead = [next(forward)]

    def _jumped(self, number: int, proves: bool) -> NativeFrames:
        runs = self._stretches.runs
        try:
            if proves:
                prove(self._request, self._stretches.probes)
            if self._source is None:
                self._source = Source(self._request)
            last = number + 1 == len(runs)
            yield from self._source.sampled(runs[number], to_end=last and self._request.to_end)
        except FAULTS as error:
            raise misbehaved(error) from None
