"""Samples that are neighbours in a shard are read together: which those are, and keeping a few blocks of rows."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store.reader import FeatureStore
from schemas.tensors import TENSORS

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BLOCKS_IN_MEMORY = 8
"""Number of blocks that a shuffled epoch mixes; each may use 1 / BLOCKS_IN_MEMORY of the cache."""


class BlockIndex(int):
    """Index of a sample whose neighbours in the store are requested next, so they are read together."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Blocks:
    """Runs of neighbouring samples of one shard that are read together.

    of_sample (S,): the block of every sample. shard (B,): the number of every block's file. clip (B,): a clip in that
    file. ranges: by level (B, 2), first and one past the last row.
    """

    of_sample: Int32Array
    shard: Int32Array
    clip: Int64Array
    ranges: Mapping[str, Int64Array]

    def __len__(self) -> int:
        return len(self.shard)


def row_bytes(store: FeatureStore, name: str) -> int:
    """Bytes of one row of a tensor as it is read."""
    return prod(store.row_shape(name)) * store.dtype(name).itemsize


def blocks_of(
    store: FeatureStore,
    tensors: Sequence[str],
    clips: Int64Array,
    ranges: Mapping[str, Int64Array],
    cache_bytes: int,
) -> Blocks:
    """Blocks of at most cache_bytes / BLOCKS_IN_MEMORY, or of a single sample that is larger.

    clips (S,): of every sample a clip in its file, ascending. ranges: by level (S, 2), its rows in that file.
    """
    shard = store.files(clips).astype(np.int32)
    weights = {
        level: sum(row_bytes(store, name) for name in tensors if TENSORS[name].level == level) for level in ranges
    }
    edges: list[int] = []
    changes = np.flatnonzero(np.diff(shard)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(shard)]):
        edges += _starts(start, stop, ranges, weights, cache_bytes // BLOCKS_IN_MEMORY)
    of_sample = np.repeat(np.arange(len(edges), dtype=np.int32), np.diff([*edges, len(shard)]))
    of_blocks = {
        level: np.stack(
            [np.minimum.reduceat(of_level[:, 0], edges), np.maximum.reduceat(of_level[:, 1], edges)], axis=1
        )
        for level, of_level in ranges.items()
    }
    return Blocks(of_sample, shard[edges], clips[edges], of_blocks)


def _starts(
    start: int, stop: int, ranges: Mapping[str, Int64Array], weights: Mapping[str, int], most: int
) -> list[int]:
    """First samples of the blocks of samples [start, stop), which are of one shard: each block as long as it may be."""
    found, length = [], 64
    while start < stop:
        found.append(start)
        end = start
        while end == start:
            near = slice(start, min(stop, start + length))
            size = sum(
                weights[level] * (np.maximum.accumulate(rows[near, 1]) - np.minimum.accumulate(rows[near, 0]))
                for level, rows in ranges.items()
            )
            fitting = int(np.searchsorted(size, most, side="right"))
            if fitting == length and near.stop < stop:
                length *= 2  # all of these fit: look further
            else:
                end = start + max(1, fitting)
        length = max(16, 2 * (end - start))
        start = end
    return found


class BlockReader:
    """Reads the tensors of blocks. Every process keeps blocks of its own, up to `cache_bytes`."""

    def __init__(self, store: FeatureStore, tensors: Sequence[str], blocks: Blocks, cache_bytes: int) -> None:
        self._store = store
        self._levels = {name: TENSORS[name].level for name in tensors}
        self._row_bytes = {name: row_bytes(store, name) for name in tensors}
        self._blocks = blocks
        self._cache_bytes = cache_bytes
        self._start_empty()

    def around(self, sample: int) -> dict[str, tuple[int, Array]]:
        """The first row and the rows of every tensor, of the block that a sample is in. They must not be changed."""
        if self._pid != os.getpid():
            self._start_empty()
        number = int(self._blocks.of_sample[sample])
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        ranges = {name: self._blocks.ranges[level][number].tolist() for name, level in self._levels.items()}
        size = sum(self._row_bytes[name] * (stop - start) for name, (start, stop) in ranges.items())
        while self._kept and size + self._kept_bytes() > self._cache_bytes:
            self._kept.popitem(last=False)
        clip = int(self._blocks.clip[number])
        self._kept[number] = {
            name: (start, self._store.rows(name, clip, start, stop)) for name, (start, stop) in ranges.items()
        }
        return self._kept[number]

    def _kept_bytes(self) -> int:
        return sum(rows.nbytes for block in self._kept.values() for _, rows in block.values())

    def _start_empty(self) -> None:
        self._kept: OrderedDict[int, dict[str, tuple[int, Array]]] = OrderedDict()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_kept", "_pid")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start_empty()
