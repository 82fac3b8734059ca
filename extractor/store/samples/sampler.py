"""`ShardSampler`: samples of a store shuffled without random reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from extractor.store.samples.blocks import BLOCKS_IN_MEMORY, BlockIndex, Blocks
from schemas.errors import UsageError

Int64Array = npt.NDArray[np.int64]


class InBlocks(Protocol):
    """A dataset whose samples lie in blocks, like `FeatureDataset` and `gebd.GEBDDataset`."""

    @property
    def blocks(self) -> Blocks:
        """Layout of the samples in the store."""

    def __len__(self) -> int: ...


class ShardSampler:
    """Every sample once an epoch, in an order that reads each part of each shard once; the `sampler` of a DataLoader.

    Samples that are adjacent in a shard form blocks (see cache_bytes of the dataset). A few blocks at a time, drawn
    from as many shards, are read whole and their samples shuffled; then the next. With `shuffle=False` the order is
    that of the store.

    batch_size and num_workers: those of the DataLoader. It deals batches to its workers in turn, so with both given the
    order interleaves one stream of blocks per worker, and no block is read by two workers. Without them the results are
    the same, but every worker reads the blocks.

    lengths: of all samples, such as `FeatureDataset.lengths`. With them a shuffled order has samples of similar length
    side by side, in batches of `batch_size`, so that little of a padded batch is padding.
    """

    def __init__(
        self,
        dataset: InBlocks,
        shuffle: bool = True,
        seed: int = 0,
        batch_size: int = 1,
        num_workers: int = 0,
        lengths: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> None:
        if batch_size < 1 or num_workers < 0:
            raise UsageError(
                f"expected batch_size of 1 or more and num_workers of 0 or more; got {batch_size} and {num_workers}. "
                "Give those of the DataLoader"
            )
        if lengths is not None and len(lengths) != len(dataset):
            raise UsageError(
                f"expected a length for each of {len(dataset)} samples; got {len(lengths)}. Give those of this dataset"
            )
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.epoch = 0
        self._lengths = None if lengths is None else np.asarray(lengths)
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
        """Put samples, given in the order of the store, in the order of requests."""
        if not self.shuffle:
            return numbers
        streams = _streams(_pools(self._blocks, numbers, rng), max(1, self.num_workers))
        if self._lengths is not None:
            streams = [_bucketed(pools, self._lengths, self.batch_size, rng) for pools in streams]
        return _dealt(streams, self.batch_size)


def _pools(blocks: Blocks, numbers: Int64Array, rng: np.random.Generator) -> list[Int64Array]:
    """Return pools of a few blocks each, shuffled: shards in random order, a few of them open at a time."""
    block = blocks.of_sample[numbers]
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


def _streams(pools: list[Int64Array], count: int) -> list[list[Int64Array]]:
    """Pools divided among streams of about equal length."""
    streams: list[list[Int64Array]] = [[] for _ in range(count)]
    sizes = [0] * count
    for pool in pools:
        shortest = sizes.index(min(sizes))
        streams[shortest].append(pool)
        sizes[shortest] += len(pool)
    return streams


def _bucketed(
    pools: list[Int64Array], lengths: npt.NDArray[np.integer], batch_size: int, rng: np.random.Generator
) -> list[Int64Array]:
    """The same samples, pool by pool in batches of similar length; what does not fill a batch joins the next pool."""
    found, left = [], np.empty(0, np.int64)
    for pool in pools:
        joined = np.concatenate([left, pool])
        ordered = joined[np.argsort(lengths[joined], kind="stable")]
        whole = len(ordered) // batch_size * batch_size
        found.append(rng.permutation(ordered[:whole].reshape(-1, batch_size)).ravel())
        left = ordered[whole:]
    return [*found, left]


def _dealt(streams: list[list[Int64Array]], batch_size: int) -> Int64Array:
    """Merge streams into one order whose batch k belongs to stream k modulo their number, while all have one left."""
    orders = [np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in streams]
    common = min(map(len, orders)) // batch_size * batch_size
    head = np.stack([order[:common].reshape(-1, batch_size) for order in orders], axis=1).ravel()
    return np.concatenate([head, *(order[common:] for order in orders)])
