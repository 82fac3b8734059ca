"""Finished items of shards that are not committed yet: one small file each, written by any attempt, read by all."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt
from pydantic import TypeAdapter

from extractor.store.commits.item_rows import from_columns, levels_of, to_columns
from extractor.store.commits.records import next_generation
from extractor.store.commits.run import Run
from extractor.store.disk.atomic import (
    entries,
    fsync_folder,
    is_temporary,
    read_bounded,
    storage_errors,
    temporary_beside,
    write_bytes,
)
from extractor.store.disk.sealed import Kind, decode_json, encode_json
from extractor.store.disk.shard import ShardReader, ShardWriter
from schemas.errors import StoreError
from schemas.layout import StorePaths, clip_rows
from schemas.records import Failure

_MAX_FAILURE_BYTES = 1024 * 1024
_MAX_MESSAGE = 4000
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what foreign JSON raises


@dataclass(frozen=True)
class Attempt:
    """One try at one shard, under a random name. Travels between processes.

    lease_token: of the driver's lease. Nothing is swept while another process holds the shard.
    """

    paths: StorePaths
    run: Run
    shard: str
    generation: int
    name: str
    lease_token: str

    @property
    def staging(self) -> Path:
        """Folder of what this attempt stages."""
        return self.paths.staged(self.shard) / self.name


def new_attempt(paths: StorePaths, run: Run, shard: str, lease_token: str) -> Attempt:
    """A new attempt at the shard's next generation."""
    return Attempt(paths, run, shard, next_generation(paths, shard), secrets.token_hex(6), lease_token)


@dataclass(frozen=True)
class StagedItem:
    """A staged item: its file, and why it failed if it did."""

    video_id: str
    path: Path
    failure: Failure | None = None


def item_key(video_id: str) -> str:
    """Name of an item's file: a hash, since a video_id may hold what a file name may not."""
    try:
        return hashlib.sha256(video_id.encode()).hexdigest()[:32]
    except UnicodeEncodeError as error:
        raise StoreError(f"expected a video_id that can be written as UTF-8; got {video_id!r}. Rename it") from error


class StagedItemWriter:
    """Context manager that stages one item: `append` rows as they come, then `finish`.

    Leaving without `finish`, by an error or not, leaves nothing behind. `reset` starts the item over.
    """

    def __init__(self, attempt: Attempt, video_id: str) -> None:
        self.video_id = video_id
        self._attempt = attempt
        self._target = attempt.staging / f"{item_key(video_id)}.h5"
        self._writer: ShardWriter | None = None

    def append(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append rows of whole levels, as `ShardWriter.append` takes them."""
        self._open().append(arrays)

    def reset(self) -> None:
        """Drop all rows so far (another decoder starts the file over)."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        """Publish the item with the manifest rows of its clips, in order.

        `clips` has every column of the manifest but video_id, shard, file and clip_row. Row ranges count from the
        item's first row and cover all of its rows in order. If another attempt has committed the shard meanwhile, the
        item is not needed and is dropped.
        """
        columns = to_columns(clips)
        writer = self._open()
        wanted = levels_of(columns)
        for level in sorted({spec.level for spec in self._attempt.run.datasets}):
            if writer.rows[level] != wanted[level]:
                raise StoreError(
                    f"{self.video_id}: expected {wanted[level]} rows of {level}, as its clips say; "
                    f"got {writer.rows[level]}"
                )
        try:
            writer.close({}, {"video_id": self.video_id, "digest": self._attempt.run.digest, "columns": columns})
            with storage_errors(self._target.parent):
                writer.path.replace(self._target)
                fsync_folder(self._target.parent)
        except FileNotFoundError as error:
            _require_committed(self._attempt, error)
        finally:
            self.reset()

    def _open(self) -> ShardWriter:
        if self._writer is None:
            _make_folder(self._attempt)
            # A chunk takes its full size on disk, and most items are a few clips.
            rows = clip_rows(self._attempt.run.config)
            specs = [replace(spec, chunk_rows=min(spec.chunk_rows, rows)) for spec in self._attempt.run.datasets]
            self._writer = ShardWriter(temporary_beside(self._target), specs)
        return self._writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()


def stage_failure(attempt: Attempt, failure: Failure) -> None:
    """Stage that an item failed for good. Dropped if another attempt has committed the shard meanwhile."""
    target = attempt.staging / f"{item_key(failure.video_id)}.json"
    message = failure.message.encode("utf-8", "replace").decode()[:_MAX_MESSAGE]
    fields = asdict(failure) | {"message": message}
    try:
        _make_folder(attempt)
        write_bytes(target, encode_json({"digest": attempt.run.digest, "failure": fields}, Kind.STAGED_FAILURE))
    except FileNotFoundError as error:
        _require_committed(attempt, error)


def _make_folder(attempt: Attempt) -> None:
    with storage_errors(attempt.paths.root):
        if not attempt.staging.is_dir():
            attempt.staging.mkdir(parents=True, exist_ok=True)
            for folder in (attempt.staging.parent, attempt.paths.staging, attempt.paths.root):
                fsync_folder(folder)


def _require_committed(attempt: Attempt, error: FileNotFoundError) -> None:
    """Raise StoreError for a file that vanished, unless the shard's winner swept it."""
    if not attempt.paths.commit(attempt.shard).exists():
        raise StoreError(
            f"{error.filename} vanished while {attempt.shard} was being written: something else deletes files of the "
            "store"
        ) from error


def staged_items(paths: StorePaths, run: Run, shard: str) -> dict[str, StagedItem]:
    """Items that any attempt at the shard has staged, by video_id; a success takes precedence over a failure.

    Ignores files that are incomplete, of another configuration or not ours: their items are not staged.
    """
    return {video_id: found[0] for video_id, found in all_staged(paths, run, shard).items()}


def all_staged(paths: StorePaths, run: Run, shard: str) -> dict[str, list[StagedItem]]:
    """Every staged file of every item, successes first, in a fixed order."""
    found: dict[str, list[StagedItem]] = {}
    attempts = sorted(entries(paths.staged(shard)))
    for path in (path for attempt in attempts for path in sorted(entries(attempt)) if not is_temporary(path)):
        item = _read_staged(path, run) if path.suffix in (".h5", ".json") else None
        if item is not None:
            found.setdefault(item.video_id, []).append(item)
    for items in found.values():
        items.sort(key=lambda item: (item.failure is not None, str(item.path)))
    return found


def _read_staged(path: Path, run: Run) -> StagedItem | None:
    try:
        if path.suffix == ".json":
            return _read_failure(path, run)
        with open_staged(path, run) as reader:
            header = reader.header()
            item, rows = StagedItem(header["video_id"], path), levels_of(header["columns"])
            levels = {spec.level for spec in run.datasets}
            sound = header["digest"] == run.digest and path.stem == item_key(item.video_id)
            return item if sound and all(reader.rows[level] == rows[level] for level in levels) else None
    except (OSError, StoreError, *_MALFORMED):
        return None


def _read_failure(path: Path, run: Run) -> StagedItem | None:
    document = decode_json(read_bounded(path, _MAX_FAILURE_BYTES), Kind.STAGED_FAILURE)
    failure = TypeAdapter(Failure).validate_python(document["failure"])
    sound = document["digest"] == run.digest and path.stem == item_key(failure.video_id)
    return StagedItem(failure.video_id, path, failure) if sound else None


def open_staged(path: Path, run: Run) -> ShardReader:
    """Reader of a staged success."""
    return ShardReader(path, run.datasets, shard=path.stem)


def staged_columns(reader: ShardReader) -> dict[str, list[Any]]:
    """Manifest columns of a staged success, row ranges counted from the item's first row."""
    return from_columns(reader.header()["columns"])


def set_aside(path: Path) -> None:
    """Rename a damaged staged file to a name that nothing reads, so that its item is extracted again."""
    with suppress(FileNotFoundError):
        path.rename(path.with_name(path.name + ".damaged"))
