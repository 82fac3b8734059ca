"""The frames of one item on their way to the network: as one sequence, or gathered into clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from extractor.models.pieces import WHOLE
from extractor.pipeline.feeder import Feeder, Frames, FrameSequence
from schemas.records import Int64Array, ItemPlan


class ItemFrames(ABC):
    """Takes the frames of a file that one item needs, and pushes them into the feeder."""

    def __init__(self, number: int, plan: ItemPlan, feeder: Feeder) -> None:
        self.number = number
        self.plan = plan
        self._feeder = feeder
        self._received = 0

    @property
    def missing_frames(self) -> int:
        """Number of frames of the plan still to come."""
        return len(self.plan.index) - self._received

    def add(self, index: Int64Array, frames: Frames, valid: npt.NDArray[np.bool_]) -> Int64Array:
        """Take the frames that this item needs from a chunk (see `FrameChunk`); frames come in order, each once.

        Returns the positions in the plan of those that are not valid.
        """
        positions = np.searchsorted(self.plan.index, index)
        inside = positions < len(self.plan.index)
        inside[inside] = self.plan.index[positions[inside]] == index[inside]
        (rows,) = np.nonzero(inside)
        if not len(rows):
            return rows
        positions = positions[rows]
        self._received += len(rows)
        self._take(positions, frames, rows)
        return positions[~valid[rows]]

    @abstractmethod
    def _take(self, positions: Int64Array, frames: Frames, rows: Int64Array) -> None:
        """Use `rows` of new frames, whose positions in the plan are `positions`."""

    @abstractmethod
    def drop(self) -> None:
        """Forget all frames that are not computed yet."""


class SequenceFrames(ItemFrames):
    """An item as one sequence whose clips are ranges of it; frames are pushed as they come.

    Frames in the gaps between windows are computed too, because their neighbours need them.
    """

    def __init__(self, number: int, plan: ItemPlan, feeder: Feeder) -> None:
        super().__init__(number, plan, feeder)
        assert plan.ranges is not None
        self._sequence = feeder.open(number, 0, 0, plan.ranges)

    def _take(self, positions: Int64Array, frames: Frames, rows: Int64Array) -> None:
        blocks = [frames[start:stop] for start, stop in _runs(rows)]
        self._feeder.push(self._sequence, blocks, last=not self.missing_frames)

    def drop(self) -> None:
        self._feeder.drop(self._sequence)


class ClipFrames(ItemFrames):
    """An item cut into clips of T frames, each a sequence of its own; each member of the network has its own T.

    Sequence `clip * members + member` of the item is pushed when its last frame has come.
    """

    def __init__(self, number: int, plan: ItemPlan, feeder: Feeder) -> None:
        super().__init__(number, plan, feeder)
        assert plan.clips is not None
        self._positions = plan.clips
        # Clips in the order of their last frames: (last position, clip, member).
        self._due = sorted(
            (int(positions.max()), clip, member)
            for member, clips in enumerate(self._positions)
            for clip, positions in enumerate(clips)
        )
        self._pushed = 0
        # From the k-th due clip on, no frame before this position is needed.
        firsts = [int(self._positions[member][clip].min()) for _, clip, member in self._due]
        self._needed_from = np.minimum.accumulate(firsts[::-1])[::-1]
        self._frames: dict[int, Frames] = {}
        self._sequences: list[FrameSequence] = []

    def _take(self, positions: Int64Array, frames: Frames, rows: Int64Array) -> None:
        for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
            # Frames in the gaps between clips are not needed.
            if self._pushed < len(self._due) and position >= self._needed_from[self._pushed]:
                self._frames[position] = frames[row : row + 1]
                self._push_due(position)

    def _push_due(self, position: int) -> None:
        """Push the clips that end with the frame at `position`, then forget what no later clip needs."""
        before = self._pushed
        while self._pushed < len(self._due) and self._due[self._pushed][0] <= position:
            _, clip, member = self._due[self._pushed]
            self._pushed += 1
            wanted = self._positions[member][clip].tolist()
            if not all(p in self._frames for p in wanted):  # the item fails at its end, for missing frames
                continue
            sequence = self._feeder.open(self.number, clip * len(self._positions) + member, member, WHOLE)
            self._sequences.append(sequence)
            self._feeder.push(sequence, [self._frames[p] for p in wanted], last=True)
        if self._pushed == before:
            return
        keep_from = self._needed_from[self._pushed] if self._pushed < len(self._due) else position + 1
        for old in [p for p in self._frames if p < keep_from]:
            del self._frames[old]

    def drop(self) -> None:
        for sequence in self._sequences:
            self._feeder.drop(sequence)
        self._sequences.clear()
        self._frames.clear()


def item_frames(number: int, plan: ItemPlan, feeder: Feeder) -> ItemFrames:
    """The frames of an item, as its plan takes them."""
    return (ClipFrames if plan.ranges is None else SequenceFrames)(number, plan, feeder)


def _runs(rows: Int64Array) -> Iterator[tuple[int, int]]:
    """[start, stop) of each run of consecutive row numbers."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    for run in np.split(rows, cuts):
        yield int(run[0]), int(run[-1]) + 1
