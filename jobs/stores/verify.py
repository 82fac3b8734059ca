"""Verifies a store against its commit records, and takes damaged shards out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from extractor.store.check import Damage, check_inventory, check_shard, check_store_files, forgotten
from extractor.store.commits.commit import retire
from extractor.store.commits.lease import Lease
from extractor.store.commits.records import committed_names, read_record
from extractor.store.commits.run import Run, read_run
from extractor.store.commits.snapshot import Commits
from extractor.store.manifest import write_manifest_cache
from extractor.store.tables import is_planned, read_planned
from schemas.errors import StorageError, StoreError
from schemas.layout import StorePaths
from schemas.records import CommitRecord


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify_store`.

    damages: one entry for every damaged file or dataset, and one for each way in which records and inventory disagree.
    retired: shards taken out of the store. not_retired: why they could not be, as a sentence.

    videos: items with rows in sound shards. unfinished: other items, planned into a shard that is missing or damaged
    (where a failed one may be tried again) or not planned yet. failed: the rest. bytes: of the sound shards' files.
    """

    shards: int
    videos: int
    failed: int
    clips: int
    bytes: int
    unfinished: int
    damages: tuple[Damage, ...]
    retired: tuple[str, ...] = ()
    not_retired: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is damaged (a store that is not finished can be clean)."""
        return not self.damages


def verify_store(
    store: Path,
    *,
    deep: bool = False,
    retire_damaged: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check every committed shard against its record. A damaged shard does not stop the check of the others.

    Quick: records, presence and size of files, manifest fragments in full, structure and row counts of shards.
    Deep: SHA-256 of all files and every row with its checksum, so that any changed bit is detected. Both check the
    seals of the store's own tables and documents, and compare the inventory with the records.
    `retire_damaged` takes damaged shards out of the store, so that `msnet resume` extracts them again; if another
    process holds the store's lease, they stay, and `not_retired` says so. `progress(done, total)` is called after
    every shard. Raises StoreError if `store` is none.
    """
    paths = StorePaths(store)
    run = read_run(paths)
    report = _verify(paths, run, deep, progress or (lambda done, total: None))
    if not retire_damaged or not any(damage.shard for damage in report.damages):
        return report
    try:
        with Lease(paths):
            return replace(report, retired=_retire(paths, run, report, deep))
    except StorageError as error:
        return replace(report, not_retired=str(error))


def _retire(paths: StorePaths, run: Run, report: VerifyReport, deep: bool) -> tuple[str, ...]:
    """Retire damaged shards after a second check: before we held the lease, they may have been extracted again."""
    shards = sorted({damage.shard for damage in report.damages if damage.shard})
    damaged = tuple(shard for shard in shards if check_shard(paths, run, shard, deep=deep))
    for shard in damaged:
        retire(paths, shard)
    if damaged:
        write_manifest_cache(paths)
    return damaged


def _verify(paths: StorePaths, run: Run, deep: bool, progress: Callable[[int, int], None]) -> VerifyReport:
    damages = check_store_files(paths, run, deep=deep)
    sound: list[CommitRecord] = []
    names = committed_names(paths)
    for index, shard in enumerate(names, start=1):
        found = check_shard(paths, run, shard, deep=deep)
        damages += found
        record = None if found else read_record(paths, shard)
        if record is not None:
            sound.append(record)
        progress(index, len(names))
    done = {video_id for record in sound for video_id in record.video_ids}
    commits = Commits.of(sound)
    try:
        inventory, unplanned = read_planned(paths)
    except StoreError:
        if not is_planned(paths):
            raise
        unplanned = 0
        inventory = pd.DataFrame({"video_id": [], "shard": []})  # both copies are damaged, which is reported above
    else:
        damages += check_inventory(paths, inventory, commits)
    unsound = ~inventory["shard"].isin(list(commits))
    waiting = (set(inventory[unsound]["video_id"]) | forgotten(inventory, commits)) - done
    failed = {failure.video_id for record in sound for failure in record.failures} - done - waiting
    return VerifyReport(
        shards=len(names),
        videos=len(done),
        failed=len(failed),
        clips=sum(record.rows["clips"] for record in sound),
        bytes=sum(record.data.bytes + record.fragment.bytes for record in sound),
        unfinished=len(waiting) + unplanned,
        damages=tuple(damages),
    )
