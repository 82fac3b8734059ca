"""`extract` and `resume`: from a folder of videos to a store."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Unpack

import pandas as pd

from extractor.extraction.request import Request as Request, RequestFields, with_fields
from extractor.extraction.resolving import ResolvedRequest, resolve, resolve_weights
from extractor.models.spec import describe_network
from extractor.store.commits.lease import Lease
from extractor.store.commits.run import Run, read_run, write_run
from extractor.store.commits.snapshot import refresh_commits_cache
from extractor.store.commits.sweeping import sweep
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.disk.sealed import mend
from extractor.store.manifest import write_manifest_cache
from extractor.video.listing import Listing, list_videos
from extractor.video.objects.addresses import Place, is_there, place
from jobs.cluster.cluster import Cluster, cluster
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement
from jobs.cluster.signals import Interruptions
from jobs.run.inventory import limited
from jobs.run.logs import run_log
from jobs.run.outcome import Outcome
from jobs.run.planning import Planning, ShardSupply
from jobs.run.videos import StoreVideos, limit_that_holds, require_same_videos
from jobs.run.watcher import Watcher
from jobs.stores.run_times import write_run_times
from jobs.stores.standing import Standing, of_part, standing
from jobs.workers.driver import Driver
from jobs.workers.events import ShardCommitted, ShardProgress
from jobs.workers.extractor import ExtractorSettings
from jobs.workers.ledger import Ledger
from schemas.errors import ConfigurationError, InventoryError, StorageError
from schemas.layout import StorePaths
from schemas.records import Failure, is_address

_LOG = logging.getLogger(__name__)
_REFRESH_SECONDS = 300.0  # after which readers and the next run are spared the records of a running one
_PLANNING_SECONDS = 1.0  # to wait for the end of planning, which says whether all extractors are needed


@dataclass(frozen=True, slots=True)
class _Extraction:
    """What a run is to do. listing: given only if there is no inventory yet, or on a rescan."""

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


def extract(
    videos: Path | str,
    store: Path | str,
    request: Request | None = None,
    options: Options | None = None,
    watcher: Watcher | None = None,
    **fields: Unpack[RequestFields],
) -> Outcome:
    """Extract a folder or a table of videos, or one video, into a store; continue a store that exists.

        outcome = jobs.extract("VIDEOS", "STORE", sampling="dense", rate_hz=5, watcher=jobs.TerminalWatcher())

    request: what changes features; `fields` are those of `Request` by name, and win over it. options: how the work is
    done. watcher: receives the progress; None ignores it, `TerminalWatcher()` draws a bar on standard error. Starts Ray
    for the time of the call, or joins the cluster of `Options.ray_address`. The first Ctrl-C lets the videos in
    progress finish.

    Returns the outcome: `one_line()` is a summary, `failed` and `exit_code` say how it ended. Videos that fail raise
    nothing: they are in `FeatureStore.failures` with their class. Raises a UsageError if it cannot start: see
    `schemas.errors`.
    """
    options, watcher = options or Options(), watcher or Watcher()
    resolved = resolve(with_fields(request, fields))
    listed = list_videos(videos)
    listing = limited(listed, options.limit)
    paths = StorePaths(Path(store).absolute())
    _mend(paths, watcher)
    if not paths.run.exists():  # a run that failed early leaves its leases and its log
        refuse_other_folder(paths.root, {paths.leases.name, paths.logs.name}.__contains__, "a store")
    probe_storage(paths.root)
    if options.ray_address is None and any(is_address(job.path) for job in listing.jobs):
        options.cache.prepare()
    run = _new_run(resolved, listing, videos, options)
    if paths.run.exists():
        run = write_run(paths, run)  # refuses another configuration before anything starts
        listing = limited(listed, limit_that_holds(paths, run, options.limit, watcher))
    if paths.inventory.exists() or paths.planning.exists():
        require_same_videos(paths, listing, limited=options.limit is not None, watcher=watcher)
    if listing.skipped:
        watcher.say(listing.skipped_summary())
    return _run(_Extraction(paths, run, resolved.weights, listing.root, listing, options, watcher))


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
    """Continue a store: its inventory, minus what is committed, minus what is staged.

    videos, weights: where the dataset and the checkpoint are now, if they were moved. retry_failed: failure classes
    to try again (empty: all). rescan: add videos that are new in the dataset, and name finished ones whose files were
    replaced.
    """
    options, watcher = options or Options(), watcher or Watcher()
    if options.part != (0, 1) and (rescan or retry_failed is not None):
        raise ConfigurationError(
            f"expected --rescan and --retry-failed without --part; got --part {options.part[0] + 1}/{options.part[1]}. "
            "One job plans for all parts: leave --part out"
        )
    paths = StorePaths(Path(store).absolute())
    _mend(paths, watcher)
    run = read_run(paths)
    run.require_current(paths)
    if run.config.is_imported:
        raise ConfigurationError(
            f"expected a store that `msnet extract` made; got {paths.root}, which was imported. To continue: msnet "
            f"import {run.dataset_root} --out {paths.root}"
        )
    probe_storage(paths.root)
    found = _same_weights(run, weights)
    source = place(videos or str(run.settings["videos"]))
    listing = None
    if rescan or not paths.inventory.exists():
        if videos is None and not is_there(source):
            raise _moved(source)
        limit = None if rescan else run.settings.get("limit")  # to a rescan, what the limit left out is new
        listing = limited(list_videos(source), None if limit is None else int(limit))
    root = _dataset_root(run, source if videos else None, listing)
    return _run(_Extraction(paths, run, found, root, listing, options, watcher, rescan, retry_failed))


def _mend(paths: StorePaths, watcher: Watcher) -> None:
    for sentence in mend(paths):
        watcher.say(sentence)


def _same_weights(run: Run, weights: str | None) -> str:
    source = weights or str(run.settings.get("weights", ""))
    found = resolve_weights(describe_network(run.config.model), source)
    if found.digest != run.config.weights:
        raise ConfigurationError(
            f"expected the weights that the store was made with (SHA-256 {run.config.weights}); got others from "
            f"{found.source}. Give --weights with the path of the right ones"
        )
    return found.source


def _dataset_root(run: Run, videos: Place | None, listing: Listing | None) -> Place:
    """The folder that the inventory's paths are relative to. Raises where it is gone: every video would be missing."""
    if listing is not None:
        return listing.root
    root = place(videos or run.dataset_root)
    if not is_there(root):
        raise _moved(root)
    return root if isinstance(root, str) or root.is_dir() else root.parent


def _moved(place: Place) -> InventoryError:
    return InventoryError(
        f"expected the dataset at {place}; nothing is there. Mount it, or give --videos with its new place"
    )


def _on_nodes(root: Place) -> Path | None:
    return None if isinstance(root, str) else root


def _run(wanted: _Extraction) -> Outcome:
    paths, options, watcher = wanted.paths, wanted.options, wanted.watcher
    with (
        Lease(paths, options.part) as lease,
        run_log(paths) as log,
        Interruptions() as interruptions,
        cluster(options, store=paths.root, dataset=_on_nodes(wanted.root), log=log, say=watcher.say) as machines,
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

    wanted: _Extraction
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


def _new_run(resolved: ResolvedRequest, listing: Listing, videos: Path | str, options: Options) -> Run:
    return Run(
        config=resolved.config,
        shape=resolved.shape,
        compression=options.compression,
        shard_bytes=options.shard_bytes,
        dataset_root=str(listing.root),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        settings={"weights": resolved.weights, "videos": str(place(videos)), "limit": options.limit},
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("msnet-features", "torch", "ray", "decord2", "decord", "av", "h5py", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
