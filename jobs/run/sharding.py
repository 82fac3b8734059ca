"""Which item goes into which shard: pure functions over numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from extractor.models.spec import member_frames
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec

__all__ = ["ITEMS_OF_FILE", "ITEMS_OF_SHARD", "PlannedFile", "assign_shards", "item_bytes", "rows_of_item"]

ITEMS_OF_FILE = 64
"""Segments that share one decoding pass. Each keeps a file open until the pass ends, hence a bound."""

ITEMS_OF_SHARD = 1000
"""Each staged item is a file that is opened when its shard is gone on with or committed; a shard with small outputs
would otherwise hold hundreds of thousands."""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file: how many items it has and what they will take in the store, in bytes."""

    items: int
    estimated_bytes: int


def rows_of_item(config: ExtractionConfig, clips: int, sampled_frames: int) -> dict[str, int]:
    """Rows that an item of so many clips and sampled frames has in each group of a shard."""
    lengths = member_frames(config)
    frames = sum(lengths)
    if config.sampling.is_continuous and (config.hop is None or config.hop <= frames):
        return {"clips": clips, "frames": sampled_frames, "pairs": max(0, sampled_frames - 1)}
    return {"clips": clips, "frames": clips * frames, "pairs": clips * (frames - len(lengths))}


def item_bytes(rows: dict[str, int], datasets: Iterable[DatasetSpec]) -> int:
    """Bytes of those rows, before compression."""
    return sum(rows[dataset.level] * dataset.row_bytes for dataset in datasets)


def assign_shards(files: Sequence[PlannedFile], shard_bytes: int, min_shards: int = 1) -> list[int]:
    """Shard number of each file, in order: runs of files of at most `shard_bytes` together, at least one each.

    Where that would give fewer than `min_shards` shards, the bound is lowered so that every worker has some to do
    (as far as there are files). No shard has more than `ITEMS_OF_SHARD` items, unless one file has.
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
