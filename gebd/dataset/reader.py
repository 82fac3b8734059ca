"""Read the rows of slices from a store: one window at a time, or a block of neighbouring slices at once."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore
from gebd.dataset.index import Slices, VideoSamples
from gebd.dataset.store_videos import PAIR_TENSORS

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

BLOCKS_IN_MEMORY = 8
"""Number of blocks that a shuffled epoch mixes; each may use 1 / BLOCKS_IN_MEMORY of the cache."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Runs of neighbouring slices of one shard that are read together.

    of_slice (S,): the block of every slice. shard (B,): the number of every block's file. clip (B,): a clip in that
    file. frames and pairs (B, 2): first and one past the last row.
    """

    of_slice: Int32Array
    shard: Int32Array
    clip: Int64Array
    frames: Int64Array
    pairs: Int64Array

    def __len__(self) -> int:
        return len(self.shard)


class SliceReader:
    """Reads the tensors of slices. Every process caches blocks of its own, up to `cache_bytes`."""

    def __init__(
        self, store: FeatureStore, samples: VideoSamples, slices: Slices, tensors: Sequence[str], cache_bytes: int
    ) -> None:
        self.store = store
        self.tensors = tuple(tensors)
        self.cache_bytes = cache_bytes
        self._samples = samples
        self._slices = slices
        self._row_bytes = {name: prod(store.row_shape(name)) * store.dtype(name).itemsize for name in tensors}
        self._start_empty()

    def read(self, number: int, *, whole_block: bool) -> dict[str, Array]:
        """Return the rows of every tensor for the samples of a slice, in the store's dtype; zeros without a pair.

        With `whole_block` the neighbouring slices are read too, which pays if they are requested next.
        """
        video = int(self._slices.video[number])
        samples = slice(int(self._slices.first[number]), int(self._slices.stop[number]))
        frames = self._samples.frame_row[samples] + self._samples.frame_start[video]
        pairs = self._samples.pair_row[samples]
        none, pairs = pairs < 0, np.maximum(pairs, 0) + self._samples.pair_start[video]
        block = self._block(int(self.blocks.of_slice[number])) if whole_block else {}
        found = {}
        for name in self.tensors:
            is_pair = name in PAIR_TENSORS
            rows = pairs if is_pair else frames
            if is_pair and none.all():
                found[name] = np.zeros((len(rows), *self.store.row_shape(name)), self.store.dtype(name))
                continue
            if whole_block:
                low, array = block[name]
            else:
                low = int(rows.min())
                array = self.store.rows(name, int(self._samples.clip[video]), low, int(rows.max()) + 1)
            found[name] = array[rows - low]  # a copy: a view would keep the block alive
            if is_pair and none.any():
                found[name][none] = 0
        return found

    @cached_property
    def blocks(self) -> Blocks:
        """Blocks of at most cache_bytes / BLOCKS_IN_MEMORY, or of a single slice that is larger."""
        pair_bytes = sum(size for name, size in self._row_bytes.items() if name in PAIR_TENSORS)
        frame_bytes = sum(self._row_bytes.values()) - pair_bytes
        most = self.cache_bytes // BLOCKS_IN_MEMORY
        frames = self._ranges(self._samples.frame_row, self._samples.frame_start)
        pairs = self._ranges(self._samples.pair_row, self._samples.pair_start)
        shard = self._shards()
        of_slice = np.zeros(len(shard), dtype=np.int32)
        edges: list[int] = []
        low, high, pair_low, pair_high, here = 0, 0, 0, 0, -1
        rows = zip(frames.tolist(), pairs.tolist(), shard.tolist(), strict=True)
        for number, ((first, stop), (pair_first, pair_stop), home) in enumerate(rows):
            wide, pair_wide = max(high, stop) - min(low, first), max(pair_high, pair_stop) - min(pair_low, pair_first)
            if home != here or wide * frame_bytes + pair_wide * pair_bytes > most:
                edges.append(number)
                low, high, pair_low, pair_high, here = first, stop, pair_first, pair_stop, home
            else:
                low, high = min(low, first), max(high, stop)
                pair_low, pair_high = min(pair_low, pair_first), max(pair_high, pair_stop)
            of_slice[number] = len(edges) - 1
        of_block = (
            np.stack([np.minimum.reduceat(one[:, 0], edges), np.maximum.reduceat(one[:, 1], edges)], axis=1)
            for one in (frames, pairs)
        )
        return Blocks(of_slice, shard[edges], self._samples.clip[self._slices.video[edges]], *of_block)

    def _ranges(self, rows: Int32Array, first_rows: Int64Array) -> Int64Array:
        """Return (S, 2) first and one past the last row of every slice in its shard, from rows by sample (-1: none)."""
        edges = np.stack([self._slices.first, self._slices.stop], axis=1).ravel()
        padded = np.append(rows, rows[-1:])  # the last slice may end with the last sample
        low, high = (reduce.reduceat(padded, edges)[::2] for reduce in (np.minimum, np.maximum))
        found = np.stack([np.maximum(low, 0), np.maximum(high + 1, 0)], axis=1, dtype=np.int64)
        found += first_rows[self._slices.video, None]
        return found

    def _shards(self) -> Int32Array:
        """Return (S,), the number of every slice's file."""
        return self.store.files(self._samples.clip).astype(np.int32)[self._slices.video]

    def _block(self, number: int) -> dict[str, tuple[int, Array]]:
        """Return the first row and the rows of every tensor of a block."""
        if self._pid != os.getpid():
            self._start_empty()
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        frames, pairs = self.blocks.frames[number].tolist(), self.blocks.pairs[number].tolist()
        ranges = {name: pairs if name in PAIR_TENSORS else frames for name in self.tensors}
        size = sum(self._row_bytes[name] * (stop - start) for name, (start, stop) in ranges.items())
        while self._kept and size + self._kept_bytes() > self.cache_bytes:
            self._kept.popitem(last=False)
        clip = int(self.blocks.clip[number])
        self._kept[number] = {
            name: (start, self.store.rows(name, clip, start, stop)) for name, (start, stop) in ranges.items()
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
