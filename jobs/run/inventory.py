"""The inventory: every input video, its estimated size in the store, and the shard it is planned into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from extractor.video.listing import Listing, with_segment
from extractor.video.objects.addresses import Place, joined, relative_to
from jobs.run.sharding import ITEMS_OF_FILE, ItemEstimate
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import FileJob, Item, is_address


def limited(listing: Listing, limit: int | None) -> Listing:
    """The first `limit` files of a listing; None keeps all."""
    return listing if limit is None else replace(listing, jobs=listing.jobs[:limit])


def as_planned(listing: Listing, inventory: pd.DataFrame) -> Listing:
    """The listing, with the inventory's ids for files outside the table's folder that have no id in the table.

    Such ids are paths below the folder that the files have in common, and a table that grows may change that folder.
    A new item whose id is taken by an item of the inventory gets its whole path as its id.
    """
    planned = {
        (str(row.path), _optional(row.start_seconds), _optional(row.end_seconds)): str(row.video_id)
        for row in inventory[inventory["path"].map(lambda path: path.startswith("/") or is_address(path))].itertuples()
    }
    kept = {
        (job.path, item): planned[job.path, item.start_seconds, item.end_seconds]
        for job in listing.jobs
        for item in job.items
        if (job.path, item.start_seconds, item.end_seconds) in planned and _counts_from_a_folder(job.path, item)
    }
    if not kept:
        return listing
    taken = set(kept.values())

    def renamed(path: str, item: Item) -> Item:
        whole = with_segment(path, item) if item.video_id in taken else item.video_id
        return replace(item, video_id=kept.get((path, item), whole))

    jobs = tuple(replace(job, items=tuple(renamed(job.path, item) for item in job.items)) for job in listing.jobs)
    names = {
        old.video_id: new.video_id
        for before, after in zip(listing.jobs, jobs, strict=True)
        for old, new in zip(before.items, after.items, strict=True)
    }
    return replace(listing, jobs=jobs, columns=listing.columns.renamed(names))


def _counts_from_a_folder(path: str, item: Item) -> bool:
    """Whether an id is the end of the file's path, so that no table gave it."""
    return any(
        item.video_id == with_segment(name, item)
        for name in (path, *(Path(path).relative_to(folder).as_posix() for folder in Path(path).parents))
    )


def split_jobs(jobs: Iterable[FileJob]) -> Iterator[FileJob]:
    """Split jobs so that each has at most `ITEMS_OF_FILE` items."""
    for job in jobs:
        for start in range(0, len(job.items), ITEMS_OF_FILE):
            items = job.items[start : start + ITEMS_OF_FILE]
            yield job if len(items) == len(job.items) else replace(job, items=items)


def rows_of_shard(
    name: str, jobs: Sequence[FileJob], estimates: Iterable[ItemEstimate], root: Place
) -> dict[str, list[Any]]:
    """Inventory rows of a shard's items as whole columns. estimates: of the items of all jobs, in order."""
    rows = [
        (
            item.video_id,
            relative_to(job.path, root),
            -1 if job.size_bytes is None else job.size_bytes,
            -1 if job.mtime_ns is None else job.mtime_ns,
            job.fps,
            item.start_seconds,
            item.end_seconds,
        )
        for job in jobs
        for item in job.items
    ]
    names = ("video_id", "path", "bytes", "mtime_ns", "fps", "start_seconds", "end_seconds")
    columns: dict[str, list[Any]] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    found = list(estimates)
    columns["duration_seconds"] = [one.seconds for one in found]
    columns["num_frames"] = [one.frames for one in found]
    columns["estimated_bytes"] = [one.bytes for one in found]
    columns["shard"] = [name] * len(rows)
    return columns


def jobs_of_shards(inventory: pd.DataFrame, root: Place) -> dict[str, tuple[FileJob, ...]]:
    """File jobs of every shard, split by `split_jobs`, in the inventory's order, with absolute paths."""
    shards: dict[str, dict[str, list[Any]]] = {}
    for row in inventory[list(INVENTORY_COLUMNS)].itertuples(index=False):
        shards.setdefault(str(row.shard), {}).setdefault(str(row.path), []).append(row)
    return {
        shard: tuple(split_jobs(_job(path, rows, root) for path, rows in files.items()))
        for shard, files in shards.items()
    }


def _job(path: str, rows: Sequence[Any], root: Place) -> FileJob:
    first = rows[0]
    items = tuple(Item(str(row.video_id), _optional(row.start_seconds), _optional(row.end_seconds)) for row in rows)
    known = int(first.bytes) >= 0
    return FileJob(
        joined(root, path),
        items,
        int(first.bytes) if known else None,
        int(first.mtime_ns) if known else None,
        _optional(first.fps),
    )


def _optional(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
