"""`extract` and `resume`: from a folder of videos to a store."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Unpack

from extractor.extraction.request import Request as Request, RequestFields, with_fields
from extractor.extraction.resolving import ResolvedRequest, resolve, resolve_weights
from extractor.models.spec import describe_network
from extractor.store.commits.run import Run, read_run, write_run
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.disk.sealed import mend
from extractor.video.listing import Listing, list_videos
from extractor.video.objects.addresses import Place, is_there, place
from jobs.cluster.options import Options
from jobs.run.inventory import limited
from jobs.run.outcome import Outcome
from jobs.run.session import Extraction, run_extraction
from jobs.run.videos import limit_that_holds, require_same_videos
from jobs.run.watcher import Watcher
from schemas.errors import ConfigurationError, InventoryError
from schemas.layout import StorePaths
from schemas.records import is_address


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
    return run_extraction(Extraction(paths, run, resolved.weights, listing.root, listing, options, watcher))


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
            f"expected a store that `msnet extract` made; got {paths.root}, which was imported. To continue: "
            f"{run.continuing(paths.root)}"
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
    return run_extraction(Extraction(paths, run, found, root, listing, options, watcher, rescan, retry_failed))


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
