"""The videos of a store: the inventory, made once and extended by rescans and retries, and the shards left to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import ray

from extractor.store.check import check_inventory, forgotten
from extractor.store.commits.records import committed, committed_names
from extractor.store.commits.run import Run, read_run
from extractor.store.commits.staging import staged_items
from extractor.store.table_columns import columns_of, joined, updated
from extractor.store.tables import merge_failures, read_inventory, write_inventory
from extractor.video.fingerprints import fingerprint
from extractor.video.listing import Listing
from extractor.video.objects.addresses import Place
from extractor.video.probing import ProbedItem
from jobs.cluster.devices import Workers
from jobs.run.inventory import as_planned, build_inventory, jobs_of_shards, split_jobs
from jobs.run.watcher import Watcher
from jobs.stores.standing import of_part
from jobs.workers.decoder import Decoder
from jobs.workers.driver import PlannedShard
from jobs.workers.probing import probe_files
from schemas.config import ExtractionConfig
from schemas.errors import ConfigurationError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import FileJob
from schemas.table_columns import shown_names
from schemas.wording import counted

_NAMED = 5  # of the videos whose files were replaced
_SHARDS_A_WORKER = 4  # so that the last shards end at about the same time


def probe_listing(
    listing: Listing, config: ExtractionConfig, processes: int, watcher: Watcher
) -> dict[FileJob, list[ProbedItem]]:
    """Demux every file of a listing in other processes, and return what its items hold. Ray must run."""
    jobs = list(split_jobs(listing.jobs))
    spawn = ray.remote(Decoder).options(num_cpus=0, max_restarts=0).remote
    found: dict[FileJob, list[ProbedItem]] = {}
    for job, items in probe_files(jobs, lambda: spawn(config), processes):
        found[job] = items
        watcher.probing(len(found), len(jobs))
    return found


def require_same_videos(paths: StorePaths, listing: Listing, *, limited: bool, watcher: Watcher) -> None:
    """Compare a listing with the inventory of the store that it continues; report what is new, gone or replaced.

    Raises ConfigurationError if they have no video in common: the store is of another dataset.
    """
    inventory = read_inventory(paths)
    listing = as_planned(listing, inventory)
    known = set(inventory["video_id"])
    listed = {item.video_id for job in listing.jobs for item in job.items}
    if not known & listed:
        raise ConfigurationError(
            f"expected the dataset of the store at {paths.root}; the store has none of the "
            f"{counted(len(listed), 'video')} in {listing.root}. Give the dataset it was made from, or another --out"
        )
    if new := len(listed - known):
        watcher.say(
            f"new since the store was planned: {counted(new, 'video')}; to add: msnet resume {paths.root} --rescan"
        )
    if not limited and (gone := len(known - listed)):
        watcher.say(f"in the store's inventory, but no longer in {listing.root}: {counted(gone, 'video')}")
    _report_replaced(paths, listing, watcher)
    if summary := updated(columns_of(inventory), listing.columns.values).summary():
        watcher.say(
            f"columns of the table differ from the store's ({summary}); "
            f"to take them: msnet resume {paths.root} --rescan"
        )


def _report_replaced(paths: StorePaths, listing: Listing, watcher: Watcher) -> None:
    """Name finished videos whose files have changed; unfinished ones fail as `changed` when they are read."""
    inventory = read_inventory(paths).drop_duplicates("video_id", keep="last")
    known = inventory[inventory["video_id"].isin(_finished(paths, inventory)) & (inventory["bytes"] >= 0)]
    planned = {row.video_id: (row.bytes, row.mtime_ns) for row in known.itertuples()}
    resized, touched = [], []
    for job in listing.jobs:
        for item in job.items if job.size_bytes is not None else ():
            size_bytes, mtime_ns = planned.get(item.video_id, (job.size_bytes, job.mtime_ns))
            if size_bytes != job.size_bytes:
                resized.append(item.video_id)
            elif mtime_ns != job.mtime_ns:
                touched.append(item.video_id)
    for names, what, how in (
        (resized, "replaced", "another size"),
        (touched, "copied, touched or replaced", "another time, the same size"),
    ):
        if names:
            first = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            finished = counted(len(names), "finished video")
            watcher.say(f"{what} since the store was planned ({how}): {finished}, {first}")
    if resized or touched:
        watcher.say(
            "finished features are kept as they are; to extract a replaced file, give another --out, or rename it and "
            f"run: msnet resume {paths.root} --rescan"
        )


def _finished(paths: StorePaths, inventory: pd.DataFrame) -> set[str]:
    """Videos with features, committed or staged: they are never decoded again."""
    records, run = committed(paths), read_run(paths)
    finished = {video_id for record in records.values() for video_id in record.video_ids}
    for shard in set(inventory["shard"]) - set(records):
        finished |= set(staged_items(paths, run, shard))
    return finished


@dataclass(frozen=True)
class StoreVideos:
    """The videos of a store. parts: how many jobs share the work; each needs shards of its own."""

    paths: StorePaths
    run: Run
    root: Place
    workers: Workers
    parts: int
    watcher: Watcher

    def inventory(self, listing: Listing | None, rescan: bool) -> pd.DataFrame:
        """The store's inventory: made from `listing` if there is none, extended by new videos on a rescan.

        A rescan also takes over the columns of the table; values that the table no longer has stay.
        """
        if not self.paths.inventory.exists():
            assert listing is not None
            if committed_names(self.paths):
                raise StoreError(
                    f"expected {self.paths.inventory}; the store has shards and no inventory. Restore the file"
                )
            if summary := listing.columns.summary():
                self.watcher.say(summary)
            return write_inventory(self.paths, joined(self._plan(listing, 0), listing.columns.values))
        known = read_inventory(self.paths)
        if not rescan:
            return known
        assert listing is not None
        listing = as_planned(listing, known)
        new = _without(listing, set(known["video_id"]))
        self.watcher.say(f"{counted(new.num_items, 'new video')} in {listing.root}")
        _report_replaced(self.paths, listing, self.watcher)
        columns = updated(columns_of(known), listing.columns.values)
        if summary := columns.summary():
            self.watcher.say(f"columns of the table are taken over ({summary})")
        if columns.gone:
            self.watcher.say(f"columns that the table no longer has are kept: {shown_names(columns.gone)}")
        return self._extended(known, new, columns.values)

    def whole(self, inventory: pd.DataFrame) -> pd.DataFrame:
        """Check the inventory against the commit records: plan videos that shards lack, report those that it lacks.

        Either happens after files of the store were restored from an older copy.
        """
        records = committed(self.paths)
        for damage in check_inventory(self.paths, inventory, records):
            self.watcher.say(
                f"{damage.file}: {damage.message}; to plan new videos: msnet resume {self.paths.root} --rescan"
            )
        lost = forgotten(inventory, records) if self.parts == 1 else set()
        if not lost:
            return inventory
        self.watcher.say(f"planning {counted(len(lost), 'video')} again, which their shards lack")
        rows = inventory[inventory["video_id"].isin(lost)].drop_duplicates("video_id", keep="last")
        return self._extended(inventory, self._listing_of(rows), columns_of(inventory))

    def with_retries(self, inventory: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """Plan failed items of these classes (empty: all) into new shards, with their files as they are now.

        Items of a shard that is not committed yet are not planned twice: they are tried there.
        """
        records = committed(self.paths)
        failures = merge_failures(records)
        wanted = set((failures if not classes else failures[failures["failure"].isin(list(classes))])["video_id"])
        last = inventory.drop_duplicates("video_id", keep="last")
        again = last[last["video_id"].isin(wanted) & last["shard"].isin(set(records))]
        self.watcher.say(f"trying {counted(len(again), 'failed video')} again")
        return self._extended(inventory, self._listing_of(again), columns_of(inventory))

    def pending(self, inventory: pd.DataFrame, part: tuple[int, int]) -> list[PlannedShard]:
        """Shards of a part without a commit record."""
        records = committed(self.paths)
        index, count = part
        sizes = inventory.groupby("shard")["estimated_bytes"].sum()
        if len(sizes) < count:
            self.watcher.say(
                f"{counted(len(sizes), 'shard')} for {count} parts: "
                f"{'this part has' if index >= len(sizes) else 'some parts have'} nothing to do; "
                "a new store with smaller --shard-bytes would have more shards"
            )
        return [
            PlannedShard(name, jobs, int(sizes[name]))
            for name, jobs in jobs_of_shards(of_part(inventory, part), self.root).items()
            if name not in records
        ]

    def _listing_of(self, rows: pd.DataFrame) -> Listing:
        """Rows of an inventory as a listing, with sizes and times of their files as they are now."""
        jobs = [job for jobs in jobs_of_shards(rows, self.root).values() for job in jobs]
        return Listing(self.root, tuple(_refreshed(jobs)))

    def _extended(self, inventory: pd.DataFrame, new: Listing, columns: pd.DataFrame) -> pd.DataFrame:
        """The inventory with new jobs in new shards, and with these columns; written if anything changed."""
        extended = inventory[list(INVENTORY_COLUMNS)]
        if new.jobs:
            names = {*inventory["shard"].unique(), *committed_names(self.paths)}
            planned = self._plan(new, 1 + max(int(name.rpartition("-")[2]) for name in names))
            extended = pd.concat([extended, planned], ignore_index=True)
        extended = joined(extended, columns)
        return inventory if extended.equals(inventory) else write_inventory(self.paths, extended, replace=True)

    def _plan(self, listing: Listing, first_shard: int) -> pd.DataFrame:
        """Demux every file and plan its items into shards."""
        found = probe_listing(listing, self.run.config, self.workers.extractors * self.workers.decoders, self.watcher)
        at_work = self.workers.extractors * self.parts
        return build_inventory(
            listing,
            found.__getitem__,
            self.run,
            min_shards=at_work * _SHARDS_A_WORKER if at_work > 1 else 1,
            first_shard=first_shard,
        )


def _without(listing: Listing, known: set[str]) -> Listing:
    jobs = []
    for job in listing.jobs:
        items = tuple(item for item in job.items if item.video_id not in known)
        if items:
            jobs.append(replace(job, items=items))
    return replace(listing, jobs=tuple(jobs))


def _refreshed(jobs: Sequence[FileJob]) -> Iterator[FileJob]:
    """The same jobs, with sizes and times of their files as they are now."""
    for job in jobs:
        size_bytes, mtime_ns = fingerprint(job.path) or (None, None)
        yield replace(job, size_bytes=size_bytes, mtime_ns=mtime_ns)
