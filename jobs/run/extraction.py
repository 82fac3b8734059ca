"""`extract` and `resume`: everything from a folder of videos to a store, as functions."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from extractor.models.spec import describe_network
from extractor.store.commits.lease import Lease
from extractor.store.commits.run import Run, read_run, write_run
from extractor.store.commits.sweeping import sweep
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.disk.sealed import mend
from extractor.store.tables import write_manifest_cache
from extractor.video.listing import Listing, list_videos
from jobs.cluster.machines import Cluster, cluster
from jobs.run.inventory import limited
from jobs.run.logs import run_log
from jobs.run.options import Options, Request, Resolved, resolve, resolve_weights
from jobs.run.outcome import Outcome
from jobs.run.signals import Interruptions
from jobs.run.videos import Dataset, require_same_videos
from jobs.run.watcher import Watcher
from jobs.stores.standing import of_part, standing
from jobs.workers.driver import Driver, PlannedShard
from jobs.workers.events import ShardCommitted, ShardProgress
from jobs.workers.extractor import ExtractorSettings
from jobs.workers.ledger import Ledger
from schemas.errors import ConfigurationError, InventoryError, StorageError
from schemas.layout import StorePaths
from schemas.records import Failure

__all__ = ["extract", "resume"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a run is to do. listing: where there is no inventory yet, or on a rescan."""

    paths: StorePaths
    run: Run
    weights: str
    root: Path
    listing: Listing | None
    rescan: bool = False
    retry_failed: Sequence[str] | None = None


def extract(
    videos: Path | str,
    store: Path | str,
    request: Request,
    options: Options | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Extract a folder or a table of videos into a store; one that exists is gone on with.

    Raises a UsageError where it cannot begin: see `schemas.errors`. Videos that fail are in the outcome and in the
    store's failures.
    """
    options, watcher = options or Options(), watcher or Watcher()
    resolved = resolve(request)
    listing = limited(list_videos(videos), options.limit)
    paths = StorePaths(Path(store).absolute())
    _mend(paths, watcher)
    if not paths.run.exists():  # an attempt that failed early leaves its leases and its log
        refuse_other_folder(paths.root, {paths.leases.name, paths.logs.name}.__contains__, "a store")
    probe_storage(paths.root)
    run = _new_run(resolved, listing, videos, options)
    if paths.run.exists():
        run = write_run(paths, run)  # says what differs before anything is started
    if paths.inventory.exists():
        require_same_videos(paths, listing, limited=options.limit is not None, watcher=watcher)
    if listing.skipped:
        watcher.say(listing.skipped_summary())
    return _run(_Task(paths, run, resolved.weights, listing.root, listing), options, watcher)


def resume(
    store: Path | str,
    options: Options | None = None,
    watcher: Watcher | None = None,
    *,
    videos: Path | str | None = None,
    weights: str | None = None,
    retry_failed: Sequence[str] | None = None,
    rescan: bool = False,
) -> Outcome:
    """Go on with a store: its inventory, minus what is committed, minus what is staged.

    videos, weights: where the dataset and the checkpoint lie now, if they were moved. retry_failed: failure classes
    to try again (empty: all). rescan: add videos that are new in the dataset, and name finished ones whose
    files were replaced.
    """
    options, watcher = options or Options(), watcher or Watcher()
    if options.part != (0, 1) and (rescan or retry_failed is not None):
        raise ConfigurationError(
            "--part with --rescan or --retry-failed was given: one job plans for all, so leave --part out"
        )
    paths = StorePaths(Path(store).absolute())
    _mend(paths, watcher)
    run = read_run(paths)
    run.require_current(paths)
    probe_storage(paths.root)
    found = _same_weights(run, weights)
    source = Path(videos or str(run.settings["videos"]))
    listing = None
    if rescan or not paths.inventory.exists():
        if videos is None and not source.exists():
            raise _moved(source)
        limit = None if rescan else run.settings.get("limit")  # what a limit left out is new to the store
        listing = limited(list_videos(source), None if limit is None else int(limit))
    root = _dataset_root(run, source if videos else None, listing)
    return _run(_Task(paths, run, found, root, listing, rescan, retry_failed), options, watcher)


def _mend(paths: StorePaths, watcher: Watcher) -> None:
    for sentence in mend(paths):
        watcher.say(sentence)


def _same_weights(run: Run, weights: str | None) -> str:
    source = weights or str(run.settings.get("weights", ""))
    found = resolve_weights(describe_network(run.config.model), source)
    if found.digest != run.config.weights:
        raise ConfigurationError(
            f"the weights that the store was made with were expected (SHA-256 {run.config.weights}), "
            f"{found.source} are others: give --weights with the path of the right ones"
        )
    return found.source


def _dataset_root(run: Run, videos: Path | None, listing: Listing | None) -> Path:
    """Folder that the inventory's paths count from. Without it every video would be taken for missing."""
    if listing is not None:
        return listing.root
    place = (videos or Path(run.dataset_root)).absolute()
    if not place.exists():
        raise _moved(place)
    return place if place.is_dir() else place.parent


def _moved(place: Path) -> InventoryError:
    return InventoryError(
        f"the dataset was expected at {place}, which is not there now: mount it, or give --videos with its new place"
    )


def _run(task: _Task, options: Options, watcher: Watcher) -> Outcome:
    paths = task.paths
    with (
        Lease(paths, options.part) as lease,
        run_log(paths) as log,
        Interruptions() as interruptions,
        cluster(options, store=paths.root, dataset=task.root, log=log) as machines,
    ):
        interruptions.insist()
        for note in machines.notes:
            watcher.say(note)
        sweep(paths, lease.token)
        run = write_run(paths, task.run)
        dataset = Dataset(paths, run, task.root, machines.workers, options.part[1], watcher)
        session = _Session(paths, run, task.weights, options, watcher, machines, lease, interruptions)
        try:
            inventory = dataset.whole(dataset.inventory(task.listing, task.rescan))
            if task.retry_failed is not None:
                inventory = dataset.with_retries(inventory, task.retry_failed)
            return session.extract(dataset, inventory)
        except KeyboardInterrupt:
            machines.require_alive()  # it may be Ray's end that interrupts
            watcher.say("leaving; it takes some seconds to end the other processes")
            raise
        finally:
            watcher.end()  # an error may leave the bar of files that are looked at


@dataclass(frozen=True)
class _Session:
    """One run of the driver, with the lease held and Ray running."""

    paths: StorePaths
    run: Run
    weights: str
    options: Options
    watcher: Watcher
    machines: Cluster
    lease: Lease
    interruptions: Interruptions

    def extract(self, dataset: Dataset, inventory: pd.DataFrame) -> Outcome:
        """Run every shard of this job's part that is not committed."""
        mine = of_part(inventory, self.options.part)
        outcome = Outcome(self.machines.workers, standing(self.paths, self.run, mine))
        shards = dataset.pending(inventory, self.options.part)
        self.watcher.begin(outcome)
        try:
            if shards:
                self._drive(shards, outcome)
        finally:
            self.watcher.end()
        outcome.interrupted = self.interruptions.happened
        write_manifest_cache(self.paths)
        sweep(self.paths, self.lease.token)
        outcome.end(standing(self.paths, self.run, mine))
        _LOG.info("ended: %s", outcome.one_line())
        return outcome

    def _drive(self, shards: Sequence[PlannedShard], outcome: Outcome) -> None:
        workers = self.machines.workers
        settings = ExtractorSettings(self.paths, self.run, self.weights, workers, self.options.limits)
        count = min(workers.extractors, len(shards))
        driver = Driver(settings, count, Ledger(self.paths), self.lease.token, self.machines.require_alive)
        try:
            driver.start()
            for note in driver.notes:
                self.watcher.say(note)
            outcome.start_clock()
            self.interruptions.drain_on_first()
            for event in driver.run(shards, self._draining):
                self._note(event, outcome)
            outcome.stop_clock()
        finally:
            driver.close()
        outcome.given_up = tuple(driver.given_up)

    def _draining(self) -> bool:
        """Whether the user asked to stop; raises StorageError where the lease was lost."""
        if self.lease.lost:
            raise StorageError(
                f"{self.paths.root} was taken over by another process while this one was silent: nothing is lost, "
                "but this run ends here"
            )
        self.interruptions.insist()
        if self.interruptions.news():
            self.watcher.say(
                "finishing the videos at hand; interrupt again to leave without them (nothing finished gets lost)"
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
                        told = (event.shard, result.video_id, result.failure, result.message)
                        _LOG.warning("%s: %s failed (%s): %s", *told)
                    else:
                        _LOG.info("%s: %s staged, %d clips", event.shard, result.video_id, result.clips)
                outcome.add(event)
            case ShardCommitted():
                _LOG.info("%s %s", event.shard, "committed" if event.won else "was committed by another attempt")
        self.watcher.update(outcome)


def _new_run(resolved: Resolved, listing: Listing, videos: Path | str, options: Options) -> Run:
    return Run(
        config=resolved.config,
        shape=resolved.shape,
        compression=options.compression,
        shard_bytes=options.shard_bytes,
        dataset_root=str(listing.root),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        settings={"weights": resolved.weights, "videos": str(Path(videos).absolute()), "limit": options.limit},
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("msnet-features", "torch", "ray", "decord2", "decord", "av", "h5py", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
