"""Samplers for a DataLoader: shuffled without random reads, and balanced."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gebd.dataset.dataset import BlockIndex, GEBDDataset, Positive
from gebd.dataset.reader import BLOCKS_IN_MEMORY, Blocks
from schemas.errors import UsageError

Int64Array = npt.NDArray[np.int64]


class ShardSampler:
    """Every sample once an epoch, in an order that reads each part of each shard once; the `sampler` of a DataLoader.

    Slices that are adjacent in a shard form blocks (see `GEBDDataset`, cache_bytes). A few blocks at a time, drawn from
    as many shards, are read whole and their slices shuffled; then the next. With `shuffle=False` the order is that of
    the store.

    batch_size and num_workers: those of the DataLoader. It deals batches to its workers in turn, so with both given the
    order interleaves one stream of blocks per worker, and no block is read by two workers. Without them the results are
    the same, but every worker reads the blocks.
    """

    def __init__(
        self,
        dataset: GEBDDataset,
        shuffle: bool = True,
        seed: int = 0,
        batch_size: int = 1,
        num_workers: int = 0,
    ) -> None:
        if batch_size < 1 or num_workers < 0:
            raise UsageError(
                f"expected batch_size of 1 or more and num_workers of 0 or more; got {batch_size} and {num_workers}. "
                "Give those of the DataLoader"
            )
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.epoch = 0
        self._blocks = dataset.blocks  # computed before workers start, else by each of them

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; epoch and seed determine the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[BlockIndex]:
        return map(BlockIndex, self._order(np.arange(len(self.dataset)), self._rng()).tolist())

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])

    def _order(self, numbers: Int64Array, rng: np.random.Generator) -> Int64Array:
        """Put slices, given in the order of the store, in the order of requests."""
        if not self.shuffle:
            return numbers
        pools = _pools(self._blocks, numbers, rng)
        return _dealt(pools, max(1, self.num_workers), self.batch_size)


class BalancedSampler(ShardSampler):
    """As many positive as negative slices, in an order like that of `ShardSampler`.

    A slice is positive if its middle sample is a boundary, as in the official baseline, or with `positive="any"` if any
    sample is. An epoch holds all slices of the rarer class once, and as many of the other, drawn anew each epoch.

    Raises UsageError if all slices belong to one class, or the dataset has no annotations.
    """

    def __init__(
        self,
        dataset: GEBDDataset,
        seed: int = 0,
        batch_size: int = 1,
        num_workers: int = 0,
        positive: Positive = "centre",
    ) -> None:
        super().__init__(dataset, True, seed, batch_size, num_workers)
        chosen = dataset.positive(positive)
        self._classes = (np.flatnonzero(chosen), np.flatnonzero(~chosen))
        if not len(self):
            raise UsageError(
                f"expected slices of both classes; got {int(chosen.sum())} of {len(chosen)} positive. Use a shorter "
                "window, or a ShardSampler with class_weights()"
            )

    def __len__(self) -> int:
        return 2 * min(map(len, self._classes))

    def __iter__(self) -> Iterator[BlockIndex]:
        rng = self._rng()
        drawn = [rng.permutation(numbers)[: len(self) // 2] for numbers in self._classes]
        return map(BlockIndex, self._order(np.sort(np.concatenate(drawn)), rng).tolist())


def _pools(blocks: Blocks, numbers: Int64Array, rng: np.random.Generator) -> list[Int64Array]:
    """Return pools of a few blocks each, shuffled: shards in random order, a few of them open at a time."""
    block = blocks.of_slice[numbers]
    edges = np.flatnonzero(np.diff(block, prepend=-1))
    members = np.split(numbers, edges[1:])
    shard = blocks.shard[block[edges]]
    shards = rng.permutation(np.unique(shard))
    pools = []
    for start in range(0, len(shards), BLOCKS_IN_MEMORY):
        near = rng.permutation(np.flatnonzero(np.isin(shard, shards[start : start + BLOCKS_IN_MEMORY])))
        for first in range(0, len(near), BLOCKS_IN_MEMORY):
            pools.append(rng.permutation(np.concatenate([members[k] for k in near[first : first + BLOCKS_IN_MEMORY]])))
    return pools


def _dealt(pools: list[Int64Array], streams: int, batch_size: int) -> Int64Array:
    """Merge pools into one order whose batch k belongs to stream k modulo `streams`, while all have one left."""
    stream: list[list[Int64Array]] = [[] for _ in range(streams)]
    sizes = [0] * streams
    for pool in pools:
        shortest = sizes.index(min(sizes))
        stream[shortest].append(pool)
        sizes[shortest] += len(pool)
    orders = [np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in stream]
    common = min(sizes) // batch_size * batch_size
    head = np.stack([order[:common].reshape(-1, batch_size) for order in orders], axis=1).ravel()
    return np.concatenate([head, *(order[common:] for order in orders)])
