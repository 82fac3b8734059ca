"""Reads a table of videos (csv, parquet, txt) into rows, with nothing guessed: "007" stays text."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InventoryError

__all__ = ["Row", "Table", "read_table"]

_COLUMNS = ("path", "video_id", "start_seconds", "end_seconds", "fps")
_OTHER_NAMES = {  # that datasets give these columns; without case and separators
    "video_id": ("id", "video", "vid", "youtubeid", "videoname", "clipid"),
    "start_seconds": ("start", "starttime", "timestart", "startsec", "tstart", "begin", "segmentstart"),
    "end_seconds": ("end", "endtime", "timeend", "endsec", "tend", "stop", "segmentend", "duration", "durationseconds"),
    "fps": ("framerate", "rate", "ratehz", "framespersecond"),
}
_CLOSE = 0.8  # of difflib's measure: a letter or two are wrong


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table. `number` is its line as an editor shows it (csv, txt), or its place from 1 (parquet)."""

    number: int
    path: str
    video_id: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of videos. rows: read as they are asked for. unread: names of the columns that are left alone."""

    rows: Iterator[Row]
    unread: tuple[str, ...]


def read_table(table: Path) -> Table:
    """A csv or parquet table with a column `path`, or a txt with one path a line.

    Other columns than path, video_id, start_seconds, end_seconds and fps are left alone, unless their name looks like
    one of these that is missing: it would be ignored against what was meant. Raises InventoryError, also while rows
    are read.
    """
    names, reader = {".csv": (_csv_names, _csv), ".parquet": (_parquet_names, _parquet), ".txt": (_txt_names, _txt)}[
        table.suffix.lower()
    ]
    with _readable(table):
        unread = _check_columns(table, names(table))
    return Table(_rows(table, reader(table)), unread)


def _rows(table: Path, numbered: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[Row]:
    with _readable(table):
        for number, cells in numbered:
            yield _row(table, number, cells)


@contextmanager
def _readable(table: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InventoryError(f"{table} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InventoryError(f"{table} cannot be read ({error}): give a csv, parquet or txt table") from error


def _csv_names(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return [name.strip() for name in next(csv.reader(file, skipinitialspace=True, strict=True), [])]


def _csv(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True, strict=True)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for cells in reader:
            if None in cells or None in cells.values():
                raise InventoryError(
                    f"{table}: row {reader.line_num} has {'more' if None in cells else 'fewer'} cells than the header: "
                    "quote paths that hold a comma"
                )
            yield reader.line_num, cells


def _txt_names(table: Path) -> list[str]:
    return ["path"]


def _txt(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, {"path": line.strip()}


def _parquet_names(table: Path) -> list[str]:
    import pyarrow as pa  # here, since only parquet needs it and it takes a while to load
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(table).names)
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is not a parquet file ({str(error).splitlines()[0]}): write it anew") from error


def _parquet(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(table, columns=[name for name in _COLUMNS if name in _parquet_names(table)])
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is damaged ({str(error).splitlines()[0]}): write it anew") from error
    yield from enumerate(content.to_pylist(), start=1)


def _check_columns(table: Path, names: list[str]) -> tuple[str, ...]:
    """Names of the columns that are left alone; raises InventoryError where one seems to be meant otherwise."""
    if "path" not in names:
        raise InventoryError(f"{table} has no column path (it has {', '.join(names) or 'none'}): name the files there")
    twice = {name for name in names if name in _COLUMNS and names.count(name) > 1}
    if twice:
        raise InventoryError(f"{table} has the column {twice.pop()} twice: keep one")
    unread = tuple(name for name in names if name not in _COLUMNS)
    for name in unread:
        meant = _meant(name)
        if meant is not None and meant not in names:
            raise InventoryError(
                f"{table} has a column {name!r}, which is not read: did you mean {meant}? Name it so, or leave it out"
            )
    return unread


def _meant(name: str) -> str | None:
    """The column that is read which this name looks like."""
    plain = re.sub(r"[\W_]", "", name).lower()
    ours = {column.replace("_", ""): column for column in _COLUMNS}
    for column, others in _OTHER_NAMES.items():
        if plain in others:
            return column
    close = difflib.get_close_matches(plain, ours, n=1, cutoff=_CLOSE)
    return ours[close[0]] if close else None


def _row(table: Path, number: int, cells: Mapping[str, Any]) -> Row:
    path = _text(cells.get("path"))
    if not path or "\0" in path:
        raise InventoryError(f"{table}: row {number} has no path: name a file, or remove the row")
    return Row(
        number,
        path,
        _text(cells.get("video_id")),
        *(_seconds(table, number, name, cells.get(name)) for name in ("start_seconds", "end_seconds", "fps")),
    )


def _text(cell: Any) -> str | None:
    """Text of a cell, None where it is empty. A parquet column of whole numbers may name videos, too."""
    if cell is None or cell != cell:
        return None
    return str(cell).strip() or None


def _seconds(table: Path, number: int, name: str, cell: Any) -> float | None:
    """Number in a cell, None where it is empty; what is written as NaN stays one, for the caller to refuse."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise InventoryError(f"{table}: row {number} has {name} {cell!r}: a number was expected") from None
