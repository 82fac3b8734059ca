"""Read the rows of slices from a store: one window at a time, or a block of neighbouring slices at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore
from extractor.store.samples.blocks import BlockReader, Blocks, blocks_of
from gebd.dataset.index import Slices, VideoSamples
from gebd.dataset.store_videos import PAIR_TENSORS

Array = npt.NDArray[Any]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


class SliceReader:
    """Reads the tensors of slices: one, or with its neighbours, of which `cache_bytes` are kept."""

    def __init__(
        self, store: FeatureStore, samples: VideoSamples, slices: Slices, tensors: Sequence[str], cache_bytes: int
    ) -> None:
        self.store = store
        self.tensors = tuple(tensors)
        self.cache_bytes = cache_bytes
        self._samples = samples
        self._slices = slices

    def read(self, number: int, *, whole_block: bool) -> dict[str, Array]:
        """Return the rows of every tensor for the samples of a slice, in the store's dtype; zeros without a pair.

        With `whole_block` the neighbouring slices are read too, which pays if they are requested next.
        """
        video = int(self._slices.video[number])
        samples = slice(int(self._slices.first[number]), int(self._slices.stop[number]))
        frames = self._samples.frame_row[samples] + self._samples.frame_start[video]
        pairs = self._samples.pair_row[samples]
        none, pairs = pairs < 0, np.maximum(pairs, 0) + self._samples.pair_start[video]
        block = self._blocks.around(number) if whole_block else {}
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
        ranges = {
            "frames": self._ranges(self._samples.frame_row, self._samples.frame_start),
            "pairs": self._ranges(self._samples.pair_row, self._samples.pair_start),
        }
        clips = self._samples.clip[self._slices.video]
        return blocks_of(self.store, self.tensors, clips, ranges, self.cache_bytes)

    @cached_property
    def _blocks(self) -> BlockReader:
        return BlockReader(self.store, self.tensors, self.blocks, self.cache_bytes)

    def _ranges(self, rows: Int32Array, first_rows: Int64Array) -> Int64Array:
        """Return (S, 2) first and one past the last row of every slice in its shard, from rows by sample (-1: none)."""
        edges = np.stack([self._slices.first, self._slices.stop], axis=1).ravel()
        padded = np.append(rows, rows[-1:])  # the last slice may end with the last sample
        low, high = (reduce.reduceat(padded, edges)[::2] for reduce in (np.minimum, np.maximum))
        found = np.stack([np.maximum(low, 0), np.maximum(high + 1, 0)], axis=1, dtype=np.int64)
        found += first_rows[self._slices.video, None]
        return found
