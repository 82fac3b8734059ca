"""The inventory: every input video, its estimated size in the store, and the shard it is planned into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from extractor.store.commits.run import Run
from extractor.video.listing import Listing, with_segment
from extractor.video.objects.addresses import Place, joined, relative_to
from extractor.video.probing import ProbedItem
from jobs.run.sharding import ITEMS_OF_FILE, PlannedFile, assign_shards, item_bytes, rows_of_item
from schemas.layout import shard_name
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
            yield FileJob(job.path, items, job.size_bytes, job.mtime_ns, job.fps)


def build_inventory(
    listing: Listing,
    probed: Callable[[FileJob], Sequence[ProbedItem]],
    run: Run,
    *,
    min_shards: int = 1,
    first_shard: int = 0,
) -> pd.DataFrame:
    """Inventory rows of all items of `listing`; shards are numbered from `first_shard`.

    probed: returns what demuxing a file found. min_shards: how many shards keep all workers busy.
    """
    jobs = list(split_jobs(listing.jobs))
    rows_of_job = [_rows(job, probed(job), listing.root, run) for job in jobs]
    files = [
        PlannedFile(len(job.items), sum(row["estimated_bytes"] for row in rows))
        for job, rows in zip(jobs, rows_of_job, strict=True)
    ]
    shards = assign_shards(files, run.shard_bytes, min_shards)
    return pd.DataFrame(
        [
            {**row, "shard": shard_name(first_shard + shard)}
            for shard, rows in zip(shards, rows_of_job, strict=True)
            for row in rows
        ]
    )


def _rows(job: FileJob, probed: Sequence[ProbedItem], root: Place, run: Run) -> list[dict[str, Any]]:
    rows = []
    found = {item.video_id: item for item in probed}
    for item in job.items:
        item_found = found.get(item.video_id, ProbedItem(item.video_id))
        counts = rows_of_item(run.config, item_found.num_clips, item_found.num_frames)
        rows.append(
            {
                "video_id": item.video_id,
                "path": relative_to(job.path, root),
                "bytes": -1 if job.size_bytes is None else job.size_bytes,
                "mtime_ns": -1 if job.mtime_ns is None else job.mtime_ns,
                "fps": job.fps,
                "duration_seconds": item_found.duration_seconds,
                "start_seconds": item.start_seconds,
                "end_seconds": item.end_seconds,
                "num_frames": item_found.num_frames,
                "estimated_bytes": item_bytes(counts, run.datasets) if item_found.num_frames else 0,
            }
        )
    return rows


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
