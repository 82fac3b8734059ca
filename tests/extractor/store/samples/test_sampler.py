"""Batches of similar length; the order itself is tested with `gebd`'s dataset, which shares it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractor.store import FeatureDataset, ShardSampler
from schemas.errors import UsageError


def padding(dataset: FeatureDataset, order: list[int], batch_size: int) -> float:
    """Share of padded frames that are padding, over batches of this order."""
    batches = [dataset.lengths[order[k : k + batch_size]] for k in range(0, len(order), batch_size)]
    padded = sum(len(batch) * batch.max() for batch in batches)
    return 1 - sum(batch.sum() for batch in batches) / padded


@pytest.mark.parametrize("num_workers", [0, 2])
def test_buckets_have_every_sample_once_and_little_padding(store: Path, num_workers: int) -> None:
    dataset = FeatureDataset(store, ["frame"], unit="video", cache_bytes=20_000)
    plain = ShardSampler(dataset, batch_size=3, num_workers=num_workers)
    bucketed = ShardSampler(dataset, batch_size=3, num_workers=num_workers, lengths=dataset.lengths)
    shares: list[tuple[float, float]] = []
    for epoch in range(8):
        plain.set_epoch(epoch), bucketed.set_epoch(epoch)
        order = [int(index) for index in bucketed]
        assert sorted(order) == list(range(18)) and order == [int(index) for index in bucketed]
        shares.append((padding(dataset, [int(index) for index in plain], 3), padding(dataset, order, 3)))
    without, having = np.mean(shares, axis=0)
    assert having < 0.6 * without


def test_batches_of_one_length_come_in_any_order(store: Path) -> None:
    dataset = FeatureDataset(store, ["frame"], unit="video")
    sampler = ShardSampler(dataset, batch_size=3, lengths=dataset.lengths)
    firsts = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        lengths = dataset.lengths[[int(index) for index in sampler]].reshape(-1, 3)
        assert (lengths == lengths[:, :1]).all()
        firsts.append(tuple(lengths[:, 0]))
    assert len(set(firsts)) > 1


def test_lengths_of_another_dataset_are_refused(store: Path) -> None:
    dataset = FeatureDataset(store, ["frame"], unit="video")
    with pytest.raises(UsageError, match="a length for each of 18 samples; got 3"):
        ShardSampler(dataset, lengths=[1, 2, 3])
