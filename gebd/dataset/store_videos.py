"""The videos of a store as arrays: the rows and times of each item, and reading them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore, read_inventory
from gebd.annotations.identity import Spans
from schemas.errors import StoreError, UsageError
from schemas.tensors import output_choices
from schemas.wording import counted

Array = npt.NDArray[Any]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

FRAME_TENSORS = tuple(name for name, stored in output_choices().items() if stored.level == "frames")
FEATURES = ("frame", "motion")
"""Tensors of which `features` consists: one vector a frame, however they are stored."""

PAIR_TENSORS = tuple(name for name, stored in output_choices().items() if stored.level == "pairs")


@dataclass(frozen=True, eq=False)
class FrameRows:
    """Metadata of the stored frames of one item: all (m,), and `runs` (n, 4) of them, rows counted from 0.

    time_seconds on the clock of the container. runs: first and one past the last row of frames, then of pairs.
    """

    time_seconds: Float64Array
    index: Int64Array
    valid: npt.NDArray[np.bool_]
    runs: Int64Array


class StoreVideos:
    """The videos of a store, one item (file or segment) each: `ids` in manifest order, and by item, all (n,):

    clip: manifest row of its first clip; clip_stop: one past its last. fps of its file. start_seconds: of the segment,
    or of the file's first frame, on the clock of the container. duration_seconds. `spans`: see `Spans`.

    `member` selects a network of an ensemble. Raises UsageError if the store holds several networks and `member` is
    None or out of range.
    """

    def __init__(self, store: FeatureStore, member: int | None) -> None:
        members = store.run.shape.members
        if (members > 1 and member is None) or (member is not None and not 0 <= member < members):
            raise UsageError(
                f"{store.paths.root} holds the rows of {counted(members, 'network')}: expected a member from 0 to "
                f"{members - 1}; got {member}. Pass member={members - 1} or lower"
            )
        self.store = store
        self.member = member if members > 1 else None
        self.ids: tuple[str, ...] = store.video_ids
        edges = store.first_clips()
        self.clip, self.clip_stop = edges[:-1], edges[1:]
        self._bounds = store.row_ranges()[:, 1:]
        self.file = store.files(self.clip)
        first = store.of_videos(["fps", "video_start_seconds", "video_end_seconds"])
        self.fps = first["fps"].to_numpy()
        file_start, file_end = first["video_start_seconds"].to_numpy(), first["video_end_seconds"].to_numpy()
        segment_start, segment_end = _segments(store, self.ids)
        self.file_start_seconds = file_start
        self.start_seconds = np.where(np.isnan(segment_start), file_start, segment_start)
        end = np.where(np.isnan(segment_end), file_end, np.minimum(segment_end, file_end))
        self.duration_seconds = end - self.start_seconds
        self.spans = Spans(self.start_seconds - file_start, end - file_start)

    def frame_range(self, item: int) -> tuple[int, int]:
        """Return the first and one past the last row of an item's frames in its shard."""
        return int(self._bounds[self.clip[item], 0]), int(self._bounds[self.clip_stop[item] - 1, 1])

    def pair_start(self, item: int) -> int:
        """Return the first row of an item's pairs in its shard."""
        return int(self._bounds[self.clip[item], 2])

    def frames(self, items: Int64Array) -> Iterator[tuple[int, FrameRows]]:
        """Yield the stored frames of items, shard by shard; each shard is read once."""
        for file in np.unique(self.file[items]):
            chosen = items[self.file[items] == file]
            low = min(self.frame_range(item)[0] for item in chosen)
            high = max(self.frame_range(item)[1] for item in chosen)
            names = ["time_seconds", "index", "valid"] + (["frame_member"] if self.member is not None else [])
            rows = {name: self.store.rows(name, int(self.clip[chosen[0]]), low, high) for name in names}
            for item in chosen.tolist():
                start, stop = self.frame_range(item)
                yield (
                    item,
                    self._frame_rows(item, {name: array[start - low : stop - low] for name, array in rows.items()}),
                )

    def _frame_rows(self, item: int, rows: dict[str, Array]) -> FrameRows:
        times = rows["time_seconds"]
        if not np.isfinite(times).all():
            raise StoreError(f"times of {self.ids[item]!r} are not finite: run `msnet verify --deep`")
        runs = self._bounds[self.clip[item] : self.clip_stop[item]] - self._bounds[self.clip[item], [0, 0, 2, 2]]
        runs = join_ranges(runs)
        if self.member is not None:
            runs = self._of_member(runs, rows["frame_member"])
        return FrameRows(times, rows["index"], rows["valid"], runs)

    def _of_member(self, runs: Int64Array, frame_member: Array) -> Int64Array:
        """Return the part of every clip that belongs to one network: its frames are contiguous, as are its pairs."""
        found = []
        for frame_start, frame_stop, pair_start, pair_stop in runs.tolist():
            rows = np.flatnonzero(frame_member[frame_start:frame_stop] == self.member)
            if not len(rows):
                raise StoreError(f"a clip has no rows of network {self.member}: run `msnet verify --deep`")
            start, stop = frame_start + int(rows[0]), frame_start + int(rows[-1]) + 1
            before = len(
                np.unique(frame_member[frame_start:start])
            )  # networks before it; each has one pair fewer than frames
            pairs = pair_start + start - frame_start - before
            found.append((start, stop, min(pairs, pair_stop), min(pairs + stop - start - 1, pair_stop)))
        return np.array(found, dtype=np.int64)


def join_ranges(runs: Int64Array) -> Int64Array:
    """Merge runs (n, 4) that are ranges of one pass.

    Within a pass, pair row minus frame row is the same in neighbouring ranges; every separate clip, and every gap
    between windows, decreases it by one.
    """
    starts_anew = np.ones(len(runs), np.bool_)
    if len(runs) and runs[-1, 3]:
        starts_anew[1:] = np.diff(runs[:, 2] - runs[:, 0]) != 0
    first = np.flatnonzero(starts_anew)
    last = np.append(first[1:], len(runs)) - 1
    return np.stack([runs[first, 0], runs[last, 1], runs[first, 2], runs[last, 3]], axis=1)


def _segments(store: FeatureStore, ids: tuple[str, ...]) -> tuple[Float64Array, Float64Array]:
    """Return start and end of every item on its container's clock, from the inventory; NaN for a whole file."""
    inventory = read_inventory(store.paths).drop_duplicates("video_id", keep="last").set_index("video_id")
    inventory = inventory.reindex(list(ids))
    start, end = inventory["start_seconds"].to_numpy(), inventory["end_seconds"].to_numpy()
    return start, np.where(end > np.nan_to_num(start, nan=-np.inf), end, np.nan)
