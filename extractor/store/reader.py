"""`FeatureStore`: a finished or growing store as tables and arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from extractor.store.commits.run import Run, read_run
from extractor.store.commits.snapshot import Commits, committed
from extractor.store.disk.open_shards import OpenShards
from extractor.store.disk.stored_tensors import StoredTensors
from extractor.store.index.clips import RANGES, ClipIndex, ScatteredError, Tables, tables_of
from extractor.store.manifest import cached_manifest, cached_rows, merge_failures, merge_fragments
from extractor.store.table_columns import joined
from extractor.store.tables import read_table_columns
from schemas.config import ExtractionConfig
from schemas.errors import StoreError
from schemas.layout import StorePaths, row_range
from schemas.manifest import MANIFEST_COLUMNS
from schemas.records import CommitRecord
from schemas.wording import counted

Array = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]

_CACHE_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 8 * 1024 * 1024
_OF_CLIPS = ("clip_number", *RANGES, "start_seconds", "end_seconds", "num_valid_frames")
_OF_VIDEOS = tuple(name for name in MANIFEST_COLUMNS if name not in _OF_CLIPS)


class FeatureStore:
    """Reads what a store has committed when it is opened. Open it again to see later commits.

    A collection of videos: `len(store)` counts them, iteration yields their ids, `"a.mp4" in store` says whether the
    store has features of one, `videos` is a table of them. `num_clips` counts the rows of `manifest`.

    Tensors go by the names in `tensors` (see docs/format.md): "clip" (n, D), "frame" (m, D), "motion" (m, C) or
    (m, C, g, g), "time_seconds", "index" and "valid" (m,), "displacement" (k, 2, h, w), "confidence" (k, 1, h, w),
    "tied" (k, h, w), "logits" (n, classes), and for ensembles "frame_member" (m,), "pair_member" (k,); for n clips,
    m frames and k pairs. Floats have the stored dtype; "valid" and "tied" are bool.

    Files open on first use, at most `max_open_files` at a time, each with `cache_bytes` of chunk cache per dataset. A
    store can be pickled into spawned workers and used after a fork: each process opens its own files and sees the same
    clips under the same numbers. Threads take turns.

    Raises StoreError if `path` is no store, and DamagedShardError if a file is not as it was written.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_open_files: int = 32, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self.paths = StorePaths(Path(path))
        self.run: Run = read_run(self.paths)
        self._max_open_files = max(1, max_open_files)
        self._cache_bytes = cache_bytes
        self._files = OpenShards(self.paths, self.run.datasets, self._max_open_files, cache_bytes)
        self._tensors = StoredTensors(self._files, self.run.datasets, self.run.shape.cells[1])
        self._see(committed(self.paths))

    @property
    def config(self) -> ExtractionConfig:
        """What was extracted, and how."""
        return self.run.config

    @property
    def records(self) -> Mapping[str, CommitRecord]:
        """Commit records by shard, as they were when the store was opened."""
        return self._commits

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row per clip: `clip(i)` reads row i. Clips of a video are neighbours.

        Columns are those of schemas.manifest, then those of the user's table, as the inventory has them on first use.
        All of it is loaded, which takes about 600 bytes a clip; nothing else here needs it where the store has its
        caches.
        """
        cached = cached_manifest(self.paths, self._commits)
        manifest = cached if cached is not None else merge_fragments(self.paths, self._commits)
        return joined(manifest, read_table_columns(self.paths))

    @cached_property
    def failures(self) -> pd.DataFrame:
        """One row per video that could not be extracted."""
        return merge_failures(self._commits)

    @cached_property
    def video_ids(self) -> tuple[str, ...]:
        """Videos that have features, in the order of the manifest."""
        return tuple(self._index.video_ids())

    @cached_property
    def videos(self) -> pd.DataFrame:
        """One row per video with features, in the order of `video_ids`.

        Columns: video_id; num_clips and num_frames, the video's rows in `manifest` and in tensors by frame; those of
        the manifest that say something about a video; those of the user's table, by their names in `manifest`.
        """
        edges, ranges = self.first_clips(), self.row_ranges()
        frames = ranges[edges[1:] - 1, 2] - ranges[edges[:-1], 1]
        found = joined(self.of_videos(_OF_VIDEOS), read_table_columns(self.paths))
        for name, counts in (("num_frames", frames), ("num_clips", np.diff(edges))):
            if name not in found.columns:  # a column of the user's keeps its name
                found.insert(1, name, counts)
        return found

    def of_videos(self, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of the manifest with one row per video, in the order of `video_ids`: that of its first clip."""
        first = self._index.video_clips()[:-1]
        found = None if "manifest" in vars(self) else cached_rows(self.paths, self._commits, first, columns)
        return self.manifest[list(columns)].iloc[first].reset_index(drop=True) if found is None else found

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the store's tensors."""
        return self._tensors.names

    @property
    def num_clips(self) -> int:
        """Number of clips of all videos: rows of `manifest`."""
        return len(self._index)

    def __len__(self) -> int:
        return self._index.num_videos

    def __iter__(self) -> Iterator[str]:
        return iter(self.video_ids)

    def __contains__(self, video_id: object) -> bool:
        return isinstance(video_id, str) and self._index.find(video_id) is not None

    def __repr__(self) -> str:
        config = self.config
        options = {"num_frames": config.num_frames, "rate_hz": config.rate_hz, "hop": config.hop, "clips": config.clips}
        told = ", ".join(f"{name}={value:g}" for name, value in options.items() if value is not None)
        sampling = f"{config.sampling} ({told})" if told else str(config.sampling)
        return (
            f"FeatureStore({str(self.paths.root)!r}: {counted(len(self), 'video')}, {counted(self.num_clips, 'clip')}; "
            f"{config.model}, {sampling}, {config.size} px; {', '.join(self.tensors)})"
        )

    def video(self, video_id: str, tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Tensors of a video by name (default: all), over all its clips, rows in order.

        To cut out a clip, take its row range in the manifest minus the start of the video's first clip.
        """
        return self._read_clips(self._tensors.checked(tensors), self.video_clips(video_id))

    def clip(self, index: int, tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Tensors by name (default: all) of the clip in row `index` of the manifest."""
        position = self._position(index)
        return self._read_clips(self._tensors.checked(tensors), range(position, position + 1))

    def clips(self, indices: Sequence[int], tensors: Sequence[str] | None = None) -> list[dict[str, Array]]:
        """Like `clip` for many clips at once, in the given order; neighbouring rows are read together."""
        names = self._tensors.checked(tensors)
        wanted = np.array([self._position(index) for index in indices], dtype=np.int64)
        found: list[dict[str, Array]] = [{} for _ in wanted]
        files, ranges = self._index.shards(wanted), self._index.ranges(wanted)
        for file in np.unique(files):
            places = np.flatnonzero(files == file)
            for name in names:
                starts, stops = row_range(ranges[places], self._tensors.spec(name).level)
                for place, rows in self._tensors.gather(name, self._shards[file], starts, stops):
                    found[places[place]][name] = rows
        return found

    def video_clips(self, video_id: str) -> range:
        """Manifest rows of a video's clips."""
        found = self._index.find(video_id)
        if found is None:
            failed = self.failures
            why = failed.loc[failed["video_id"] == video_id, "message"]
            reason = f"it failed: {why.iloc[0]}" if len(why) else "`video_ids` lists those it has"
            raise StoreError(f"{self.paths.root} has no features of {video_id!r}; {reason}")
        return found

    def manifest_rows(self, clips: range) -> pd.DataFrame:
        """Rows of the manifest of neighbouring clips, without loading all of it where the store has its caches."""
        names, rows = list(MANIFEST_COLUMNS), np.arange(clips.start, clips.stop)
        found = None if "manifest" in vars(self) else cached_rows(self.paths, self._commits, rows, names)
        if found is None:
            return self.manifest.iloc[clips.start : clips.stop].reset_index(drop=True)
        return joined(found, read_table_columns(self.paths))

    def first_clips(self) -> npt.NDArray[np.int64]:
        """Manifest row of the first clip of every video, and the number of all clips (V + 1,)."""
        return self._index.video_clips()

    def row_ranges(self) -> npt.NDArray[np.int64]:
        """Rows of all clips in their files (n, 5): its own, then first and one past the last of frames and pairs."""
        return self._index.ranges(slice(None))

    def files(self, clips: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of the files that hold clips (k,), in the order of the manifest."""
        return self._index.shards(clips)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Dtype of a tensor as it is read."""
        return self._tensors.dtype(name)

    def row_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of a tensor."""
        return self._tensors.row_shape(name)

    def shape(self, name: str, clips: range) -> tuple[int, ...]:
        """Shape of a tensor over neighbouring clips of one video."""
        _, start, stop = self._range(name, clips)
        return (stop - start, *self.row_shape(name))

    def blocks(self, name: str, clips: range, block_rows: int | None = None) -> Iterator[Array]:
        """Rows of a tensor over neighbouring clips of one video, `block_rows` (default: about 8 MB) at a time."""
        file, start, stop = self._range(name, clips)
        step = block_rows or max(1, _BLOCK_BYTES // self._tensors.spec(name).row_bytes)
        for first in range(start, stop, step):
            yield self._tensors.read(name, self._shards[file], first, min(stop, first + step))

    def rows(self, name: str, clip: int, start: int, stop: int) -> Array:
        """Rows [start, stop) of a tensor, in the manifest's row numbers, of the file that holds a clip.

        For windows of long clips; `clip` and `video` read whole clips and videos.
        """
        self._tensors.checked([name])
        file = int(self._index.shards(np.array([self._position(clip)]))[0])
        return self._tensors.read(name, self._shards[file], start, stop)

    def close(self) -> None:
        """Close all files. The store reopens them when it is used again."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _see(self, commits: Commits) -> None:
        """Show these commits."""
        self._commits = commits
        self._shards = list(commits.attempts.items())
        self._index = ClipIndex(self.paths.index, commits, self._tables)

    def _tables(self) -> Tables:
        """What clips.index holds, made from the manifest."""
        try:
            return tables_of(self.manifest, self._commits)
        except ScatteredError as error:
            raise StoreError(f"the manifest of {self.paths.root} was altered: {error}") from error

    def _position(self, index: int) -> int:
        count = self.num_clips
        if not -count <= index < count:
            raise IndexError(f"expected the index of one of {counted(count, 'clip')}; got {index}")
        return int(index) % count

    def _ends(self, clips: range) -> tuple[int, Int64Array, Int64Array]:
        """The file of neighbouring clips of one video; rows of the first clip and of the last, as `RANGES`."""
        ends = np.array([clips[0], clips[-1]])
        first, last = self._index.ranges(ends)
        return int(self._index.shards(ends[:1])[0]), first, last

    def _range(self, name: str, clips: range) -> tuple[int, int, int]:
        """(file, start, stop) of a tensor's rows for neighbouring clips of one video."""
        level = self._tensors.spec(name).level
        file, first, last = self._ends(clips)
        return file, int(row_range(first, level)[0]), int(row_range(last, level)[1])

    def _read_clips(self, names: Sequence[str], clips: range) -> dict[str, Array]:
        """Tensors of neighbouring clips of one video."""
        file, first, last = self._ends(clips)
        found = {}
        for name in names:
            level = self._tensors.spec(name).level
            start, stop = int(row_range(first, level)[0]), int(row_range(last, level)[1])
            found[name] = self._tensors.read(name, self._shards[file], start, stop)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {
            "path": str(self.paths.root),
            "options": {"max_open_files": self._max_open_files, "cache_bytes": self._cache_bytes},
            "attempts": self._commits.attempts,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        FeatureStore.__init__(self, state["path"], **state["options"])
        attempts = state["attempts"]
        if self._commits.attempts == attempts:
            return
        self._see(self._commits.only(attempts))  # without what was committed since
        if self._commits.attempts != attempts:
            raise StoreError(f"{self.paths.root} changed since it was opened in the other process: open it again")
