from __future__ import annotations

import itertools
import random
from typing import NamedTuple

import pytest

from jobs.run.sharding import ITEMS_OF_SHARD, ShardFill, item_bytes, rows_of_item, shard_bound
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec


class PlannedFile(NamedTuple):
    items: int
    estimated_bytes: int


def files_of(*sizes: int) -> list[PlannedFile]:
    return [PlannedFile(1, size) for size in sizes]


def assign_shards(files: list[PlannedFile], shard_bytes: int, min_shards: int = 1) -> list[int]:
    """Shard number of each file."""
    bound = shard_bound(sum(file.estimated_bytes for file in files), len(files), shard_bytes, min_shards)
    fills, numbers = [ShardFill(bound)], []
    for file in files:
        if not fills[-1].has_room(*file):
            fills.append(ShardFill(bound))
        fills[-1].add(*file)
        numbers.append(len(fills) - 1)
    return numbers


def random_files(seed: int) -> tuple[list[PlannedFile], int, int]:
    """Files, shard_bytes and min_shards; some without any estimates, some with one giant."""
    state = random.Random(seed)
    sizes = [state.choice([0, 1, 7, 100, 1000]) * state.randint(0, 9) for _ in range(state.randint(1, 60))]
    if seed % 5 == 0:
        sizes[state.randrange(len(sizes))] = 10**6
    return files_of(*sizes), state.choice([1, 50, 3000, 10**9]), state.choice([1, 2, 8])


@pytest.mark.parametrize("seed", range(40))
def test_assign_shards_cuts_the_files_into_runs_within_the_bound(seed: int) -> None:
    files, shard_bytes, min_shards = random_files(seed)
    shards = assign_shards(files, shard_bytes, min_shards)
    assert len(shards) == len(files)
    assert shards[0] == 0
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(shards))
    for shard in range(shards[-1] + 1):
        sizes = [file.estimated_bytes for file, mine in zip(files, shards, strict=True) if mine == shard]
        assert sum(sizes) <= shard_bytes or sum(1 for size in sizes if size) == 1


@pytest.mark.parametrize("seed", range(40))
def test_assign_shards_does_not_cut_more_than_it_must(seed: int) -> None:
    files, shard_bytes, _ = random_files(seed)
    shards = assign_shards(files, shard_bytes)
    sums = [0] * (shards[-1] + 1)
    for file, shard in zip(files, shards, strict=True):
        sums[shard] += file.estimated_bytes
    for earlier, later in itertools.pairwise(sums):
        assert earlier + later > shard_bytes


def test_assign_shards_lowers_the_bound_for_the_workers() -> None:
    assert assign_shards(files_of(*[10] * 8), 10**9) == [0] * 8
    assert assign_shards(files_of(*[10] * 8), 10**9, 4) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert assign_shards(files_of(*[10] * 8), 10, 4) == list(range(8))
    assert assign_shards(files_of(10, 10), 10**9, 50) == [0, 1]


@pytest.mark.parametrize("count", range(1, 60))
@pytest.mark.parametrize("wanted", [2, 8, 16])
def test_assign_shards_gives_equal_files_to_half_as_many_shards_at_least(count: int, wanted: int) -> None:
    """Rounding up to whole files may leave fewer shards than wanted, but never fewer than half of them."""
    shards = assign_shards(files_of(*[10] * count), 10**9, wanted)
    assert shards[-1] + 1 >= min(count, wanted) / 2


def test_assign_shards_without_estimates_or_files() -> None:
    assert assign_shards([], 100) == []
    assert assign_shards([], 100, 4) == []
    assert assign_shards(files_of(0, 0, 0), 100, 4) == [0, 0, 0]


def config(**fields: object) -> ExtractionConfig:
    return ExtractionConfig(**({"model": "msnet_resnet18", "weights": "random", "seed": 0} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "clips", "frames", "expected"),
    [
        ({}, 3, 20, {"clips": 3, "frames": 20, "pairs": 19}),
        ({"hop": 1}, 13, 20, {"clips": 13, "frames": 20, "pairs": 19}),
        ({"hop": 30}, 3, 90, {"clips": 3, "frames": 24, "pairs": 21}),
        ({"sampling": "clips"}, 3, 20, {"clips": 3, "frames": 24, "pairs": 21}),
        ({"sampling": "segments"}, 2, 11, {"clips": 2, "frames": 16, "pairs": 14}),
        (
            {"sampling": "segments", "model": "msnet_en_resnet18", "num_frames": None},
            2,
            30,
            {"clips": 2, "frames": 48, "pairs": 44},
        ),
        ({"sampling": "dense"}, 1, 20, {"clips": 1, "frames": 20, "pairs": 19}),
        ({"sampling": "dense"}, 1, 0, {"clips": 1, "frames": 0, "pairs": 0}),
    ],
)
def test_rows_of_item_are_those_of_its_clips(fields, clips, frames, expected) -> None:
    assert rows_of_item(config(**fields), clips, frames) == expected


def test_item_bytes_counts_every_dataset_by_its_level() -> None:
    datasets = [
        DatasetSpec("clips", "feature", (512,), "float16", 8),
        DatasetSpec("frames", "time_seconds", (), "float64", 8),
        DatasetSpec("pairs", "displacement", (2, 8, 8), "float32", 8),
    ]
    assert item_bytes({"clips": 2, "frames": 10, "pairs": 9}, datasets) == 2 * 1024 + 10 * 8 + 9 * 2 * 64 * 4


def test_assign_shards_bounds_the_items_of_a_shard() -> None:
    assert assign_shards([PlannedFile(ITEMS_OF_SHARD - 1, 0), PlannedFile(1, 0), PlannedFile(1, 0)], 10**9) == [0, 0, 1]
    assert assign_shards([PlannedFile(2 * ITEMS_OF_SHARD, 0), PlannedFile(1, 0)], 10**9) == [0, 1]
