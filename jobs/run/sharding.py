"""Which item goes into which shard: pure functions over numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extractor.models.spec import member_frames
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec

ITEMS_OF_FILE = 64
"""Segments that share one decoding pass. Each keeps a megabyte of rows in memory until the pass ends, hence a bound."""

ITEMS_OF_SHARD = 1000
"""Each staged item has a record that is read when its shard is resumed or committed. Without a bound, a shard with
small outputs would hold hundreds of thousands of them."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file: how many items it has, and their estimated size in the store in bytes."""

    items: int
    estimated_bytes: int


def rows_of_item(config: ExtractionConfig, clips: int, sampled_frames: int) -> dict[str, int]:
    """Rows of an item in each group of a shard, from its clips and sampled frames."""
    lengths = member_frames(config)
    frames = sum(lengths)
    if config.sampling.is_continuous and (config.hop is None or config.hop <= frames):
        return {"clips": clips, "frames": sampled_frames, "pairs": max(0, sampled_frames - 1)}
    return {"clips": clips, "frames": clips * frames, "pairs": clips * (frames - len(lengths))}


def item_bytes(rows: dict[str, int], datasets: Iterable[DatasetSpec]) -> int:
    """Bytes of these rows, before compression."""
    return sum(rows[dataset.level] * dataset.row_bytes for dataset in datasets)


def assign_shards(files: Sequence[PlannedFile], shard_bytes: int, min_shards: int = 1) -> list[int]:
    """Shard number of each file. A shard is a run of files of at most `shard_bytes` together, or one larger file.

    If that makes fewer than `min_shards` shards, the bound is lowered to give every worker work, as far as there are
    files. A shard has at most `ITEMS_OF_SHARD` items, unless a single file has more.
    """
    total = sum(file.estimated_bytes for file in files)
    bound = min(shard_bytes, -(-total // max(1, min(min_shards, len(files))))) if total else shard_bytes
    shards: list[int] = []
    shard = filled = items = 0
    for file in files:
        if items and (filled + file.estimated_bytes > bound or items + file.items > ITEMS_OF_SHARD):
            shard, filled, items = shard + 1, 0, 0
        shards.append(shard)
        filled += file.estimated_bytes
        items += file.items
    return shards
