"""The rows of one item on their way to the store: given out of order and by piece, written in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from extractor.pipeline.messages import Rows
from schemas.errors import NotFiniteError
from schemas.records import Int64Array, ItemPlan

_Span = tuple[int, int]


class ItemWriter(Protocol):
    """Where the rows of one item go; `extractor.store.commits.staging.StagedItemWriter` is one."""

    def append(self, rows: Mapping[str, Any]) -> None:
        """Append rows to datasets by path."""

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        """Make the item whole, with one manifest row per clip; row ranges count from the item's first row."""

    def reset(self) -> None:
        """Discard all rows and leave nothing behind."""


class ItemRows(ABC):
    """What both kinds of item share: which frames are valid, rows written so far."""

    def __init__(self, plan: ItemPlan, writer: ItemWriter) -> None:
        self.plan = plan
        self.writer = writer
        self.valid = np.ones(len(plan.index), np.uint8)
        self.refused = ""  # why the store refused a row, as a sentence
        self._frame_rows = 0
        self._pair_rows = 0

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether every row of every clip is written, or would have been if none had been refused."""

    @abstractmethod
    def take(self, place: int, rows: Rows, frames: int) -> None:
        """Take the next rows of one of the item's sequences; `frames` of its frames are complete with them."""

    @abstractmethod
    def clips(self) -> list[dict[str, Any]]:
        """The manifest row of every clip, without what it says about the video."""

    def _write_frames(self, rows: Rows, positions: Int64Array) -> None:
        """Write rows of the frames at `positions` of the plan; a repeated frame is not valid."""
        own = np.diff(positions, prepend=-1) != 0
        self._append(
            {
                **rows,
                "frames/time_seconds": self.plan.time_seconds[positions],
                "frames/index": self.plan.index[positions],
                "frames/valid": (self.valid[positions] * own).astype(np.uint8),
            }
        )
        self._frame_rows += len(positions)

    def _append(self, rows: Rows) -> None:
        if self.refused:
            return
        try:
            self.writer.append(rows)
        except NotFiniteError as error:  # the store's number format cannot hold a value
            self.refused = str(error)

    def _clip(self, number: int, frames: _Span, pairs: _Span, positions: _Span) -> dict[str, Any]:
        """The manifest row of a clip: its rows, [start, stop), and its first and last valid position."""
        return {
            "clip_number": number,
            "frame_start": frames[0],
            "frame_stop": frames[1],
            "pair_start": pairs[0],
            "pair_stop": pairs[1],
            "start_seconds": float(self.plan.time_seconds[positions[0]]),
            "end_seconds": float(self.plan.time_seconds[positions[1]]),
            "num_valid_frames": int(self.plan.num_valid[number]),
            "rate_capped": self.plan.rate_capped,
        }


class ClipRows(ItemRows):
    """Rows of clips that are sequences of their own, written clip by clip; members' rows stand side by side."""

    def __init__(self, plan: ItemPlan, writer: ItemWriter) -> None:
        super().__init__(plan, writer)
        assert plan.clips is not None
        self._positions = plan.clips
        self._waiting: dict[int, tuple[Rows, int]] = {}  # by sequence: rows so far, frames so far
        self._clips: list[dict[str, Any]] = []

    @property
    def complete(self) -> bool:
        return len(self._clips) == len(self.plan.num_valid)

    def clips(self) -> list[dict[str, Any]]:
        return self._clips

    def take(self, place: int, rows: Rows, frames: int) -> None:
        earlier, count = self._waiting.get(place, ({}, 0))
        self._waiting[place] = concatenate_rows(earlier, rows), count + frames
        while not self.complete and self._is_whole(len(self._clips)):
            self._write_clip(len(self._clips))

    def _is_whole(self, clip: int) -> bool:
        first = clip * len(self._positions)
        return all(
            self._waiting.get(first + member, ({}, 0))[1] == len(positions[clip])
            for member, positions in enumerate(self._positions)
        )

    def _write_clip(self, clip: int) -> None:
        positions = [of_member[clip] for of_member in self._positions]
        first = clip * len(positions)
        members = [self._waiting.pop(first + member)[0] for member in range(len(positions))]
        frame_start, pair_start = self._frame_rows, self._pair_rows
        rows = merge_members(members, [len(p) for p in positions])
        if any(path.startswith("pairs/") for path in rows):
            self._pair_rows += sum(len(p) - 1 for p in positions)
        self._write_frames(rows, np.concatenate(positions))
        self._clips.append(
            self._clip(
                clip,
                (frame_start, self._frame_rows),
                (pair_start, self._pair_rows),
                (min(int(p[0]) for p in positions), max(int(p[-1]) for p in positions)),
            )
        )


class SequenceRows(ItemRows):
    """Rows of one sequence whose clips are ranges of it; rows are written as they become known.

    A row is written once, however many clips share it. Frames in the gaps between windows are not written; neither are
    pairs with such a frame.
    """

    def __init__(self, plan: ItemPlan, writer: ItemWriter) -> None:
        super().__init__(plan, writer)
        assert plan.ranges is not None
        self._ranges = plan.ranges
        self._pending: Rows = {}  # motion and stages are known before the frame's feature
        covering = np.zeros(len(plan.index) + 1, np.int64)  # how many clips hold a frame
        np.add.at(covering, plan.ranges[:, 0], 1)
        np.add.at(covering, plan.ranges[:, 1], -1)
        self._kept = np.cumsum(covering[:-1]) > 0
        self._kept_pairs = self._kept[:-1] & self._kept[1:]
        self._frames_known = self._pairs_known = 0

    @property
    def complete(self) -> bool:
        return self._frames_known == len(self._kept)

    def clips(self) -> list[dict[str, Any]]:
        frame_row, pair_row = _rows_before(self._kept), _rows_before(self._kept_pairs)
        has_pairs = self._pair_rows > 0
        return [
            self._clip(
                number,
                (int(frame_row[start]), int(frame_row[stop])),
                (int(pair_row[start]), int(pair_row[stop - 1])) if has_pairs else (0, 0),
                (start, stop - 1),
            )
            for number, (start, stop) in enumerate(self._ranges.tolist())
        ]

    def take(self, place: int, rows: Rows, frames: int) -> None:
        pairs = {path: array for path, array in rows.items() if path.startswith("pairs/")}
        clips = {path: array for path, array in rows.items() if path.startswith("clips/")}
        count = max((len(array) for array in pairs.values()), default=0)
        kept = self._kept_pairs[self._pairs_known : self._pairs_known + count]
        self._pairs_known += count
        self._pair_rows += int(kept.sum())
        if clips or pairs:
            self._append(clips | {path: _those(array, kept) for path, array in pairs.items()})
        by_frame = {path: array for path, array in rows.items() if path.startswith("frames/")}
        self._pending = concatenate_rows(self._pending, by_frame)
        if frames:
            self._write_known({path: array[:frames] for path, array in self._pending.items()}, frames)
            self._pending = {path: array[frames:] for path, array in self._pending.items()}

    def _write_known(self, rows: Rows, count: int) -> None:
        """Write the next `count` frames, except those that no clip holds."""
        first, self._frames_known = self._frames_known, self._frames_known + count
        kept = self._kept[first : self._frames_known]
        if kept.any():
            rows = {path: _those(array, kept) for path, array in rows.items()}
            self._write_frames(rows, first + np.flatnonzero(kept))


def _those(array: Any, kept: Any) -> Any:
    """The rows to keep; without a copy if it is all of them."""
    return array if kept.all() else array[kept]


def _rows_before(kept: Any) -> Int64Array:
    """Number of rows written before each of m frames or pairs, and in total, (m + 1,)."""
    return np.concatenate([[0], np.cumsum(kept)])


def merge_members(members: Sequence[Rows], num_frames: Sequence[int]) -> Rows:
    """Merge the rows that the members of a network have for one clip; member m saw `num_frames[m]` frames.

    Clip features stand one after another, and logits are averaged (MSNet-En). Rows of frames and pairs follow one
    another; "frames/member" and "pairs/member" say whose they are. A single member's rows are returned as they are.
    """
    if len(members) == 1:
        return members[0]
    merged = {
        path: np.concatenate([rows[path] for rows in members], axis=1 if path == "clips/feature" else 0)
        for path in members[0]
    }
    if "clips/logits" in merged:
        logits = merged["clips/logits"]
        merged["clips/logits"] = logits.astype(np.float32).mean(0, keepdims=True).astype(logits.dtype)
    numbers = np.arange(len(members), dtype=np.uint8)
    merged["frames/member"] = np.repeat(numbers, num_frames)
    if any(path.startswith("pairs/") for path in merged):
        merged["pairs/member"] = np.repeat(numbers, np.subtract(num_frames, 1))
    return merged


def concatenate_rows(first: Rows, second: Rows) -> Rows:
    """Append the rows of `second` to those of `first`, dataset by dataset."""
    if not first or not second:
        return first or second
    return {
        path: np.concatenate([rows[path] for rows in (first, second) if path in rows])
        for path in first.keys() | second.keys()
    }
