"""Which clips a video has, and in which rows of which shard each clip lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from extractor.store.commits.snapshot import Commits
from extractor.store.index.blocks import BlockFile, BlockWriter, DamagedIndexError
from schemas.errors import StoreError

Array = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]
_T = TypeVar("_T")

RANGES = ("clip_row", "frame_start", "frame_stop", "pair_start", "pair_stop")
"""Columns of the manifest that a row of `clips` holds, in this order."""

_VERSION = 1


class ScatteredError(StoreError):
    """The clips of a video are not neighbours."""


class _Rows(Protocol):
    """An array in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Array: ...


@dataclass(frozen=True, eq=False)
class Tables:
    """Clips in the order of the manifest, of S shards and V videos.

    clips (n, 5): see RANGES. shard_clips (S + 1,) and video_clips (V + 1,): first clip of each, and the number of all.
    id_bytes, id_edges (V + 1,): ids of the videos in UTF-8, one after the other. hashes (V,), ascending, and
    hash_videos (V,), the video of each: to find a video by its id.
    """

    clips: _Rows
    shard_clips: _Rows
    video_clips: _Rows
    id_bytes: _Rows
    id_edges: _Rows
    hashes: _Rows
    hash_videos: _Rows

    @classmethod
    def opened(cls, path: Path, commits: Commits) -> Self:
        """Those of a file that was made from these commits; raises DamagedIndexError if there is none."""
        file = BlockFile(path)
        if (file.document.get("version"), file.document.get("commits")) != (_VERSION, commits.state.decode()):
            raise DamagedIndexError(f"{path} was made from other commits")
        tables = cls(**{name: file.rows(name) for name in cls.__dataclass_fields__})
        videos = {len(tables.id_edges), len(tables.video_clips), len(tables.hash_videos) + 1, len(tables.hashes) + 1}
        shards = tables.shard_clips[:]
        if len(videos) > 1 or len(shards) != len(commits) + 1 or shards[-1] != len(tables.clips):
            raise DamagedIndexError(f"{path} is not as it was written")
        return tables


class TablesBuilder:
    """Builds `Tables` from the manifest, which comes in pieces: whole shards in their order.

    shards: names of all shards, in order. keep: gets the ranges of clips (k, 5), piece by piece.
    """

    def __init__(self, shards: Sequence[str], keep: Callable[[Array], None]) -> None:
        self._shards = {shard: number for number, shard in enumerate(shards)}
        self._keep = keep
        self._of_shard = np.zeros(len(shards), np.int64)
        self._ids: list[str] = []
        self._counts: list[Int64Array] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Take some shards' rows of the manifest."""
        if not len(frame):
            return
        edges, ids = runs_of(frame["video_id"])
        self._ids += ids
        self._counts.append(np.diff(edges))
        edges, shards = runs_of(frame["shard"])
        numbers = [self._shards[shard] for shard in shards]
        self._of_shard[numbers] += np.diff(edges)
        self._keep(frame[list(RANGES)].to_numpy(np.int64))

    @property
    def video_ids(self) -> list[str]:
        """Ids of the videos so far, in order."""
        return self._ids

    @property
    def videos_clips(self) -> Int64Array:
        """Number of clips of each of these videos."""
        return np.concatenate([np.zeros(0, np.int64), *self._counts])

    def arrays(self) -> dict[str, Array]:
        """All tables but `clips`. Raises ScatteredError."""
        if len(set(self._ids)) != len(self._ids):
            raise ScatteredError("the clips of a video are not neighbours")
        data = [video_id.encode() for video_id in self._ids]
        hashes = np.fromiter((_hash(one) for one in data), np.uint64, len(data))
        order = np.argsort(hashes, kind="stable")
        return {
            "shard_clips": _edges(self._of_shard),
            "video_clips": _edges(self.videos_clips),
            "id_bytes": np.frombuffer(b"".join(data), np.uint8),
            "id_edges": _edges(np.fromiter(map(len, data), np.int64, len(data))),
            "hashes": hashes[order],
            "hash_videos": order.astype(np.uint32),
        }


def write_tables(writer: BlockWriter, builder: TablesBuilder, state: bytes) -> None:
    """Complete a file of which the clips are written."""
    for name, array in builder.arrays().items():
        writer.write(name, array)
    writer.close({"version": _VERSION, "commits": state.decode()})


def tables_of(manifest: pd.DataFrame, commits: Commits) -> Tables:
    """Tables of a whole manifest in memory."""
    pieces: list[Array] = [np.zeros((0, len(RANGES)), np.int64)]
    builder = TablesBuilder(list(commits), pieces.append)
    builder.add(manifest)
    return Tables(clips=np.concatenate(pieces), **builder.arrays())


class ClipIndex:
    """Finds videos and clips of a store, in the file `path` if that was made from these commits.

    The file is opened here and read as it is needed. If there is none, or it turns out to be damaged, `made` makes the
    tables instead, which takes long.
    """

    def __init__(self, path: Path, commits: Commits, made: Callable[[], Tables]) -> None:
        self._made = made
        self._tables: Tables | None = None
        with suppress(DamagedIndexError):
            self._tables = Tables.opened(path, commits)

    def __len__(self) -> int:
        return self._read(lambda tables: len(tables.clips))

    @property
    def num_videos(self) -> int:
        """Number of videos with features."""
        return self._read(lambda tables: len(tables.hashes))

    def video_ids(self) -> list[str]:
        """Videos that have features, in the order of the manifest."""
        return self._read(_ids)

    def video_clips(self) -> Int64Array:
        """First clip of every video, and the number of clips (V + 1,)."""
        return self._read(lambda tables: tables.video_clips[:].astype(np.int64))

    def find(self, video_id: str) -> range | None:
        """Clips of a video; None if there is no such video."""
        return self._read(lambda tables: _find(tables, video_id))

    def ranges(self, clips: slice | Int64Array) -> Int64Array:
        """Rows of clips (k, 5): see RANGES."""
        return self._read(lambda tables: tables.clips[clips].astype(np.int64))

    def shards(self, clips: Int64Array) -> Int64Array:
        """Numbers of the shards that hold clips (k,)."""
        return self._read(lambda tables: np.searchsorted(tables.shard_clips[:], clips, side="right") - 1)

    def _read(self, read: Callable[[Tables], _T]) -> _T:
        if self._tables is not None:
            with suppress(DamagedIndexError):
                return read(self._tables)
        self._tables = self._made()
        return read(self._tables)


def _find(tables: Tables, video_id: str) -> range | None:
    try:
        data = video_id.encode()
    except UnicodeEncodeError:  # no table holds such an id
        return None
    number = np.uint64(_hash(data))
    hashes = tables.hashes[:]
    first, stop = np.searchsorted(hashes, number, "left"), np.searchsorted(hashes, number, "right")
    for video in tables.hash_videos[first:stop].tolist():
        start, end = tables.id_edges[video : video + 2].tolist()
        if tables.id_bytes[start:end].tobytes() == data:
            return range(*tables.video_clips[video : video + 2].tolist())
    return None


def _ids(tables: Tables) -> list[str]:
    edges, data = tables.id_edges[:], tables.id_bytes[:]
    array = pa.LargeStringArray.from_buffers(len(edges) - 1, pa.py_buffer(edges), pa.py_buffer(data))
    try:
        array.validate(full=True)
        return array.to_pylist()  # type: ignore[no-any-return]
    except ValueError as error:
        raise DamagedIndexError("ids of the index are no text") from error


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _edges(counts: Int64Array) -> Int64Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def runs_of(column: pd.Series[Any]) -> tuple[Int64Array, list[str]]:
    """Where runs of equal values begin, the end of the last included, and their values."""
    codes, names = pd.factorize(column)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return np.append(starts, len(codes)), [str(names[code]) for code in codes[starts]]
