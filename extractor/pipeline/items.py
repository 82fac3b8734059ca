"""One item: its frames are gathered into clips, or streamed, and its rows are written in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from extractor.pipeline.rows import Rows, concatenate_rows, merge_members
from extractor.pipeline.runner import Frames, NetworkRunner
from schemas.errors import NotFiniteError
from schemas.records import ItemPlan

_Span = tuple[int, int]


class ItemWriter(Protocol):
    """Where the rows of one item go; `extractor.store.commits.staging.StagedItemWriter` is one."""

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append rows to datasets by path."""

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        """Make the item durable, with one manifest row per clip; row ranges count from the item's first row."""

    def reset(self) -> None:
        """Discard all rows and leave nothing behind."""


class ItemAssembly(ABC):
    """What both kinds of assembly share: which frames are valid, rows written so far, manifest rows of the clips."""

    def __init__(self, plan: ItemPlan, runner: NetworkRunner, writer: ItemWriter) -> None:
        self.plan = plan
        self.clips: list[dict[str, Any]] = []
        self._runner = runner
        self._writer = writer
        self._valid = np.zeros(len(plan.index), np.uint8)
        self._received = 0  # frames so far
        self._frame_rows = 0
        self._pair_rows = 0
        self._cancelled = False
        self.refused = ""  # why the store refused a row, as a sentence

    @property
    def complete(self) -> bool:
        """Whether every row of every clip is written, or one was refused."""
        return bool(self.refused) or self._all_written

    @property
    @abstractmethod
    def _all_written(self) -> bool:
        """Whether every row of every clip is written."""

    @property
    def missing_frames(self) -> int:
        """Number of frames of the plan still to come."""
        return len(self.plan.index) - self._received

    def add(self, index: npt.NDArray[np.int64], frames: Frames, valid: npt.NDArray[np.bool_]) -> None:
        """Take the frames that this item needs from a chunk (see `FrameChunk`); frames come in order, each once."""
        positions = np.searchsorted(self.plan.index, index)
        inside = positions < len(self.plan.index)
        inside[inside] = self.plan.index[positions[inside]] == index[inside]
        if not inside.any():
            return
        positions = positions[inside]
        self._valid[positions] = valid[inside]
        self._received += len(positions)
        # A chunk's frames may be shared memory that goes away with it, so keep a copy.
        self._take(positions, frames[inside])

    @abstractmethod
    def _take(self, positions: npt.NDArray[np.int64], frames: Frames) -> None:
        """Use new frames, whose positions in the plan are `positions`."""

    @abstractmethod
    def end(self) -> None:
        """Take note that no more frames come."""

    def cancel(self) -> None:
        """Discard everything and ignore results that still arrive."""
        self._cancelled = True
        self._writer.reset()

    def finish(self, manifest_rows: Sequence[Mapping[str, Any]]) -> None:
        """Make the item durable."""
        self._writer.finish(manifest_rows)

    def _write_frames(self, rows: Rows, positions: npt.NDArray[np.int64]) -> None:
        """Write rows of the frames at `positions` of the plan; a repeated frame is not valid."""
        own = np.diff(positions, prepend=-1) != 0
        self._append(
            {
                **rows,
                "frames/time_seconds": self.plan.time_seconds[positions],
                "frames/index": self.plan.index[positions],
                "frames/valid": (self._valid[positions] * own).astype(np.uint8),
            }
        )
        self._frame_rows += len(positions)

    def _append(self, rows: Rows) -> None:
        if self.refused:
            return
        try:
            self._writer.append(rows)
        except NotFiniteError as error:  # the store's number format cannot hold a value
            self.refused = str(error)

    def _add_clip(self, frames: _Span, pairs: _Span, positions: _Span, num_valid: int) -> None:
        """Add the manifest row of the next clip: its rows, [start, stop), and its first and last valid position."""
        self.clips.append(
            {
                "clip_number": len(self.clips),
                "frame_start": frames[0],
                "frame_stop": frames[1],
                "pair_start": pairs[0],
                "pair_stop": pairs[1],
                "start_seconds": float(self.plan.time_seconds[positions[0]]),
                "end_seconds": float(self.plan.time_seconds[positions[1]]),
                "num_valid_frames": num_valid,
                "rate_capped": self.plan.rate_capped,
            }
        )


class ClipsAssembly(ItemAssembly):
    """An item cut into clips of T frames, each a sequence of its own; each member of the network has its own T."""

    def __init__(self, plan: ItemPlan, runner: NetworkRunner, writer: ItemWriter) -> None:
        super().__init__(plan, runner, writer)
        assert plan.clips is not None
        self._positions = plan.clips
        # Clips in the order of their last frames: (last position, clip, member).
        self._due = sorted(
            (int(positions.max()), clip, member)
            for member, clips in enumerate(self._positions)
            for clip, positions in enumerate(clips)
        )
        self._submitted = 0
        # From the k-th due clip on, no frame before this position is needed.
        firsts = [int(self._positions[member][clip].min()) for _, clip, member in self._due]
        self._needed_from = np.minimum.accumulate(firsts[::-1])[::-1]
        self._frames: dict[int, Frames] = {}
        self._results: dict[int, dict[int, Rows]] = {}

    @property
    def _all_written(self) -> bool:
        return len(self.clips) == len(self.plan.num_valid)

    def _take(self, positions: npt.NDArray[np.int64], frames: Frames) -> None:
        for position, frame in zip(positions.tolist(), frames, strict=True):
            # Frames in the gaps between clips are not needed.
            if self._submitted < len(self._due) and position >= self._needed_from[self._submitted]:
                self._frames[position] = frame.copy()
                self._submit_due(position)

    def _submit_due(self, position: int) -> None:
        """Submit the clips that end with the frame at `position`, then drop what no later clip needs."""
        before = self._submitted
        while self._submitted < len(self._due) and self._due[self._submitted][0] <= position:
            _, clip, member = self._due[self._submitted]
            self._submitted += 1
            wanted = self._positions[member][clip].tolist()
            if all(p in self._frames for p in wanted):  # else the item fails at its end, for missing frames
                clip_frames = np.stack([self._frames[p] for p in wanted])
                self._runner.submit(member, clip_frames, partial(self._receive, clip, member))
        if self._submitted == before:
            return
        keep_from = self._needed_from[self._submitted] if self._submitted < len(self._due) else position + 1
        for old in [p for p in self._frames if p < keep_from]:
            del self._frames[old]

    def end(self) -> None:
        """Do nothing: clips were submitted as their frames came."""

    def _receive(self, clip: int, member: int, rows: Rows) -> None:
        if self._cancelled:
            return
        self._results.setdefault(clip, {})[member] = rows
        while len(self._results.get(len(self.clips), {})) == len(self._positions):
            self._write_clip(len(self.clips))

    def _write_clip(self, clip: int) -> None:
        members = self._results.pop(clip)
        num_valid = int(self.plan.num_valid[clip])
        frame_start, pair_start = self._frame_rows, self._pair_rows
        positions = [self._positions[m][clip] for m in range(len(members))]
        rows = merge_members([members[m] for m in range(len(members))], [len(p) for p in positions])
        if any(path.startswith("pairs/") for path in rows):
            self._pair_rows += sum(len(p) - 1 for p in positions)
        self._write_frames(rows, np.concatenate(positions))
        self._add_clip(
            (frame_start, self._frame_rows),
            (pair_start, self._pair_rows),
            (min(int(p[0]) for p in positions), max(int(p[-1]) for p in positions)),
            num_valid,
        )


class SequenceAssembly(ItemAssembly):
    """An item as one sequence whose clips are ranges of it; rows are written as they become known.

    A row is written once, however many clips share it. Frames in the gaps between windows are computed, because their
    neighbours need them, but not written; neither are pairs with such a frame.
    """

    def __init__(self, plan: ItemPlan, runner: NetworkRunner, writer: ItemWriter) -> None:
        super().__init__(plan, runner, writer)
        assert plan.ranges is not None
        self._ranges = plan.ranges
        self._sequence = runner.sequence(plan.ranges)
        self._pending: Rows = {}  # motion is known before the frame's feature
        covering = np.zeros(len(plan.index) + 1, np.int64)  # how many clips hold a frame
        np.add.at(covering, plan.ranges[:, 0], 1)
        np.add.at(covering, plan.ranges[:, 1], -1)
        self._kept = np.cumsum(covering[:-1]) > 0
        self._kept_pairs = self._kept[:-1] & self._kept[1:]
        self._frames_known = self._pairs_known = 0

    @property
    def _all_written(self) -> bool:
        return bool(self.clips)

    def _take(self, positions: npt.NDArray[np.int64], frames: Frames) -> None:
        for rows in self._sequence.push(np.array(frames), last=not self.missing_frames):
            self._write(rows)

    def end(self) -> None:
        """Add the clips; all rows were written when the last frame came."""
        if self._frames_known < len(self._kept):  # no output has rows for frames
            self._write_known({}, len(self._kept) - self._frames_known)
        frame_row, pair_row = _rows_before(self._kept), _rows_before(self._kept_pairs)
        has_pairs = self._pair_rows > 0
        for (start, stop), num_valid in zip(self._ranges.tolist(), self.plan.num_valid.tolist(), strict=True):
            pairs = (int(pair_row[start]), int(pair_row[stop - 1])) if has_pairs else (0, 0)
            self._add_clip((int(frame_row[start]), int(frame_row[stop])), pairs, (start, stop - 1), num_valid)

    def _write(self, rows: Rows) -> None:
        pairs = {path: array for path, array in rows.items() if path.startswith("pairs/")}
        clips = {path: array for path, array in rows.items() if path.startswith("clips/")}
        frames = {path: array for path, array in rows.items() if path.startswith("frames/")}
        count = max((len(array) for array in pairs.values()), default=0)
        kept = self._kept_pairs[self._pairs_known : self._pairs_known + count]
        self._pairs_known += count
        self._pair_rows += int(kept.sum())
        if clips or pairs:
            self._append(clips | {path: array[kept] for path, array in pairs.items()})
        self._pending = concatenate_rows(self._pending, frames)
        ready = min((len(array) for array in self._pending.values()), default=0)
        if ready:
            self._write_known({path: array[:ready] for path, array in self._pending.items()}, ready)
            self._pending = {path: array[ready:] for path, array in self._pending.items()}

    def _write_known(self, rows: Rows, count: int) -> None:
        """Write the next `count` frames, except those that no clip holds."""
        first, self._frames_known = self._frames_known, self._frames_known + count
        kept = np.flatnonzero(self._kept[first : self._frames_known])
        if len(kept):
            self._write_frames({path: array[kept] for path, array in rows.items()}, first + kept)


def _rows_before(kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number of rows written before each of m frames or pairs, and in total, (m + 1,)."""
    return np.concatenate([[0], np.cumsum(kept)])
