"""Rows of staged items, read back in the order of a shard and gathered into large blocks."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from extractor.store.commits.run import Run
from extractor.store.commits.staged_records import Part, RecordFormat
from extractor.store.commits.staging import StagedItem, items_of
from extractor.store.disk.append_only import is_damaged, lines
from extractor.store.disk.hdf5 import shard_errors
from extractor.store.disk.rows import Array, RowLevels
from schemas.errors import DamagedShardError
from schemas.tensors import LEVELS

_BLOCK_BYTES = 4 * 1024 * 1024


class DamagedItemError(Exception):
    """A staged item was found damaged when it was read."""

    def __init__(self, item: StagedItem, message: str) -> None:
        super().__init__(message)
        self.item = item


def read_staged(
    items: Iterable[StagedItem], run: Run, emit: Callable[[Mapping[str, Array]], None]
) -> list[tuple[str, dict[str, list[Any]]]]:
    """Pass the rows of staged successes to `emit`, in order; returns (video_id, manifest columns) of each.

    `emit` gets blocks of all datasets of one level, views of memory that is used again. Raises DamagedItemError for
    the first item that is not as written, FileNotFoundError if its files are gone.
    """
    run_format, found = RecordFormat(run), []
    blocks = _Blocks(run_format, emit)
    with ExitStack() as stack:
        handles: dict[Path, int] = {}
        for item in items:
            try:
                with shard_errors(item.path, item.path.stem):
                    record = item.record(run_format)
                    if item.rows_path not in handles:
                        handles[item.rows_path] = os.open(item.rows_path, os.O_RDONLY)
                        stack.callback(os.close, handles[item.rows_path])
                for part in record.parts:
                    blocks.add(item.rows_path, handles[item.rows_path], part)
            except DamagedShardError as error:
                raise DamagedItemError(item, str(error)) from error
            found.append((record.video_id, record.columns))
        blocks.flush()
    return found


def damaged_items(items: Iterable[StagedItem], run: Run) -> list[StagedItem]:
    """Those of some staged successes that are not as written."""
    found = []
    for item in items:
        try:
            read_staged([item], run, lambda rows: None)
        except DamagedItemError:
            found.append(item)
    return found


class _Blocks:
    """Gathers rows level by level, in memory that does not depend on how many there are."""

    def __init__(self, run_format: RecordFormat, emit: Callable[[Mapping[str, Array]], None]) -> None:
        self._format = run_format
        self._levels = RowLevels(run_format.datasets)
        self._emit = emit
        self._room = {level: max(1, _BLOCK_BYTES // max(1, self._levels.bytes_of(level))) for level in LEVELS}
        self._filled = dict.fromkeys(LEVELS, 0)
        self._arrays = {
            spec.path: np.empty((self._room[spec.level], *spec.shape), spec.dtype) for spec in run_format.datasets
        }
        self._bytes = {path: array.reshape(-1).view(np.uint8).data for path, array in self._arrays.items()}

    def add(self, file: Path, handle: int, part: Part) -> None:
        """Add the rows of a part; raises DamagedShardError if they are not as written."""
        places = {spec.path: place for spec, place, _ in self._format.segments(part)}
        found = dict.fromkeys(places, 0)
        for level, rows in zip(LEVELS, part.rows, strict=True):
            specs, done = self._levels.specs[level], 0
            while specs and done < rows:
                start = self._filled[level]
                count = min(rows - done, self._room[level] - start)
                with shard_errors(file, file.stem):
                    for spec in specs:
                        size = spec.row_bytes
                        view = self._bytes[spec.path][start * size : (start + count) * size]
                        _read_into(view, handle, places[spec.path] + done * size)
                        found[spec.path] = zlib.crc32(view, found[spec.path])
                self._filled[level], done = start + count, done + count
                if self._filled[level] == self._room[level]:
                    self._flush(level)
        if tuple(found.values()) != part.checksums:
            with shard_errors(file, file.stem):
                raise ValueError("rows have another checksum")

    def flush(self) -> None:
        """Emit what is left."""
        for level in LEVELS:
            self._flush(level)

    def _flush(self, level: str) -> None:
        count, self._filled[level] = self._filled[level], 0
        if count:
            self._emit({spec.path: self._arrays[spec.path][:count] for spec in self._levels.specs[level]})


def _read_into(view: memoryview, handle: int, offset: int) -> None:
    """Fill `view` from a file; raises ValueError if the file ends before."""
    done = 0
    while done < len(view):
        count = os.preadv(handle, [view[done:]], offset + done)
        if not count:
            raise ValueError("the file ends before its rows do")
        done += count


def damages(log: Path, run: Run, *, deep: bool) -> list[tuple[Path, str]]:
    """Files of a log that are not as they were written, with what is wrong. Deep: also its rows."""
    try:
        found = [(log, "a record is not as it was written")] if any(is_damaged(line) for _, line in lines(log)) else []
        if deep:
            items = [item for item in items_of(log, RecordFormat(run)) if item.failure is None]
            read_staged([item for item in items if not item.mark.exists()], run, lambda rows: None)
    except DamagedItemError as error:
        found.append((error.item.rows_path, str(error)))
    except FileNotFoundError:  # its shard has just been committed
        return []
    except OSError as error:
        return [(log, f"it cannot be read ({error.strerror})")]
    return found
