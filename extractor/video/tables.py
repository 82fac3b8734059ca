"""Reads a table of videos (csv, parquet, txt) into rows, with nothing guessed: "007" stays text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InventoryError

__all__ = ["Row", "read_table"]

_COLUMNS = ("path", "video_id", "start_seconds", "end_seconds", "fps")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table. `number` is its line as an editor shows it (csv, txt), or its place from 1 (parquet)."""

    number: int
    path: str
    video_id: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None


def read_table(table: Path) -> Iterator[Row]:
    """Rows of a csv or parquet table with a column `path`, or of a txt with one path a line.

    Other columns than path, video_id, start_seconds, end_seconds and fps are left alone. Raises InventoryError.
    """
    reader = {".csv": _csv, ".parquet": _parquet, ".txt": _txt}[table.suffix.lower()]
    try:
        for number, cells in reader(table):
            yield _row(table, number, cells)
    except UnicodeDecodeError as error:
        raise InventoryError(f"{table} is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InventoryError(f"{table} cannot be read ({error}): give a csv, parquet or txt table") from error


def _csv(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True, strict=True)
        _require_path(table, [(name or "").strip() for name in reader.fieldnames or []])
        reader.fieldnames = [(name or "").strip() for name in reader.fieldnames or []]
        for cells in reader:
            if None in cells or None in cells.values():
                raise InventoryError(
                    f"{table}: row {reader.line_num} has {'more' if None in cells else 'fewer'} cells than the header: "
                    "quote paths that hold a comma"
                )
            yield reader.line_num, cells


def _txt(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, {"path": line.strip()}


def _parquet(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa  # here, since only parquet needs it and it takes a while to load
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(table).names
        _require_path(table, names)
        content = pq.read_table(table, columns=[name for name in _COLUMNS if name in names])
    except pa.ArrowInvalid as error:
        raise InventoryError(f"{table} is not a parquet file ({str(error).splitlines()[0]}): write it anew") from error
    yield from enumerate(content.to_pylist(), start=1)


def _require_path(table: Path, names: list[str]) -> None:
    if "path" not in names:
        raise InventoryError(f"{table} has no column path (it has {', '.join(names) or 'none'}): name the files there")
    twice = {name for name in names if name in _COLUMNS and names.count(name) > 1}
    if twice:
        raise InventoryError(f"{table} has the column {twice.pop()} twice: keep one")


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
