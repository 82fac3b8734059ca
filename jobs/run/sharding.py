"""How much of the store an item will take, and which shard it goes into: pure functions over numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from extractor.models.spec import member_frames
from extractor.video.containers.preflight import MAX_DURATION_SECONDS
from extractor.video.headers import LIKELY_FPS, Length
from extractor.video.sampling import expected_counts
from schemas.config import ExtractionConfig
from schemas.layout import DatasetSpec
from schemas.records import FileJob, Item
from schemas.tensors import LEVELS

ITEMS_OF_FILE = 64
"""Segments that share one decoding pass. Each keeps a megabyte of rows in memory until the pass ends, hence a bound."""

ITEMS_OF_SHARD = 1000
"""Each staged item has a record that is read when its shard is resumed or committed. Without a bound, a shard with
small outputs would hold hundreds of thousands of them."""


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


@dataclass(frozen=True, slots=True)
class ItemEstimate:
    """What an item will probably take. seconds: None where its file does not say. frames: sampled ones, 0: not known.

    bytes: in the store, before compression.
    """

    seconds: float | None = None
    frames: int = 0
    bytes: int = 0


class Estimator:
    """Estimates items of files by the lengths that their headers state. bytes_a_second: of files that state none."""

    def __init__(self, config: ExtractionConfig, datasets: Iterable[DatasetSpec], bytes_a_second: float) -> None:
        self._config = config
        self._members = member_frames(config)
        self._bytes_a_second = bytes_a_second
        specs = tuple(datasets)
        self._row_bytes = {level: sum(s.row_bytes for s in specs if s.level == level) for level in LEVELS}

    def items(self, job: FileJob, length: Length | None) -> list[ItemEstimate]:
        """An estimate of each item of a job. A file that is empty or not there has nothing."""
        if not job.size_bytes:
            return [ItemEstimate()] * len(job.items)
        stated = length or Length(min(job.size_bytes / self._bytes_a_second, MAX_DURATION_SECONDS))
        rate = stated.frames / stated.seconds if stated.frames else LIKELY_FPS
        return [self._item(item, stated.seconds, rate, known=length is not None) for item in job.items]

    def _item(self, item: Item, file_seconds: float, rate: float, *, known: bool) -> ItemEstimate:
        end = file_seconds if item.end_seconds is None else min(item.end_seconds, file_seconds)
        seconds = end - (item.start_seconds or 0.0)
        if seconds <= 0:
            return ItemEstimate()
        frames, clips = expected_counts(round(seconds * rate), seconds, self._config, self._members)
        rows = rows_of_item(self._config, clips, frames)
        size = sum(rows[level] * self._row_bytes[level] for level in LEVELS)
        return ItemEstimate(seconds if known else None, frames, size)


def shard_bound(total_bytes: int, files: int, shard_bytes: int, min_shards: int = 1) -> int:
    """Bytes of a shard at most: `shard_bytes`, or less where that makes fewer than `min_shards` shards of the files.

    Every worker is to have work, as far as there are files.
    """
    if not total_bytes:
        return shard_bytes
    return min(shard_bytes, -(-total_bytes // max(1, min(min_shards, files))))


class ShardFill:
    """What the shard that is being filled holds. A shard is a run of files of at most `bound` bytes together, or one
    larger file, and has at most `ITEMS_OF_SHARD` items, unless a single file has more.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._items = 0
        self.bytes = 0

    def has_room(self, items: int, estimated_bytes: int) -> bool:
        """Whether a file belongs into this shard; an empty one takes any file."""
        fits = self.bytes + estimated_bytes <= self._bound and self._items + items <= ITEMS_OF_SHARD
        return fits or not self._items

    def add(self, items: int, estimated_bytes: int) -> None:
        """Add a file."""
        self._items += items
        self.bytes += estimated_bytes
