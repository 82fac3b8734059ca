"""Lists of labelled videos, in the forms of the field, recognised by their content."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractor.store.disk.atomic import read_bounded
from schemas.errors import InventoryError, StoreError
from schemas.escaping import escaped

_MOST_BYTES = 256 * 1024 * 1024
_FORMS = (
    "`path label`, `path num_frames label`, a csv with path and label, of Kinetics or Something-Something, or a json"
)
_BRACKETS = re.compile(r"[\[\]]")


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row of a list. number: for the user, from 1. names: what its file may be called, the likeliest first.

    start_seconds, end_seconds: the segment, for a file whose name is the last of `names` and which is not cut to it.
    """

    number: int
    names: tuple[str, ...]
    label: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class ClassList:
    """A list of labelled videos. form: in words."""

    path: Path
    form: str
    rows: tuple[ListRow, ...]


def read_class_list(path: Path) -> ClassList:
    """Read a list. Raises InventoryError where it cannot be read, has another form, no rows, or a row lacks a label."""
    text = _text(path)
    content = text.lstrip()
    if not content:
        raise InventoryError(f"{path}: expected a row for each video; got none. Add rows, or give another list")
    if content[0] in "[{":
        form, rows = _json(path, text)
    else:
        form, rows = _lines(path, text)
    for row in rows:
        if not row.label:
            raise InventoryError(f"{path}: row {row.number}: expected a label; got none. Add it, or remove the row")
        if not any(row.names) or any("\0" in name for name in row.names):
            raise InventoryError(f"{path}: row {row.number}: expected the name of a video; got none. Add it")
    if not rows:
        raise InventoryError(f"{path}: expected a row for each video; got none. Add rows, or give another list")
    return ClassList(path, form, tuple(rows))


def read_class_names(path: Path) -> list[str]:
    """Names of classes in the order of their numbers: a name a line, a JSON list, or {name: number}."""
    text = _text(path)
    if text.lstrip()[:1] not in ("[", "{"):
        names = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        content = _parsed(path, text)
        try:
            if isinstance(content, dict):
                names = [str(name) for name, _ in sorted(content.items(), key=lambda pair: int(pair[1]))]
            else:
                names = [str(name) for name in content]
        except (TypeError, ValueError) as error:
            raise InventoryError(f"{path}: expected {{name: number}}; got other values. Correct them") from error
    if len(set(names)) != len(names) or not names:
        raise InventoryError(f"{path}: expected each name of a class once; got {len(names)} names. Correct the list")
    return names


def _text(path: Path) -> str:
    try:
        return read_bounded(path, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InventoryError(f"{path}: expected UTF-8 text; got other bytes. Save it as UTF-8") from error
    except StoreError as error:
        raise InventoryError(f"{path}: expected a list of at most 256 MiB; got more. Split it") from error
    except OSError as error:
        raise InventoryError(f"{path} cannot be read ({error.strerror}). Give a list of labelled videos") from error


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InventoryError(f"{path}: expected JSON; got text that is none ({error}). Correct it") from error


def _json(path: Path, text: str) -> tuple[str, list[ListRow]]:
    """Something-Something V2: [{"id", "label", "template"}]. The class is the template without brackets."""
    content = _parsed(path, text)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise InventoryError(f'{path}: expected a JSON list of {{"id", "template"}}; got another one. Give {_FORMS}')
    rows = []
    for number, entry in enumerate(content, start=1):
        label = entry.get("template") or entry.get("label") or ""
        rows.append(ListRow(number, (str(entry["id"]),), _BRACKETS.sub("", str(label)).strip()))
    return "Something-Something json", rows


def _lines(path: Path, text: str) -> tuple[str, list[ListRow]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    first = lines[0][1]
    if (found := _with_header(path, text, first)) is not None:
        return found
    for name, split in _SPLITTERS.items():
        cells = [(number, split(line)) for number, line in lines]
        width = len(cells[0][1])
        if width in (2, 3) and all(len(row) == width for _, row in cells):
            counts = width == 3 and all(row[1].isdigit() for _, row in cells)
            if width == 3 and not counts:
                continue
            form = f"{name} of path, {'frames and ' if counts else ''}label"
            return form, [ListRow(number, (row[0],), row[-1]) for number, row in cells]
    raise InventoryError(f"{path}: expected a list of labelled videos; got {escaped(first[:60])!r}. Give {_FORMS}")


def _by_spaces(line: str) -> list[str]:
    """Path and label, or path, frames and label; a path may hold spaces if the label is a number."""
    words = line.split()
    if len(words) <= 2 or not words[-1].isdigit():
        return words
    return line.rsplit(None, 2 if words[-2].isdigit() else 1)


_SPLITTERS: Mapping[str, Callable[[str], list[str]]] = {
    "tab-separated lines": lambda line: [cell.strip() for cell in line.split("\t")] if "\t" in line else [],
    "lines with ;": lambda line: [cell.strip() for cell in line.split(";", 1)] if ";" in line else [],
    "comma-separated lines": lambda line: (
        [cell.strip() for cell in line.rsplit(",", line.count(",") and 1)]
        if line.count(",") == 1
        else [cell.strip() for cell in line.split(",")]
    ),
    "lines": _by_spaces,
}


def _with_header(path: Path, text: str, first: str) -> tuple[str, list[ListRow]] | None:
    """A csv whose header names a label and a video; None for other text."""
    header = [cell.strip().strip('"').lower() for cell in re.split(r"[,;\t]", first)]
    video = next((name for name in ("youtube_id", "path", "video_id", "id", "video") if name in header), None)
    if "label" not in header or video is None:
        return None
    mark = next(mark for mark in ",;\t" if mark in first)
    try:
        cells = list(csv.DictReader(text.splitlines(), delimiter=mark, skipinitialspace=True))
    except csv.Error as error:
        raise InventoryError(f"{path}: expected a csv; got one that cannot be read ({error}). Correct it") from error
    rows = []
    for number, row in enumerate(cells, start=2):
        named = {
            str(key).strip().lower(): (value or "").strip() for key, value in row.items() if isinstance(value, str)
        }
        start, end = (
            _seconds(path, number, named, one) for one in (("time_start", "start_seconds"), ("time_end", "end_seconds"))
        )
        names = [named.get(video, "")]
        if video == "youtube_id" and start is not None and end is not None:
            names.insert(0, f"{names[0]}_{int(start):06d}_{int(end):06d}")
        split = named.get("split") or None
        rows.append(ListRow(number, tuple(names), named.get("label", ""), start, end, split))
    return ("Kinetics csv" if video == "youtube_id" else f"csv with {video} and label"), rows


def _seconds(path: Path, number: int, row: Mapping[str, str], names: Sequence[str]) -> float | None:
    text = next((row[name] for name in names if row.get(name)), None)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InventoryError(
            f"{path}: row {number}: expected seconds for {names[0]}; got {escaped(text[:40])}. Correct it"
        )
    return value
