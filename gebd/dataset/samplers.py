"""Samplers for a DataLoader: `ShardSampler` of the store, and one that balances boundaries with the rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from extractor.store.samples.blocks import BlockIndex
from extractor.store.samples.sampler import ShardSampler as ShardSampler
from gebd.dataset.dataset import GEBDDataset, Positive
from schemas.errors import UsageError


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
