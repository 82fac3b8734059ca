"""`msnet import`: features that video_features saved as npy files, as a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from extractor.store.commits.commit import commit_shard
from extractor.store.commits.lease import Lease
from extractor.store.commits.run import Run, write_run
from extractor.store.commits.snapshot import committed
from extractor.store.commits.staging import StagingLog, new_attempt, staged_items
from extractor.store.commits.sweeping import sweep
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.disk.sealed import mend
from extractor.store.manifest import merge_failures, write_manifest_cache
from extractor.store.tables import is_planned, read_inventory, write_inventory
from jobs.stores.importing.naming import Rows, find_files
from jobs.stores.importing.videos import Given, Source, describe_source
from schemas import __version__
from schemas.config import IMPORTED, ExtractionConfig, Sampling, StorageFloat
from schemas.errors import StorageError, VideoError
from schemas.layout import StorePaths, shard_name
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import Failure
from schemas.tensors import NetworkShape

_SHARD_BYTES = 256 * 1024**2
_SHARD_VIDEOS = 1000


@dataclass(frozen=True)
class ImportReport:
    """What a folder held, and what of it is in the store.

    source: what its videos have in common. videos: in the store, of this folder. imported: by this call. failed: class
    and sentence by video, of those that cannot be imported. changed: in the store, while their files are others now.
    left_out: names of files that are not of this feature, by reason.
    """

    store: Path
    source: Source
    videos: int
    imported: int
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    left_out: dict[str, list[str]] = field(default_factory=dict)


def import_features(
    folder: Path,
    store: Path,
    *,
    feature: str | None = None,
    given: Given | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import the features of a folder that video_features wrote; a video's id is the stem of its files.

    A row of theirs becomes a row of `frame`, of I3D's optical flow a row of `motion`; float64 becomes float32, which is
    what their networks computed. Memory is bounded whatever the files say. Repeating it continues, adds videos that are
    new, and tries failed ones again whose files have changed. Videos that cannot be imported raise nothing: they are in
    the report and in the store's failures.

    Raises a UsageError if the folder has no such features, or `store` holds something else.
    """
    found = find_files(folder, feature)
    source = describe_source(found, given or Given())
    paths = StorePaths(Path(store).absolute())
    mend(paths)
    if not paths.run.exists():
        refuse_other_folder(paths.root, {paths.leases.name}.__contains__, "a store")
    probe_storage(paths.root)
    with Lease(paths) as lease:
        sweep(paths, lease.token)
        run = write_run(paths, _run_of(source))
        files = pd.DataFrame([_inventory_row(source, stem, run) for stem in found.videos])
        inventory, changed = _planned(paths, files)
        imported = _Import(paths, run, source, lease, progress or (lambda done, total: None)).all_of(inventory)
        write_manifest_cache(paths)
        sweep(paths, lease.token)
    return _report(paths, source, imported, changed)


def _report(paths: StorePaths, source: Source, imported: int, changed: tuple[str, ...]) -> ImportReport:
    commits, stems = committed(paths), set(source.found.videos)
    failures = merge_failures(commits)
    failures = failures[failures["video_id"].isin(stems)]
    reasons = zip(failures["failure"].astype(str), failures["message"].astype(str), strict=True)
    return ImportReport(
        store=paths.root,
        source=source,
        videos=len(stems & set(commits.done["video_id"].to_pylist())),
        imported=imported,
        failed=dict(zip(failures["video_id"].astype(str), reasons, strict=True)),
        changed=changed,
        left_out=source.found.left_out,
    )


def _run_of(source: Source) -> Run:
    """run.json of an import: what is known, under a name that says that another program made it."""
    tensors = source.tensors()
    config = ExtractionConfig(
        model=f"{IMPORTED}{source.model}",
        weights="unknown",
        sampling=Sampling.DENSE,
        rate_hz=None,
        outputs=tuple(tensors),
        store_dtype=StorageFloat.FLOAT32,
    )
    widths = {tensor: source.widths[key] for tensor, key in tensors.items()}
    shape = NetworkShape(widths["frame"], widths["frame"], widths.get("motion", 0), cells=(1, 1))
    stacks = source.stacks
    settings = {
        "imported_from": "video_features",
        "feature": source.found.feature.name,
        "model_name": source.found.model_name,
        "tensors": tensors,
        "stack_frames": stacks and stacks.stack_frames,
        "step_frames": stacks and stacks.step_frames,
        "fps": source.fps,
    }
    return Run(
        config,
        shape,
        compression="none",
        shard_bytes=_SHARD_BYTES,
        dataset_root=str(source.found.folder.absolute()),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"msnet-features": __version__},
        settings=settings,
    )


def _inventory_row(source: Source, stem: str, run: Run) -> dict[str, Any]:
    """A video as the inventory has it: the first of its files, their bytes together, and the last change to one."""
    files = list(source.found.videos[stem].values())
    stats = []
    for path in files:
        with suppress(OSError):  # one that has vanished is a failed video, by `Source.open`
            stats.append(path.stat())
    first = source.found.videos[stem].get(source.streams[0], files[0])
    row_bytes = sum(spec.row_bytes for spec in run.datasets)
    numbers = sum(source.widths.values()) * 8
    rows = sum(stat.st_size for stat in stats) // numbers
    unknown = {"int64": 0, "float64": float("nan"), "str": ""}
    return {name: unknown[kind] for name, kind in INVENTORY_COLUMNS.items()} | {
        "video_id": stem,
        "path": first.name,
        "bytes": sum(stat.st_size for stat in stats),
        "mtime_ns": max((stat.st_mtime_ns for stat in stats), default=0),
        "num_frames": rows,
        "estimated_bytes": rows * row_bytes,
    }


def _planned(paths: StorePaths, files: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The inventory with what is new in further shards, and videos of the store whose files have changed."""
    if not is_planned(paths):
        return write_inventory(paths, _in_shards(files, first=0)), ()
    there = read_inventory(paths)
    last = there.drop_duplicates("video_id", keep="last").set_index("video_id")
    known = files["video_id"].isin(last.index)
    was = last.reindex(files["video_id"])
    other = known.to_numpy() & (
        (files["bytes"].to_numpy() != was["bytes"].to_numpy())
        | (files["mtime_ns"].to_numpy() != was["mtime_ns"].to_numpy())
    )
    commits = committed(paths)
    failed = files["video_id"].isin(merge_failures(commits)["video_id"]).to_numpy()
    done = files["video_id"].isin(commits.done["video_id"].to_pylist()).to_numpy()
    new = files[~known.to_numpy() | (other & failed & ~done)]
    changed = tuple(files["video_id"][other & done])
    if not len(new):
        return there, changed
    number = 1 + max(int(name.removeprefix("shard-")) for name in there["shard"])
    inventory = pd.concat([there, _in_shards(new, number)], ignore_index=True)
    return write_inventory(paths, inventory, replace=True), changed


def _in_shards(files: pd.DataFrame, first: int) -> pd.DataFrame:
    """`files` with a shard for each, from number `first` on, in their order."""
    shards, number, size, count = [], first, 0, 0
    for estimated in files["estimated_bytes"]:
        if count and (size + estimated > _SHARD_BYTES or count == _SHARD_VIDEOS):
            number, size, count = number + 1, 0, 0
        shards.append(shard_name(number))
        size, count = size + estimated, count + 1
    return files.assign(shard=shards)[list(INVENTORY_COLUMNS)].astype(dict(INVENTORY_COLUMNS))


@dataclass
class _Import:
    """An import at work, under the lease of the store. imported: videos so far."""

    paths: StorePaths
    run: Run
    source: Source
    lease: Lease
    progress: Callable[[int, int], None]
    imported: int = 0

    def all_of(self, inventory: pd.DataFrame) -> int:
        """Import every shard that is not committed; returns the number of videos that came to the store."""
        there = set(committed(self.paths))
        done = 0
        for shard, rows in inventory.groupby("shard", sort=True):
            ids = list(rows["video_id"])
            if shard not in there:
                self._shard(str(shard), ids, done, len(inventory))
            done += len(ids)
            self.progress(done, len(inventory))
        return self.imported

    def _shard(self, shard: str, video_ids: Sequence[str], done: int, total: int) -> None:
        attempt = new_attempt(self.paths, self.run, shard, self.lease.token)
        staged = staged_items(self.paths, self.run, shard)
        with StagingLog(attempt) as log:
            for number, video_id in enumerate(video_ids, start=1):
                if video_id not in staged:
                    self._video(log, video_id)
                self.progress(done + number, total)
        if self.lease.lost:
            raise StorageError(
                f"expected to hold the lease of {self.paths.root} until the end; another process took it"
            )
        commit_shard(attempt, video_ids)

    def _video(self, log: StagingLog, video_id: str) -> None:
        """Stage a video, or why it cannot be imported."""
        try:
            video = self.source.open(video_id)
            with log.item(video_id) as writer:
                for block in video.blocks():
                    writer.append(block)
                writer.finish([video.clip(times_made_up=self.source.found.feature.rows is not Rows.STACK)])
            self.imported += 1
        except VideoError as error:
            log.fail(Failure(video_id, error.failure, error.message))
