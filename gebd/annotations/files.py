"""Read and write annotation, prediction and score files. Their content decides the format, not their name."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from extractor.store.disk.atomic import write_bytes
from gebd.annotations.unpickling import is_pickle, unpickle
from gebd.annotations.values import shown
from schemas.errors import UsageError

MAX_FILE_BYTES = 512 * 1024 * 1024


def read_content(path: str | os.PathLike[str], *, tables: bool = True) -> Any:
    """Return the content of a file: dictionaries and lists from a pickle or JSON, or the rows of a CSV table.

    A CSV table is returned as `{"rows": [{column: text}]}`; with `tables=False` it is refused. Raises UsageError if the
    file cannot be read, is larger than MAX_FILE_BYTES, or is none of the three.
    """
    path = Path(path)
    data = _read(path)
    if is_pickle(data[:2]):
        return unpickle(data, str(path))
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: expected a pickle, JSON or CSV; got neither. Check the path") from error
    if content.lstrip()[:1] in ("{", "["):
        return _read_json(content, path)
    if not tables:
        raise UsageError(f"{path}: expected a pickle or JSON; got other text. Check the path")
    return {"rows": _read_csv(content, path)}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: expected at most {MAX_FILE_BYTES} bytes; got more. Check the path or split the file")
    if not data.strip():
        raise UsageError(f"{path}: expected a pickle, JSON or CSV; got an empty file. Check the path")
    return data


def _read_json(content: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UsageError(f"{path}: expected unique keys; got {twice!r:.80} twice in a dictionary. Keep one of them")
        return found

    def refuse(constant: str) -> NoReturn:
        raise UsageError(f"{path}: expected JSON numbers; got {constant}. Write null for an unknown value")

    try:
        return json.loads(content, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: expected JSON; got text that cannot be parsed ({shown(error)}). Correct it"
        ) from error


def _read_csv(content: str, path: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        if len(set(columns)) < len(columns):
            raise UsageError(f"{path}: expected unique columns; got {shown(', '.join(columns))}. Rename or drop one")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise UsageError(
                    f"{path}, line {reader.line_num}: expected {len(columns)} cells; got others. Correct it"
                )
            rows.append({column: cell.strip() for column, cell in row.items()})
    except csv.Error as error:
        raise UsageError(
            f"{path}: expected a pickle, JSON or CSV; got other text ({shown(error)}). Check it"
        ) from error
    return rows


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file with JSON atomically; numbers round-trip exactly."""
    replace_file(path, json_bytes(content))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return JSON laid out as `write_json` does."""
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def write_pickle(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file with a pickle atomically; Python 3.4 and later read it."""
    replace_file(path, pickle.dumps(content, protocol=4))


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file atomically; raises UsageError if its folder does not exist."""
    try:
        write_bytes(path, data)
    except FileNotFoundError as error:
        raise UsageError(f"{path} cannot be written: the folder {path.parent} does not exist. Create it") from error
