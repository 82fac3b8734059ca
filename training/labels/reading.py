"""Reads lists of labelled videos and of classes, in a form that their content tells."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from extractor.store.disk.atomic import read_bounded
from schemas.errors import InventoryError, StoreError
from schemas.escaping import escaped
from training.labels.lines import rows_of_lines
from training.labels.records import ClassList, ListRow, is_number
from training.labels.tables import rows_of_table

_MOST_BYTES = 256 * 1024 * 1024
_BRACKETS = re.compile(r"[\[\]]")
_NUMBERED = re.compile(r"([0-9]{1,9})[\s,;]+(.*\S)")
_NAMES_HEADER = re.compile(r"(id|index|number|label)[\s,;]+(name|class|label)", re.IGNORECASE)


def read_class_list(path: Path) -> ClassList:
    """Read a list. Raises InventoryError where it cannot be read, has another form, no rows, or a row lacks a label."""
    text = _text(path)
    first = text.lstrip()[:1]
    if first and first in "[{":
        form, rows = _rows_of_json(path, text)
    else:
        form, rows = rows_of_table(path, text) or rows_of_lines(path, text)
    if not rows:
        raise InventoryError(f"{path}: expected a row for each video; got none. Add rows, or give another list")
    for row in rows:
        if not row.names[-1] or "\0" in row.names[-1]:
            raise InventoryError(f"{path}: row {row.number}: expected the name of a video; got none. Add it")
        if not row.label:
            raise InventoryError(
                f"{path}: row {row.number}: expected a label for {escaped(row.names[-1][:80])}; got none. Add it, or"
                " remove the row"
            )
    return ClassList(path, form, tuple(rows))


def read_class_names(path: Path) -> dict[int, str]:
    """Names of classes by number, in ascending order.

    A name a line, numbered from 0; a number and a name a line (UCF101's classInd.txt begins with 1); a JSON list; or
    {name: number} (Something-Something) or {number: name}. Raises InventoryError.
    """
    text = _text(path)
    names = _names_of_json(path, text) if text.lstrip()[:1] in ("[", "{") else _names_of_lines(text)
    if not names:
        raise InventoryError(f"{path}: expected the names of the classes; got none. Write a name a line")
    if len(set(names.values())) < len(names):
        raise InventoryError(f"{path}: expected each name of a class once; got one twice. Remove it")
    return dict(sorted(names.items()))


def _names_of_lines(text: str) -> dict[int, str]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and _NAMES_HEADER.fullmatch(lines[0]):
        lines = lines[1:]
    found = [_NUMBERED.fullmatch(line) for line in lines]
    numbered = {int(one[1]): one[2] for one in found if one is not None}
    least = min(numbered, default=0)
    if least <= 1 and numbered.keys() == set(range(least, least + len(lines))):
        return numbered
    return dict(enumerate(lines))


def _names_of_json(path: Path, text: str) -> dict[int, str]:
    content = _parsed(path, text)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return dict(enumerate(name.strip() for name in content))
    pairs = [(str(name), str(number)) for name, number in content.items()] if isinstance(content, dict) else [("", "")]
    if not all(is_number(number) for _, number in pairs):
        pairs = [(number, name) for name, number in pairs]
    if not all(is_number(number) for _, number in pairs):
        raise InventoryError(f"{path}: expected a list of names, or {{name: number}}; got another JSON. Correct it")
    named = {int(number): name.strip() for name, number in pairs}
    if len(named) < len(pairs):
        raise InventoryError(f"{path}: expected a number of its own for each class; got one twice. Correct it")
    return named


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe might never end
            raise InventoryError(f"{path}: expected a file; got a folder or a special file. Give a list")
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
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:80]
        raise InventoryError(f"{path}: expected JSON; got text that is none ({why}). Correct it") from error


def _rows_of_json(path: Path, text: str) -> tuple[str, list[ListRow]]:
    """Something-Something V2: [{"id", "label", "template"}]. The class is the template without brackets."""
    content = _parsed(path, text)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise InventoryError(
            f'{path}: expected a JSON list of {{"id", "template"}}; got another one. Give that of Something-Something,'
            " or lines of path and label"
        )
    rows = []
    for number, entry in enumerate(content, start=1):
        name = entry["id"]
        label = next((entry[key] for key in ("template", "label") if entry.get(key) not in (None, "")), "")
        if not isinstance(name, str | int) or not isinstance(label, str | int):
            raise InventoryError(
                f"{path}: row {number}: expected text for id and template; got {escaped(str([name, label])[:60])}."
                " Correct it"
            )
        rows.append(ListRow(number, (str(name),), _BRACKETS.sub("", str(label)).strip()))
    return "Something-Something json", rows
