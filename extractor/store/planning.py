"""Rows of the inventory while planning is under way, in memory and in the log from which a killed planning continues.

The log (`StorePaths.planning`) has one sealed line for each planned shard, and before them what planning decided once,
in a line of its own. It is removed when inventory.parquet is published.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter

from extractor.store.disk.append_only import AppendOnlyFile, decode_line, encode_line, is_damaged, lines
from extractor.store.disk.atomic import fsync_folder, storage_errors
from extractor.store.disk.sealed import require_plain_file
from schemas.errors import StorageError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS

Columns = Mapping[str, Sequence[Any]]
"""Rows of the inventory as whole columns; None where a number is not known."""

_ARROW = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
_SCHEMA = pa.schema([(name, _ARROW[dtype]) for name, dtype in INVENTORY_COLUMNS.items()])
_ROWS_TOGETHER = 4096
_SYNC_SECONDS = 0.2
_MALFORMED = (ValueError, KeyError, TypeError, OverflowError, RecursionError, pa.ArrowException)  # by foreign JSON


@dataclass(frozen=True, slots=True)
class Decided:
    """What planning decides once. shard_bytes: bound of a shard. bytes_a_second: of files that state no length."""

    shard_bytes: int
    bytes_a_second: float


_DECIDED = TypeAdapter(Decided)


class InventoryRows:
    """Rows of the inventory in the order in which they come, in little memory."""

    def __init__(self) -> None:
        self.count = 0
        self._recent: dict[str, list[Any]] = {name: [] for name in INVENTORY_COLUMNS}
        self._parts: list[pa.Table] = []

    def add(self, columns: Columns) -> None:
        """Add rows. Raises what Arrow raises for values of another type."""
        for name, values in self._recent.items():
            values.extend(columns[name])
        self.count += len(columns["video_id"])
        if len(self._recent["video_id"]) >= _ROWS_TOGETHER:
            self._pack()

    def frame(self) -> pd.DataFrame:
        """All rows, with the inventory's columns and dtypes."""
        self._pack()
        frame: pd.DataFrame = pa.concat_tables([_SCHEMA.empty_table(), *self._parts]).to_pandas()
        return frame.astype(dict(INVENTORY_COLUMNS))

    def _pack(self) -> None:
        if self._recent["video_id"]:
            self._parts.append(pa.table(self._recent, schema=_SCHEMA))
            self._recent = {name: [] for name in INVENTORY_COLUMNS}


@dataclass(frozen=True, slots=True)
class PlannedSoFar:
    """What a log holds. left: how many listed videos have no shard yet. end: offset behind the last whole line."""

    rows: InventoryRows
    decided: Decided | None
    left: int
    end: int


def read_log(paths: StorePaths, digest: str | None = None) -> PlannedSoFar | None:
    """The rows planned so far, None if there is no log. A damaged line, and what a crash cut off, count as not written.

    digest: of the run, to refuse the log of another. Raises StoreError if it cannot be read.
    """
    require_plain_file(paths.planning)
    rows, decided, left, end = InventoryRows(), None, 0, 0
    try:
        for offset, line in lines(paths.planning):
            if not line.endswith(b"\n"):
                break
            end = offset + len(line)
            document = _document(line)
            if document is None or (digest is not None and document["digest"] != digest):
                continue
            left = document["left"]
            if "decided" in document:
                decided = _DECIDED.validate_python(document["decided"])
            else:
                rows.add(document["columns"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{paths.planning} cannot be read ({error.strerror}): check its permissions") from error
    return PlannedSoFar(rows, decided, left, end)


def _document(line: bytes) -> dict[str, Any] | None:
    """The content of a line if all of it is sound."""
    try:
        document = decode_line(line)
        if type(document["left"]) is not int or document["left"] < 0 or not isinstance(document["digest"], str):
            return None
        if "decided" in document:
            decided = _DECIDED.validate_python(document["decided"])
            return document if decided.shard_bytes > 0 and 0 < decided.bytes_a_second < math.inf else None
        table = pa.table({name: document["columns"][name] for name in INVENTORY_COLUMNS}, schema=_SCHEMA)
    except _MALFORMED:
        return None
    needed = (name for name, dtype in INVENTORY_COLUMNS.items() if dtype != "float64")
    return None if any(table.column(name).null_count for name in needed) else document


def damaged_lines(paths: StorePaths) -> Iterator[str]:
    """A sentence for each line of the log that was written and then changed, or on why it cannot be read."""
    try:
        require_plain_file(paths.planning)
        for offset, line in lines(paths.planning):
            if is_damaged(line):
                yield f"the line at byte {offset} is not as it was written"
    except FileNotFoundError:
        return
    except StoreError as error:
        yield str(error)
    except OSError as error:
        yield f"it cannot be read ({error.strerror}): check its permissions"


class PlanningLog:
    """Appends to the log: to a new one, or to the first `kept` bytes of an existing one. Raises StorageError."""

    def __init__(self, paths: StorePaths, digest: str, kept: int | None) -> None:
        self._paths = paths
        self._digest = digest
        with storage_errors(paths.root):
            self._file = AppendOnlyFile(paths.planning, kept)
            fsync_folder(paths.root)
        self._synced_at = 0.0

    def decide(self, decided: Decided, left: int) -> None:
        """Note what was decided, and how many videos were listed."""
        self._append({"decided": asdict(decided), "left": left})

    def shard(self, columns: Columns, left: int) -> None:
        """Note the rows of a shard. left: how many videos have none yet."""
        self._append({"columns": columns, "left": left})

    def sync(self, *, now: bool = False) -> bool:
        """Make all lines durable, unless that was done a moment ago; returns whether it did."""
        if not now and time.monotonic() - self._synced_at < _SYNC_SECONDS:
            return False
        try:
            with storage_errors(self._paths.root):
                self._file.sync()
        except FileNotFoundError as error:
            raise StorageError(
                f"expected {self._paths.planning} until planning is through; it was removed. Run `msnet resume`"
            ) from error
        self._synced_at = time.monotonic()
        return True

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def _append(self, content: Mapping[str, Any]) -> None:
        with storage_errors(self._paths.root):
            self._file.append([memoryview(encode_line({"digest": self._digest, **content}))])


def remove_log(paths: StorePaths) -> None:
    """Remove the log: inventory.parquet has all of it."""
    with storage_errors(paths.root):
        paths.planning.unlink(missing_ok=True)
