"""An extraction at work: its lease is held, Ray runs, and shards are extracted until all are committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from extractor.store.commits.lease import Lease
from extractor.store.commits.run import Run, write_run
from extractor.store.commits.snapshot import refresh_commits_cache
from extractor.store.commits.sweeping import sweep
from extractor.store.manifest import write_manifest_cache
from extractor.video.listing import Listing
from extractor.video.objects.addresses import Place
from jobs.cluster.cluster import Cluster, cluster
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement
from jobs.cluster.signals import Interruptions
from jobs.run.logs import run_log
from jobs.run.outcome import Outcome
from jobs.run.planning import Planning, ShardSupply
from jobs.run.videos import StoreVideos
from jobs.run.watcher import Watcher
from jobs.stores.run_times import write_run_times
from jobs.stores.standing import Standing, of_part, standing
from jobs.workers.driver import Driver
from jobs.workers.events import ShardCommitted, ShardProgress
from jobs.workers.extractor import ExtractorSettings
from jobs.workers.ledger import Ledger
from schemas.errors import StorageError
from schemas.layout import StorePaths
from schemas.records import Failure

_LOG = logging.getLogger(__name__)
_REFRESH_SECONDS = 300.0  # after which readers and the next run are spared the records of a running one
_PLANNING_SECONDS = 1.0  # to wait for the end of planning, which says whether all extractors are needed


@dataclass(frozen=True, slots=True)
class Extraction:
    """What is extracted into a store, and how. listing: given only if there is no inventory yet, or on a rescan."""

    paths: StorePaths
    run: Run
    weights: str
    root: Place
    listing: Listing | None
    options: Options
    watcher: Watcher
    rescan: bool = False
    retry_failed: Sequence[str] | None = None

    @property
    def plans_meanwhile(self) -> bool:
        """Whether the extraction can begin before all videos are planned."""
        return (
            not self.paths.inventory.exists()
            and self.options.part == (0, 1)
            and not self.rescan
            and self.retry_failed is None
        )


def run_extraction(wanted: Extraction) -> Outcome:
    """Extract all that is left, and return the outcome. The first interruption lets the videos in progress finish."""
    paths, options, watcher = wanted.paths, wanted.options, wanted.watcher
    dataset = None if isinstance(wanted.root, str) else wanted.root
    with (
        Lease(paths, options.part) as lease,
        run_log(paths) as log,
        Interruptions() as interruptions,
        cluster(
            options,
            store=paths.root,
            dataset=dataset,
            log=log,
            say=watcher.say,
            then=f"run `{wanted.run.continuing(paths.root)}`; what is finished is kept",
        ) as machines,
    ):
        interruptions.raise_again()
        for note in machines.notes:
            watcher.say(note)
        sweep(paths, lease.token)
        refresh_commits_cache(paths)
        wanted = replace(wanted, run=write_run(paths, wanted.run))
        videos = StoreVideos(paths, wanted.run, wanted.root, machines.workers, options.part[1], watcher)
        session = _Session(wanted, machines, lease, interruptions, log)
        try:
            if wanted.plans_meanwhile:
                assert wanted.listing is not None
                with videos.planning(wanted.listing) as planning:
                    return session.extract(None, planning.supply, planning)
            inventory = videos.whole(videos.inventory(wanted.listing, wanted.rescan))
            if wanted.retry_failed is not None:
                inventory = videos.with_retries(inventory, wanted.retry_failed)
            return session.extract(of_part(inventory, options.part), videos.pending(inventory, options.part))
        except KeyboardInterrupt:
            machines.require_alive()  # the watch on Ray interrupts too
            watcher.say("leaving; ending the other processes takes a few seconds")
            raise
        finally:
            watcher.end()  # an error while files are probed leaves their progress bar open


@dataclass(frozen=True)
class _Session:
    """An extraction at work: the lease is held and Ray runs."""

    wanted: Extraction
    machines: Cluster
    lease: Lease
    interruptions: Interruptions
    log: Path

    def extract(self, inventory: pd.DataFrame | None, shards: ShardSupply, planning: Planning | None = None) -> Outcome:
        """Run these shards. inventory: of this job's part; None for all videos, while they are being planned."""
        paths, watcher = self.wanted.paths, self.wanted.watcher
        outcome = Outcome(self.machines.workers, self._standing(inventory, planning))
        watcher.begin(outcome)
        try:
            planned = shards.wait_for_end(_PLANNING_SECONDS)  # a small dataset needs fewer extractors
            if len(shards) or not planned:
                files = None if inventory is None else inventory["path"].nunique()
                if planning is not None:
                    files = planning.total
                placement = self.machines.nodes.placement(len(shards) if planned else None, files)
                self._drive(shards, placement, outcome, planning)
        finally:
            watcher.end()
        if planning is not None:
            planning.stop()
        outcome.interrupted = self.interruptions.happened
        write_manifest_cache(paths)
        sweep(paths, self.lease.token)
        outcome.end(self._standing(inventory, planning))
        _LOG.info("ended: %s", outcome.one_line())
        with suppress(StorageError):  # like a log, times are no reason to fail
            write_run_times(self.log, outcome.times())
        return outcome

    def _standing(self, inventory: pd.DataFrame | None, planning: Planning | None) -> Standing:
        found = standing(self.wanted.paths, self.wanted.run, inventory)
        if planning is None:
            return found
        return replace(found, unplanned=max(0, planning.total - found.settled - found.left))

    def _drive(self, shards: ShardSupply, placement: Placement, outcome: Outcome, planning: Planning | None) -> None:
        wanted, say = self.wanted, self.wanted.watcher.say
        options = wanted.options
        settings = ExtractorSettings(wanted.paths, wanted.run, wanted.weights, options.limits, options.cache)
        for group in placement.groups:
            _LOG.info("%s on %s", group, group.node.name)
        for note in placement.notes:
            say(note)
        ledger, token, nodes = Ledger(wanted.paths), self.lease.token, self.machines.nodes
        driver = Driver(settings, placement, nodes, ledger, token, say, self.machines.require_alive)
        try:
            driver.start()
            for note in driver.notes:
                say(note)
            outcome.start_clock()
            outcome.staff(driver.placement, driver.decoders)
            self.interruptions.drain_on_first()
            refreshed = time.monotonic()
            for event in driver.run(shards, partial(self._draining, planning)):
                self._note(event, outcome)
                outcome.staff(driver.placement, driver.decoders)
                if isinstance(event, ShardCommitted) and time.monotonic() - refreshed > _REFRESH_SECONDS:
                    refresh_commits_cache(wanted.paths)
                    refreshed = time.monotonic()
            outcome.stop_clock()
        finally:
            driver.close()
        outcome.given_up = tuple(driver.given_up)

    def _draining(self, planning: Planning | None) -> bool:
        """Whether the user asked to stop; tells of planning. Raises StorageError once the lease is lost."""
        if planning is not None:
            self.wanted.watcher.planning(planning.planned, planning.total)
        if self.lease.lost:
            raise StorageError(
                f"expected to hold the lease of {self.wanted.paths.root} until the end; another process took the store "
                "over while this one was silent. Nothing is lost, but this run ends here"
            )
        self.interruptions.raise_again()
        if self.interruptions.newly_happened():
            self.wanted.watcher.say(
                "finishing the videos in progress; interrupt again to leave without them (nothing finished is lost)"
            )
        return self.interruptions.happened

    def _note(self, event: ShardProgress | ShardCommitted, outcome: Outcome) -> None:
        match event:
            case ShardProgress():
                for path in event.started:
                    _LOG.info("%s.%s: decoding %s", event.shard, event.attempt, path)
                for note in event.notes:
                    _LOG.info("%s: %s", event.shard, note)
                for result in event.finished:
                    if isinstance(result, Failure):
                        failed = (event.shard, result.video_id, result.failure, result.message)
                        _LOG.warning("%s: %s failed (%s): %s", *failed)
                    else:
                        _LOG.info("%s: %s staged, %d clips", event.shard, result.video_id, result.clips)
                outcome.add(event)
            case ShardCommitted():
                _LOG.info("%s %s", event.shard, "committed" if event.won else "was committed by another attempt")
        self.wanted.watcher.update(outcome)
