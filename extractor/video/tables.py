"""Reads a table of videos (csv, parquet, txt) into rows without guessing types: "007" stays text."""

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

_COLUMNS = ("path", "video_id", "start_seconds", "end_seconds", "fps")
_OTHER_NAMES = {  # of these columns in common datasets, without case and separators
    "video_id": ("id", "video", "vid", "youtubeid", "videoname", "clipid"),
    "start_seconds": ("start", "starttime", "timestart", "startsec", "tstart", "begin", "segmentstart"),
    "end_seconds": ("end", "endtime", "timeend", "endsec", "tend", "stop", "segmentend", "duration", "durationseconds"),
    "fps": ("framerate", "rate", "ratehz", "framespersecond"),
}
_INDEX = re.compile(r"__index_level_\d+__")  # pandas' name for an unnamed index
_SHOWN_TYPE = 40  # characters
_CLOSE = 0.8  # difflib's ratio: a letter or two are wrong


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
    """A table of videos. columns: its further columns, one row for each of `rows`."""

    rows: tuple[Row, ...]
    columns: TableColumns


def read_table(table: Path) -> Table:
    """Read a csv or parquet table with a column `path`, or a txt file with one path per line.

    Columns other than path, video_id, start_seconds, end_seconds and fps are the user's own. Raises InventoryError,
    also where the name of one looks like one of these that is missing.
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
        raise InventoryError(
            f"{table}: expected UTF-8 text; got other bytes ({error.reason}). Save it as UTF-8"
        ) from error
    except (OSError, csv.Error) as error:
        raise InventoryError(f"{table} cannot be read ({error}). Give a csv, parquet or txt table") from error


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
                    f"{table}: row {reader.line_num}: expected as many cells as the header has; "
                    f"got {'more' if None in cells else 'fewer'}. Quote paths that contain a comma"
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
        reason = str(error).splitlines()[0]
        raise InventoryError(f"{table}: expected a parquet file; got another ({reason}). Write it again") from error


def _parquet(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from enumerate(_read_parquet(table, [n for n in _COLUMNS if n in _parquet_names(table)]).to_pylist(), start=1)


def _parquet_columns(table: Path, names: Sequence[str]) -> tuple[dict[str, pa.ChunkedArray], list[tuple[str, str]]]:
    """Columns by name, and (name, reason) of those whose values a manifest cannot hold."""
    found, left_out = {}, []
    schema = pq.read_schema(table)
    for name in names:  # one by one, since columns that are left out may be much larger than the rest
        kind = schema.field(name).type
        column = None if pa.types.is_nested(kind) else typed_values(_read_parquet(table, [name]).column(name))
        if column is None:
            left_out.append((name, f"{str(kind)[:_SHOWN_TYPE]} is not a number, truth value or text"))
        else:
            found[name] = column
    return found, left_out


def _read_parquet(table: Path, names: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(table) as file:
            found = file.read(columns=list(names))
        found.validate(full=True)  # text may be invalid UTF-8
        return found
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is damaged ({str(error).splitlines()[0]}). Write it again") from error


def _own_columns(table: Path, names: list[str]) -> list[str]:
    """Names of the user's own columns; raises InventoryError where one looks like a misspelt column of ours."""
    if "path" not in names:
        raise InventoryError(
            f"{table}: expected a column path; got {shown_names(names) or 'no columns'}. Name the files in it"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and _has_name(name)]
    if twice:
        raise InventoryError(
            f"{table}: expected each column once; got {shown_names(twice[:1])} twice. Keep one, or rename it"
        )
    own = [name for name in names if name not in _COLUMNS]
    for name in own:
        meant = _meant(name)
        if meant is not None and meant not in names:
            raise InventoryError(
                f"{table} has a column {name!r} and no column {meant}. Did you mean {meant}? Rename it to that, or to "
                "a less similar name"
            )
    if len(own) > MOST_COLUMNS:
        raise InventoryError(
            f"{table}: expected at most {MOST_COLUMNS} columns besides those that name videos; got {len(own)}. Leave "
            "out what you do not need, or join it to the manifest by video_id"
        )
    return own


def _has_name(name: str) -> bool:
    return bool(name.strip()) and not _INDEX.fullmatch(name)


def _meant(name: str) -> str | None:
    """Which of our columns this name looks like; None if it looks like none."""
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
        raise InventoryError(f"{table}: row {number}: expected a path; got none. Name a file, or remove the row")
    return Row(
        number,
        path,
        _text(cells.get("video_id")),
        *(_seconds(table, number, name, cells.get(name)) for name in ("start_seconds", "end_seconds", "fps")),
    )


def _text(cell: Any) -> str | None:
    """Text of a cell, None where it is empty. An integer column of parquet may name videos, too."""
    if cell is None or cell != cell:
        return None
    return str(cell).strip() or None


def _seconds(table: Path, number: int, name: str, cell: Any) -> float | None:
    """Number in a cell, None where it is empty; a written NaN is returned, for the caller to refuse."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise InventoryError(
            f"{table}: row {number}: expected a number for {name}; got {cell!r}. Correct it, or leave it empty"
        ) from None
