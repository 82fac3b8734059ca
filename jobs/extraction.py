"""`extract` and `resume`: everything from a folder of videos to a store, as functions."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import ray

from extractor.models.spec import describe_network
from extractor.store.lease import Lease
from extractor.store.probe import probe_storage
from extractor.store.records import committed
from extractor.store.run import Run, read_run, write_run
from extractor.store.staging import staged_items
from extractor.store.sweeping import sweep
from extractor.store.tables import read_inventory, write_inventory, write_manifest_cache
from extractor.video.listing import Listing, fingerprint, list_videos
from extractor.video.probing import ProbedItem
from jobs.cluster import Cluster, cluster
from jobs.decoder_actor import Decoder, DecoderSettings
from jobs.devices import Workers, torch_device
from jobs.driver import Driver, PlannedShard
from jobs.events import ShardCommitted, ShardProgress
from jobs.extractor_actor import ExtractorSettings
from jobs.inventory import build_inventory, jobs_of_shards, limited, split_jobs
from jobs.ledger import Ledger
from jobs.logs import run_log
from jobs.options import Options, Request, Resolved, member_frames_of, resolve, resolve_weights
from jobs.outcome import Outcome
from jobs.probing import probe_files
from jobs.signals import Interruptions
from jobs.watcher import Watcher
from schemas.errors import ConfigurationError, StorageError
from schemas.layout import StorePaths
from schemas.records import Failure, FileJob

__all__ = ["extract", "resume"]

_LOG = logging.getLogger(__name__)
_SHARDS_A_WORKER = 4  # so that the last shards end at about the same time


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
    _refuse_other_folder(paths)
    probe_storage(paths.root)
    run = _new_run(resolved, listing, videos, options)
    if paths.run.exists():
        write_run(paths, run)  # says what differs before anything is started
    if listing.skipped:
        watcher.say(listing.skipped_summary())
    return _run(paths, run, resolved.weights, listing.root, options, watcher, listing=listing)


def resume(
    store: Path | str,
    options: Options | None = None,
    watcher: Watcher | None = None,
    *,
    weights: str | None = None,
    retry_failed: Sequence[str] | None = None,
    rescan: bool = False,
) -> Outcome:
    """Go on with a store: its inventory, minus what is committed, minus what is staged.

    weights: where the checkpoint lies now, if it was moved. retry_failed: failure classes to try again (empty: all).
    rescan: look for videos that are new in the dataset.
    """
    options, watcher = options or Options(), watcher or Watcher()
    paths = StorePaths(Path(store).absolute())
    run = read_run(paths)
    probe_storage(paths.root)
    source = weights or str(run.settings.get("weights", ""))
    found, digest, _ = resolve_weights(describe_network(run.config.model), source)
    if digest != run.config.weights:
        raise ConfigurationError(
            f"the weights that the store was made with were expected (SHA-256 {run.config.weights}), "
            f"{found} are others: give --weights with the path of the right ones"
        )
    listing = list_videos(str(run.settings["videos"])) if rescan or not paths.inventory.exists() else None
    root = listing.root if listing else Path(run.dataset_root)
    return _run(paths, run, found, root, options, watcher, listing=listing, rescan=rescan, retry_failed=retry_failed)


def _run(
    paths: StorePaths,
    run: Run,
    weights: str,
    root: Path,
    options: Options,
    watcher: Watcher,
    *,
    listing: Listing | None,
    rescan: bool = False,
    retry_failed: Sequence[str] | None = None,
) -> Outcome:
    replan = rescan or retry_failed is not None
    part = (0, 1) if replan else options.part
    with (
        Lease(paths, part) as lease,
        run_log(paths),
        cluster(paths.root, options) as machines,
    ):
        for note in machines.notes:
            watcher.say(note)
        sweep(paths, lease.token)
        run = write_run(paths, run)
        session = _Session(paths, run, weights, root, options, watcher, machines, lease)
        inventory = session.inventory(listing, rescan)
        if retry_failed is not None:
            inventory = session.plan_retries(inventory, retry_failed)
        return session.extract(inventory)


@dataclass(frozen=True)
class _Session:
    """One run of the driver, with the lease held and Ray running."""

    paths: StorePaths
    run: Run
    weights: str
    root: Path
    options: Options
    watcher: Watcher
    machines: Cluster
    lease: Lease

    @property
    def workers(self) -> Workers:
        return self.machines.workers

    def inventory(self, listing: Listing | None, rescan: bool) -> pd.DataFrame:
        """The store's inventory; made from `listing` where there is none, extended by what is new on a rescan."""
        if not self.paths.inventory.exists():
            assert listing is not None
            return write_inventory(self.paths, self._plan(listing, 0))
        known = read_inventory(self.paths)
        if not rescan:
            return known
        assert listing is not None
        new = _without(listing, set(known["video_id"]))
        self.watcher.say(f"{new.num_items} new videos in {self.run.settings['videos']}")
        if not new.jobs:
            return known
        planned = self._plan(new, _next_shard(known))
        return write_inventory(self.paths, pd.concat([known, planned], ignore_index=True), replace=True)

    def plan_retries(self, inventory: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
        """Plan failed items of these classes (all where empty) into new shards; their new state of files counts."""
        _, failures = write_manifest_cache(self.paths)
        wanted = failures if not classes else failures[failures["failure"].isin(list(classes))]
        again = inventory[inventory["video_id"].isin(set(wanted["video_id"]))].drop_duplicates("video_id", keep="last")
        self.watcher.say(f"{len(again)} failed videos are tried again")
        if again.empty:
            return inventory
        jobs = [job for jobs in jobs_of_shards(again, self.root).values() for job in jobs]
        fresh = Listing(self.root, tuple(_refreshed(jobs)))
        planned = self._plan(fresh, _next_shard(inventory))
        return write_inventory(self.paths, pd.concat([inventory, planned], ignore_index=True), replace=True)

    def extract(self, inventory: pd.DataFrame) -> Outcome:
        """Run every shard of this job's part that is not committed."""
        outcome = Outcome(self.workers)
        shards = self._pending(inventory, outcome)
        interruptions = Interruptions(self.watcher.say)
        settings = self._settings()
        driver = Driver(
            settings,
            min(self.workers.extractors, max(1, len(shards))),
            self.workers.cores_each,
            self.workers.gpu,
            Ledger(self.paths),
            self.lease.token,
        )
        self.watcher.begin(outcome)
        try:
            if shards:
                with interruptions.on_first(driver.drain):
                    for note in driver.start():
                        self.watcher.say(note)
                    outcome.start_clock()
                    for event in driver.run(shards, self._check_lease):
                        self._note(event, outcome)
            outcome.stop_clock()
        finally:
            self.watcher.end()
            driver.close()
        outcome.given_up = tuple(driver.given_up)
        outcome.interrupted = interruptions.happened
        manifest, failures = write_manifest_cache(self.paths)
        sweep(self.paths, self.lease.token)
        left = [shard for shard in shards if not self.paths.commit(shard.name).exists()]
        staged = sum(len(staged_items(self.paths, self.run, shard.name)) for shard in left)
        outcome.settle(manifest, failures, staged)
        _LOG.info("ended: %s", outcome.one_line())
        return outcome

    def _settings(self) -> ExtractorSettings:
        return ExtractorSettings(
            str(self.paths.root),
            self.run,
            self.weights,
            torch_device(self.workers.gpu),
            self.workers.threads,
            self.workers.batch_frames,
            self.workers.decoders,
            member_frames_of(self.run.config),
            self.options.limits,
        )

    def _plan(self, listing: Listing, first_shard: int) -> pd.DataFrame:
        """Demux every file and plan it into shards."""
        jobs = list(split_jobs(listing.jobs))
        settings = DecoderSettings(self.run.config, member_frames_of(self.run.config))
        found: dict[FileJob, list[ProbedItem]] = {}
        processes = self.workers.extractors * self.workers.decoders
        spawn = ray.remote(Decoder).options(num_cpus=0, max_restarts=0).remote
        for job, items in probe_files(jobs, lambda: spawn(settings), processes):
            found[job] = items
            self.watcher.probing(len(found), len(jobs))
        return build_inventory(
            listing,
            found.__getitem__,
            self.run,
            settings.member_frames,
            min_shards=self.workers.extractors * _SHARDS_A_WORKER if self.workers.extractors > 1 else 1,
            first_shard=first_shard,
        )

    def _pending(self, inventory: pd.DataFrame, outcome: Outcome) -> list[PlannedShard]:
        """Shards of this job's part without a commit record; what is committed is noted in the outcome."""
        records = committed(self.paths)
        index, count = self.options.part
        sizes = inventory.groupby("shard")["estimated_bytes"].sum()
        shards = []
        done: set[str] = set()
        failed: set[str] = set()
        staged: set[str] = set()
        for name, jobs in jobs_of_shards(inventory, self.root).items():
            if int(name.rpartition("-")[2]) % count != index:
                continue
            video_ids = {item.video_id for job in jobs for item in job.items}
            outcome.video_ids |= video_ids
            if name in records:
                done |= set(records[name].video_ids)
                failed |= {failure.video_id for failure in records[name].failures}
            else:
                shards.append(PlannedShard(name, jobs, int(sizes[name])))
                failed -= video_ids  # tried again
                staged |= set(staged_items(self.paths, self.run, name)) & video_ids
        outcome.done_before, outcome.failed_before = len(done), len(failed - done)
        outcome.staged_before = len(staged - done)
        return shards

    def _check_lease(self) -> None:
        if self.lease.lost:
            raise StorageError(
                f"{self.paths.root} was taken over by another process while this one was silent: nothing is lost, "
                "but this run ends here"
            )

    def _note(self, event: ShardProgress | ShardCommitted, outcome: Outcome) -> None:
        match event:
            case ShardProgress():
                for path in event.started:
                    _LOG.info("%s.%s: decoding %s", event.shard, event.attempt, path)
                for note in event.notes:
                    _LOG.info("%s: %s", event.shard, note)
                for result in event.finished:
                    if isinstance(result, Failure):
                        _LOG.warning(
                            "%s: %s failed (%s): %s", event.shard, result.video_id, result.failure, result.message
                        )
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
        settings={"weights": resolved.weights, "videos": str(Path(videos).absolute())},
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("msnet-features", "torch", "ray", "decord2", "decord", "av", "h5py", "numpy", "pandas"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _refuse_other_folder(paths: StorePaths) -> None:
    """A folder that holds something else is not made a store of. An attempt that failed early leaves its logs."""
    ours = {paths.leases.name, paths.logs.name}
    if paths.root.is_dir() and not paths.run.exists() and any(path.name not in ours for path in paths.root.iterdir()):
        raise StorageError(
            f"an empty folder or a store was expected, {paths.root} holds other files: give another --out"
        )


def _without(listing: Listing, known: set[str]) -> Listing:
    jobs = []
    for job in listing.jobs:
        items = tuple(item for item in job.items if item.video_id not in known)
        if items:
            jobs.append(replace(job, items=items))
    return replace(listing, jobs=tuple(jobs))


def _next_shard(inventory: pd.DataFrame) -> int:
    return 1 + max(int(name.rpartition("-")[2]) for name in inventory["shard"].unique())


def _refreshed(jobs: Sequence[FileJob]) -> Iterator[FileJob]:
    """The same jobs, held against their files as they are now."""
    for job in jobs:
        size_bytes, mtime_ns = fingerprint(job.path) or (None, None)
        yield replace(job, size_bytes=size_bytes, mtime_ns=mtime_ns)
