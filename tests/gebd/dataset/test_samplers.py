from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from extractor.store import FeatureStore
from extractor.store.samples.blocks import BlockIndex
from gebd import BalancedSampler, GEBDDataset, ShardSampler, collate
from schemas.errors import UsageError
from tests.gebd import stores

CACHE_BYTES = 8 * 2000  # blocks of a few slices


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    videos = {f"{k:02d}.mp4": stores.regular(3.0 + k % 3) for k in range(20)}
    return stores.make(tmp_path_factory.mktemp("sampling") / "store", videos, shards=4)


def opened(store, **options):
    windows = {"rate_hz": 10, "window_seconds": 1.0, "hop_seconds": 0.5, "cache_bytes": CACHE_BYTES}
    return GEBDDataset(store, **{**windows, **options})


def annotations(store):
    return {name: {"duration_seconds": 3.0, "boundaries_seconds": [[0.5, 2.4]]} for name in store.video_ids}


def reads_of_an_epoch(dataset, sampler, monkeypatch):
    """(file, tensor, first row, end) of every read, in order."""
    read, reads = FeatureStore.rows, []

    def noting(store, name, clip, start, stop):
        reads.append((store.manifest["file"].iloc[clip], name, start, stop))
        return read(store, name, clip, start, stop)

    monkeypatch.setattr(FeatureStore, "rows", noting)
    for index in sampler:
        dataset[index]
    return reads


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 0), (4, 2), (7, 3)])
def test_an_epoch_has_every_sample_once(store, shuffle, batch_size, num_workers):
    dataset = opened(store)
    sampler = ShardSampler(dataset, shuffle, batch_size=batch_size, num_workers=num_workers)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(order) == len(sampler) and sorted(order) == list(range(len(dataset)))
        assert all(isinstance(index, BlockIndex) for index in order)


def test_orders_differ_by_epoch_and_seed_and_are_repeated(store):
    dataset = opened(store)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        sampler = ShardSampler(dataset, seed=seed)
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert list(sampler) == orders[-1]
    assert len({tuple(order) for order in orders}) == 3
    assert list(ShardSampler(dataset, shuffle=False)) == list(range(len(dataset)))


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_reads_every_row_of_every_shard_about_once(store, shuffle, monkeypatch):
    dataset = opened(store, tensors=("frame", "displacement"))
    assert len(dataset.blocks) >= 16
    reads = reads_of_an_epoch(dataset, ShardSampler(dataset, shuffle, seed=3), monkeypatch)
    assert len(reads) == 2 * len(dataset.blocks)  # each block once
    rows = sum(stop - start for _, name, start, stop in reads if name == "frame")
    there = dataset.store.manifest["frame_stop"].groupby(dataset.store.manifest["shard"]).max().sum()
    assert there <= rows <= 1.4 * there  # neighbouring blocks share half a window


def test_shuffling_mixes_shards(store):
    dataset = opened(store)
    shard = dataset.blocks.shard[dataset.blocks.of_sample[list(ShardSampler(dataset))]]
    assert len(set(shard[:40].tolist())) > 2
    np.testing.assert_array_less(0.4, (np.diff(shard) != 0).mean())


def test_workers_read_blocks_of_their_own(store):
    dataset = opened(store, cache_bytes=8 * 200)
    order = np.array(list(ShardSampler(dataset, batch_size=4, num_workers=2)))
    block = dataset.blocks.of_sample[order]
    batches = [set(block[k : k + 4].tolist()) for k in range(0, len(order) - 4, 4)]
    most = int(0.6 * len(batches))  # the streams differ in length by one pool of blocks at most
    first, second = (set().union(*batches[k:most:2]) for k in range(2))
    assert len(first) > 8 and len(second) > 8 and not first & second


def test_memory_is_bounded_and_a_read_block_is_dropped(store):
    dataset = opened(store)
    for index in ShardSampler(dataset):
        dataset[index]
        kept = dataset._reader._blocks._kept
        assert sum(rows.nbytes for block in kept.values() for _, rows in block.values()) <= CACHE_BYTES


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # from Python 3.12 on
@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_as_one_process(store, context, workers):
    dataset = opened(store, tensors=("motion", "frame", "confidence"), annotations=annotations(store))
    dataset[BlockIndex(0)]  # files are open and a block is in memory when the workers start

    def epoch(**options):
        sampler = ShardSampler(dataset, batch_size=8, num_workers=2, seed=1)
        loader = DataLoader(dataset, batch_size=8, sampler=sampler, collate_fn=collate, **options)
        return list(loader)

    here, there = epoch(), epoch(num_workers=workers, multiprocessing_context=context)
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one.video_id == other.video_id
        for name in ("features", "confidence", "valid", "time_seconds", "target_soft", "slice_start_seconds"):
            assert getattr(one, name).equal(getattr(other, name)), name


def test_balanced_epochs_have_as_many_of_both_classes(store):
    dataset = opened(store, annotations=annotations(store))
    positive = dataset.positive()
    assert 0 < positive.sum() < (~positive).sum()
    sampler = BalancedSampler(dataset, seed=5)
    negatives = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = np.array(list(sampler))
        assert len(order) == len(sampler) == 2 * positive.sum() == len(set(order.tolist()))
        assert set(order[positive[order]].tolist()) == set(np.flatnonzero(positive).tolist())
        negatives.append(set(order[~positive[order]].tolist()))
    assert negatives[0] != negatives[1]


def test_balanced_classes_by_any_boundary_of_a_slice(store):
    dataset = opened(store, annotations=annotations(store))
    expected = [bool(sample.target_hard.any()) for sample in dataset]
    assert dataset.positive("any").tolist() == expected
    assert len(BalancedSampler(dataset, positive="any")) == 2 * min(sum(expected), len(expected) - sum(expected))
    middle = [bool(sample.target_hard[len(sample.valid) // 2]) for sample in dataset]
    assert dataset.positive().tolist() == middle


def test_what_cannot_be_balanced_is_refused(store):
    none = {name: {"duration_seconds": 3.0, "boundaries_seconds": [[]]} for name in store.video_ids}
    with pytest.raises(UsageError, match="got 0 of"):
        BalancedSampler(opened(store, annotations=none))
    with pytest.raises(UsageError, match="without annotations"):
        BalancedSampler(opened(store))
    with pytest.raises(UsageError, match="batch_size"):
        ShardSampler(opened(store), batch_size=0)
    with pytest.raises(UsageError, match="centre"):
        opened(store, annotations=annotations(store)).positive("middle")
