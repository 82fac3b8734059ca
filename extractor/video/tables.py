"""Reads a table of videos (csv, parquet, txt) into rows, with nothing guessed: "007" stays text."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extractor.video.column_types import TextCells, pandas_frame, typed_text, typed_values
from schemas.errors import InventoryError
from schemas.table_columns import MOST_COLUMNS, TableColumns, manifest_names, shown_names

__all__ = ["Row", "Table", "read_table"]

_COLUMNS = ("path", "video_id", "start_seconds", "end_seconds", "fps")
_OTHER_NAMES = {  # that datasets give these columns; without case and separators
    "video_id": ("id", "video", "vid", "youtubeid", "videoname", "clipid"),
    "start_seconds": ("start", "starttime", "timestart", "startsec", "tstart", "begin", "segmentstart"),
    "end_seconds": ("end", "endtime", "timeend", "endsec", "tend", "stop", "segmentend", "duration", "durationseconds"),
    "fps": ("framerate", "rate", "ratehz", "framespersecond"),
}
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name
_SHOWN_TYPE = 40
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
    """A table of videos. columns: what it says of each beyond that, one row for each of `rows`."""

    rows: tuple[Row, ...]
    columns: TableColumns


def read_table(table: Path) -> Table:
    """A csv or parquet table with a column `path`, or a txt with one path a line.

    Other columns than path, video_id, start_seconds, end_seconds and fps are the user's own, unless their name looks
    like one of these that is missing. Raises InventoryError.
    """
    suffix = table.suffix.lower()
    names, reader = {".csv": (_csv_names, _csv), ".parquet": (_parquet_names, _parquet), ".txt": (_txt_names, _txt)}[
        suffix
    ]
    with _readable(table):
        own = _own_columns(table, names(table))
        named = [name for name in own if _has_name(name)]
        text = TextCells(named if suffix == ".csv" else ())
        rows = []
        for number, cells in reader(table):
            rows.append(_row(table, number, cells))
            text.add(cells)
        typed = {name: typed_text(cells) for name, cells in text.columns().items()}
        left_out = [(name, "it has no name") for name in own if not _has_name(name)]
        if suffix == ".parquet":
            typed, others = _parquet_columns(table, named)
            left_out += others
    called = manifest_names(typed)
    values = pandas_frame({called[name]: column for name, column in typed.items()})
    return Table(tuple(rows), TableColumns(values, called, tuple(left_out)))


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
    try:
        return list(pq.read_schema(table).names)
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is not a parquet file ({str(error).splitlines()[0]}): write it anew") from error


def _parquet(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from enumerate(_read_parquet(table, [n for n in _COLUMNS if n in _parquet_names(table)]).to_pylist(), start=1)


def _parquet_columns(table: Path, names: Sequence[str]) -> tuple[dict[str, pa.ChunkedArray], list[tuple[str, str]]]:
    """Columns by name, and (name, why not) of those whose values a manifest cannot hold."""
    found, left_out = {}, []
    schema = pq.read_schema(table)
    for name in names:  # one by one, since what is left out may be much larger than the rest
        kind = schema.field(name).type
        column = None if pa.types.is_nested(kind) else typed_values(_read_parquet(table, [name]).column(name))
        if column is None:
            left_out.append((name, f"{str(kind)[:_SHOWN_TYPE]} is no number, truth value or text"))
        else:
            found[name] = column
    return found, left_out


def _read_parquet(table: Path, names: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(table) as file:
            found = file.read(columns=list(names))
        found.validate(full=True)  # text may be none
        return found
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is damaged ({str(error).splitlines()[0]}): write it anew") from error


def _own_columns(table: Path, names: list[str]) -> list[str]:
    """Names of the columns that are the user's; raises InventoryError where one seems to be meant otherwise."""
    if "path" not in names:
        raise InventoryError(
            f"{table} has no column path (it has {shown_names(names) or 'none'}): name the files there"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and _has_name(name)]
    if twice:
        raise InventoryError(f"{table} has the column {shown_names(twice[:1])} twice: keep one, or rename it")
    own = [name for name in names if name not in _COLUMNS]
    for name in own:
        meant = _meant(name)
        if meant is not None and meant not in names:
            raise InventoryError(
                f"{table} has a column {name!r} and none that is called {meant}: did you mean {meant}? Name it so, or "
                "give it a name that is less like it"
            )
    if len(own) > MOST_COLUMNS:
        raise InventoryError(
            f"{table} has {len(own)} columns besides those that name videos, and at most {MOST_COLUMNS} are carried "
            "into the manifest: leave out what you do not need, or join it to the manifest by video_id"
        )
    return own


def _has_name(name: str) -> bool:
    return bool(name.strip()) and not _INDEX.fullmatch(name)


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
