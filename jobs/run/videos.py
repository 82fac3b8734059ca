"""The videos of a store: the inventory, made once and extended by rescans and retries, and the shards left to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from extractor.store.check import check_inventory, forgotten
from extractor.store.commits.records import committed_names
from extractor.store.commits.run import Run, read_run
from extractor.store.commits.snapshot import committed
from extractor.store.commits.staging import staged_items
from extractor.store.manifest import merge_failures
from extractor.store.planning import PlannedSoFar, read_log, remove_log
from extractor.store.table_columns import columns_of, joined, updated
from extractor.store.tables import is_planned, read_inventory, write_inventory
from extractor.video.fingerprints import fingerprint
from extractor.video.listing import Listing
from extractor.video.objects.addresses import Place
from jobs.cluster.placement import Placement
from jobs.run.inventory import as_planned, jobs_of_shards
from jobs.run.planning import Maker, Planning, ShardSupply, planned_inventory
from jobs.run.watcher import Watcher
from jobs.stores.standing import of_part
from jobs.workers.driver import PlannedShard
from schemas.errors import ConfigurationError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import FileJob
from schemas.table_columns import shown_names
from schemas.wording import counted

_NAMED = 5  # of the videos whose files were replaced
_SHARDS_A_WORKER = 4  # so that the last shards end at about the same time


def limit_that_holds(paths: StorePaths, run: Run, limit: int | None, watcher: Watcher) -> int | None:
    """How many files to list: `limit`, or that of a planning which was interrupted.

    With a smaller one, planning would end without files that the interrupted one was still to plan.
    """
    planned_with: int | None = run.settings.get("limit")
    if limit == planned_with or is_planned(paths) or not paths.planning.exists():
        return limit
    began = "all files" if planned_with is None else f"--limit {planned_with}"
    more = "" if planned_with is None else f"; to add files, run later: {run.continuing(paths.root, '--rescan')}"
    watcher.say(f"planning goes on with {began}, as it began{more}")
    return planned_with


def require_same_videos(paths: StorePaths, listing: Listing, *, limited: bool, watcher: Watcher) -> None:
    """Compare a listing with the inventory of the store that it continues; report what is new, gone or replaced.

    Of a store whose planning was interrupted nothing is reported: planning goes on with the listing. Raises
    ConfigurationError if they have no video in common: the store is of another dataset.
    """
    inventory = read_inventory(paths)
    listing = as_planned(listing, inventory)
    known = set(inventory["video_id"])
    listed = _listed_with_some_of(paths, known, listing)
    if not is_planned(paths):
        return
    rescan = read_run(paths).continuing(paths.root, "--rescan")
    if new := len(listed - known):
        watcher.say(f"new since the store was planned: {counted(new, 'video')}; to add: {rescan}")
    if not limited and (gone := len(known - listed)):
        watcher.say(f"in the store's inventory, but no longer in {listing.root}: {counted(gone, 'video')}")
    _report_replaced(paths, listing, watcher)
    if summary := updated(columns_of(inventory), listing.columns.values).summary():
        watcher.say(f"columns of the table differ from the store's ({summary}); to take them: {rescan}")


def _listed_with_some_of(paths: StorePaths, known: set[str], listing: Listing) -> set[str]:
    """Ids of a listing. Raises ConfigurationError where the store knows none of them: it is of another dataset."""
    listed = {item.video_id for job in listing.jobs for item in job.items}
    if not known or known & listed:
        return listed
    names = {video_id.rpartition("/")[2]: video_id for video_id in known}
    meant = next((video_id for video_id in sorted(listed) if video_id.rpartition("/")[2] in names), None)
    advice = "Give the dataset it was made from, or another store"
    if meant is not None:
        mine = names[meant.rpartition("/")[2]]
        advice = (
            f"Ids differ: {meant!r} here, {mine!r} in the store. In a table they are the paths, unless it has a column "
            "video_id: give it one, or move it to the folder of the videos"
        )
    raise ConfigurationError(
        f"expected the dataset of the store at {paths.root}; the store has none of the "
        f"{counted(len(listed), 'video')} in {listing.root}. {advice}"
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
            f"run: {read_run(paths).continuing(paths.root, '--rescan')}"
        )


def _finished(paths: StorePaths, inventory: pd.DataFrame) -> set[str]:
    """Videos with features, committed or staged: they are never decoded again."""
    records, run = committed(paths), read_run(paths)
    finished = set(records.done["video_id"].to_pylist())
    for shard in set(inventory["shard"]) - set(records):
        finished |= set(staged_items(paths, run, shard))
    return finished


@dataclass(frozen=True)
class StoreVideos:
    """The videos of a store. parts: how many jobs share the work; each needs shards of its own."""

    paths: StorePaths
    run: Run
    root: Place
    workers: Placement
    parts: int
    watcher: Watcher

    def inventory(self, listing: Listing | None, rescan: bool) -> pd.DataFrame:
        """The store's inventory: made from `listing` if there is none, extended by new videos on a rescan.

        A rescan also takes over the columns of the table; values that the table no longer has stay.
        """
        if not self.paths.inventory.exists():
            assert listing is not None
            planned = self.planning(listing).run(self.watcher.planning)
            assert planned is not None  # nothing stopped it
            return planned
        known = read_inventory(self.paths)
        remove_log(self.paths)  # if planning was killed when it had published the inventory
        if not rescan:
            return known
        assert listing is not None
        listing = as_planned(listing, known)
        ids = set(known["video_id"])
        _listed_with_some_of(self.paths, ids, listing)
        new = _without(listing, ids)
        self.watcher.say(f"{counted(new.num_items, 'new video')} in {listing.root}")
        _report_replaced(self.paths, listing, self.watcher)
        columns = updated(columns_of(known), listing.columns.values)
        if summary := columns.summary():
            self.watcher.say(f"columns of the table are taken over ({summary})")
        if columns.gone:
            self.watcher.say(f"columns of an earlier table are kept: {shown_names(columns.gone)}")
        return self._extended(known, new, columns.values)

    def planning(self, listing: Listing) -> Planning:
        """The planning of a store without inventory, from where an earlier one was interrupted."""
        so_far = read_log(self.paths, self.run.digest)
        names = committed_names(self.paths)
        if names and (so_far is None or not so_far.rows.count):
            raise StoreError(
                f"expected {self.paths.inventory}; the store has shards and no inventory. Restore the file"
            )
        if summary := listing.columns.summary():
            self.watcher.say(summary)
        if so_far is None:
            return self._planning_of(listing, None, 0, ())
        known = so_far.rows.frame()
        rest = _without(as_planned(listing, known), set(known["video_id"]))
        self.watcher.say(
            f"planning goes on: {so_far.rows.count} of {rest.num_items + so_far.rows.count} videos have a shard"
        )
        return self._planning_of(rest, so_far, _next_shard([*known["shard"].unique(), *names]), self._makers(known))

    def _planning_of(
        self, listing: Listing, so_far: PlannedSoFar | None, first_shard: int, known: Sequence[Maker]
    ) -> Planning:
        return Planning(
            self.paths,
            self.run,
            listing,
            so_far,
            min_shards=self._min_shards,
            first_shard=first_shard,
            saves=self.parts == 1,
            known=known,
        )

    def whole(self, inventory: pd.DataFrame) -> pd.DataFrame:
        """Check the inventory against the commit records: plan videos that shards lack, report those that it lacks.

        Either happens after files of the store were restored from an older copy.
        """
        records = committed(self.paths)
        for damage in check_inventory(self.paths, inventory, records):
            self.watcher.say(
                f"{damage.file}: {damage.message}; to plan new videos: "
                f"{self.run.continuing(self.paths.root, '--rescan')}"
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

    def pending(self, inventory: pd.DataFrame, part: tuple[int, int]) -> ShardSupply:
        """Shards of a part without a commit record, the largest first."""
        index, count = part
        shards = inventory["shard"].nunique()
        if shards < count:
            self.watcher.say(
                f"{counted(shards, 'shard')} for {count} parts: "
                f"{'this part has' if index >= shards else 'some parts have'} nothing to do; "
                "a new store with smaller --shard-bytes would have more shards"
            )
        return ShardSupply(self._makers(of_part(inventory, part)))

    def _makers(self, inventory: pd.DataFrame) -> list[Maker]:
        """What makes the shards that are not committed, the largest first."""
        done = set(committed_names(self.paths))
        groups = inventory.groupby("shard", sort=True)
        sizes = groups["estimated_bytes"].sum()
        rows = groups.indices
        names = [name for name in sizes.sort_values(ascending=False, kind="stable").index if name not in done]
        return [partial(self._shard, inventory, rows[name], int(sizes[name])) for name in names]

    def _shard(self, inventory: pd.DataFrame, rows: Any, estimated_bytes: int) -> PlannedShard:
        ((name, jobs),) = jobs_of_shards(inventory.iloc[rows], self.root).items()
        return PlannedShard(name, jobs, estimated_bytes)

    def _listing_of(self, rows: pd.DataFrame) -> Listing:
        """Rows of an inventory as a listing, with sizes and times of their files as they are now."""
        jobs = [job for jobs in jobs_of_shards(rows, self.root).values() for job in jobs]
        return Listing(self.root, tuple(_refreshed(jobs)))

    def _extended(self, inventory: pd.DataFrame, new: Listing, columns: pd.DataFrame) -> pd.DataFrame:
        """The inventory with new jobs in new shards, and with these columns; written if anything changed."""
        extended = inventory[list(INVENTORY_COLUMNS)]
        if new.jobs:
            first_shard = _next_shard([*inventory["shard"].unique(), *committed_names(self.paths)])
            planned = planned_inventory(
                new, self.run, min_shards=self._min_shards, first_shard=first_shard, tell=self.watcher.planning
            )
            extended = pd.concat([extended, planned], ignore_index=True)
        extended = joined(extended, columns)
        return inventory if extended.equals(inventory) else write_inventory(self.paths, extended, replace=True)

    @property
    def _min_shards(self) -> int:
        at_work = self.workers.extractors * self.parts
        return at_work * _SHARDS_A_WORKER if at_work > 1 else 1


def _next_shard(names: Sequence[str]) -> int:
    return 1 + max((int(name.rpartition("-")[2]) for name in names), default=-1)


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
