"""Finished items of shards that are not committed yet: a log for each attempt, written by one process, read by all.

A log is two files of staging/<shard>/<attempt>/ under a random name: NAME.rows holds rows and nothing else, NAME.items
a sealed record for each item that is finished or failed, which says where its rows lie. So an item exists whole or not
at all, and rows without a record are nobody's: their item was not finished, or started over.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from extractor.store.commits.item_rows import levels_of, to_columns
from extractor.store.commits.records import next_generation
from extractor.store.commits.run import Run
from extractor.store.commits.staged_records import Part, RecordFormat, StagedRecord
from extractor.store.disk.append_only import AppendOnlyFile, line_at, lines
from extractor.store.disk.atomic import entries, fsync_folder, storage_errors
from extractor.store.disk.rows import Array, RowLevels
from schemas.errors import StoreError
from schemas.layout import StorePaths
from schemas.records import Failure
from schemas.tensors import LEVELS

_PART_BYTES = 1024 * 1024
RECORDS, ROWS, _SET_ASIDE = ".items", ".rows", ".damaged"


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


class StagingLog:
    """Context manager: what one process stages for an attempt. Its files are created with the first row or failure.

    What is finished or failed is durable once `sync` has returned; leaving without an error syncs. If another attempt
    commits the shard meanwhile, its winner removes the log; items are not needed then, and are dropped.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.format = RecordFormat(attempt.run)
        self.levels = RowLevels(self.format.datasets)
        self._attempt = attempt
        self._records: AppendOnlyFile | None = None
        self._rows: AppendOnlyFile | None = None
        self._dropped = self._closed = False

    def item(self, video_id: str) -> StagedItemWriter:
        """A writer of one item; several may be open at once."""
        return StagedItemWriter(self, video_id)

    def fail(self, failure: Failure) -> None:
        """Stage that an item failed for good."""
        self.append_record(self.format.failure(failure))

    def append_rows(self, pieces: Sequence[memoryview]) -> int:
        """Append the bytes of rows; returns their offset."""
        with storage_errors(self._attempt.staging):
            self._open()
            return 0 if self._rows is None else self._rows.append(pieces)

    def append_record(self, line: bytes) -> None:
        """Append a record, which makes an item staged."""
        with storage_errors(self._attempt.staging):
            self._open()
            if self._records is not None:
                self._records.append([memoryview(line)])

    def sync(self) -> None:
        """Make everything that is finished or failed so far durable."""
        try:
            with storage_errors(self._attempt.staging):
                for file in (self._rows, self._records):
                    if file is not None:
                        file.sync()
        except FileNotFoundError as error:
            self._drop(error)

    def close(self) -> None:
        """Close the log for good. Harmless if it is closed."""
        for file in (self._rows, self._records):
            if file is not None:
                file.close()
        self._rows = self._records = None
        self._closed = True

    def _open(self) -> None:
        if self._records is not None or self._dropped:
            return
        if self._closed:  # parts of open items lie in files that are no longer written
            raise StoreError("expected an open staging log; got one that is closed. Open another and stage anew")
        folder = self._attempt.staging
        name = secrets.token_hex(6)
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                for above in (folder.parent, self._attempt.paths.staging, self._attempt.paths.root):
                    fsync_folder(above)
            self._rows = AppendOnlyFile(folder / f"{name}{ROWS}")
            self._records = AppendOnlyFile(folder / f"{name}{RECORDS}")
            fsync_folder(folder)
        except FileNotFoundError as error:
            self._drop(error)

    def _drop(self, error: FileNotFoundError) -> None:
        """Stage nothing from now on; raises StoreError unless the files went because the shard was committed."""
        self.close()
        if not self._attempt.paths.commit(self._attempt.shard).exists():
            raise StoreError(
                f"{error.filename} vanished while {self._attempt.shard} was being written: something else deletes "
                "files of the store"
            ) from error
        self._dropped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.sync()
        finally:
            self.close()


class StagedItemWriter:
    """Context manager that stages one item: `append` rows as they come, then `finish`.

    Leaving without `finish`, by an error or not, stages nothing. `reset` starts the item over.
    """

    def __init__(self, log: StagingLog, video_id: str) -> None:
        try:
            video_id.encode()
        except UnicodeEncodeError as error:
            raise StoreError(
                f"expected a video_id that can be written as UTF-8; got {video_id!r}. Rename it"
            ) from error
        self.video_id = video_id
        self._log = log
        self.reset()

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Append rows, arrays by dataset path (rows, *shape), as `converted` takes them.

        Takes all datasets of a level or none, with equally many rows; else raises StoreError. Raises NotFiniteError if
        a value does not fit, StorageError if the disk is full.
        """
        for level, rows in self._log.levels.converted(arrays).items():
            for path, array in rows.items():
                self._pending.setdefault(path, []).append(array)
            count = len(array)
            self._pending_rows[level] += count
            self._rows[level] += count
            self._pending_bytes += count * self._log.levels.bytes_of(level)
        if self._pending_bytes >= _PART_BYTES:
            self._write_part()

    def reset(self) -> None:
        """Drop all rows so far (another decoder starts the file over)."""
        self._rows = dict.fromkeys(LEVELS, 0)
        self._parts: list[Part] = []
        self._forget_pending()

    def _forget_pending(self) -> None:
        self._pending: dict[str, list[Array]] = {}
        self._pending_rows = dict.fromkeys(LEVELS, 0)
        self._pending_bytes = 0

    def _write_part(self) -> None:
        """Write the rows that are buffered."""
        pieces, checksums = [], []
        for spec in self._log.format.datasets:
            blocks = self._pending.get(spec.path, ())
            rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks) if blocks else np.empty(0, np.uint8)
            pieces.append(rows.reshape(-1).view(np.uint8).data)
            checksums.append(zlib.crc32(pieces[-1]))
        offset = self._log.append_rows(pieces)
        self._parts.append(Part(offset, tuple(self._pending_rows.values()), tuple(checksums)))
        self._forget_pending()

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        """Stage the item with the manifest rows of its clips, in order. `StagingLog.sync` makes it durable.

        `clips` has every column of the manifest but video_id, shard, file and clip_row. Row ranges count from the
        item's first row and cover all of its rows in order.
        """
        try:
            columns = to_columns(clips)
            wanted = levels_of(columns["listed"])
            for level, specs in self._log.levels.specs.items():
                if specs and self._rows[level] != wanted[level]:
                    raise StoreError(
                        f"{self.video_id}: expected {wanted[level]} rows of {level}, as its clips say; "
                        f"got {self._rows[level]}"
                    )
            if self._pending_bytes:
                self._write_part()
            self._log.append_record(self._log.format.item(self.video_id, columns, self._parts))
        finally:
            self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()


@dataclass(frozen=True)
class StagedItem:
    """A staged item: the file and the offset of its record, and why it failed if it did.

    row_bytes: of all its rows. rows_end: where the last of them ends in the file of rows.
    """

    video_id: str
    path: Path
    offset: int
    row_bytes: int
    rows_end: int
    failure: Failure | None = None

    @property
    def rows_path(self) -> Path:
        """The file of its rows."""
        return self.path.with_suffix(ROWS)

    @property
    def mark(self) -> Path:
        """An empty file with this name says that the item is damaged and to be extracted again."""
        return self.path.with_suffix(f".{self.offset}{_SET_ASIDE}")

    def record(self, run_format: RecordFormat) -> StagedRecord:
        """Read its record again; raises ValueError if it has changed."""
        return run_format.read(line_at(self.path, self.offset))


def staged_items(paths: StorePaths, run: Run, shard: str) -> dict[str, StagedItem]:
    """Items that any attempt at the shard has staged, by video_id; a success takes precedence over a failure.

    Ignores what is incomplete, damaged, set aside, of another configuration or not ours: such items are not staged.
    """
    return {video_id: found[0] for video_id, found in all_staged(paths, run, shard).items()}


def all_staged(paths: StorePaths, run: Run, shard: str) -> dict[str, list[StagedItem]]:
    """Every record of every item, successes first, in a fixed order."""
    found: dict[str, list[StagedItem]] = {}
    run_format = RecordFormat(run)
    for attempt in sorted(entries(paths.staged(shard))):
        names = set(entries(attempt))
        for log in sorted(path for path in names if path.suffix == RECORDS):
            with suppress(OSError):
                for item in items_of(log, run_format):
                    if item.mark not in names and item.rows_end <= _size(item.rows_path):
                        found.setdefault(item.video_id, []).append(item)
    for items in found.values():
        items.sort(key=lambda item: (item.failure is not None, str(item.path), item.offset))
    return found


def items_of(log: Path, run_format: RecordFormat) -> Iterator[StagedItem]:
    """Items of a log whose records are sound, whatever became of their rows."""
    for offset, line in lines(log):
        try:
            record = run_format.read(line)
        except ValueError:
            continue
        yield StagedItem(record.video_id, log, offset, record.row_bytes, record.end, record.failure)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def set_aside(item: StagedItem) -> None:
    """Mark a damaged item, for every attempt and every later run, so that it is extracted again."""
    with suppress(FileNotFoundError), storage_errors(item.path.parent):
        os.close(os.open(item.mark, os.O_WRONLY | os.O_CREAT, 0o666))
        fsync_folder(item.path.parent)
