"""Files of annotations, predictions and scores as plain Python, by what is in them and not by what they are called."""

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

__all__ = ["MAX_FILE_BYTES", "json_bytes", "read_content", "write_json", "write_pickle"]

MAX_FILE_BYTES = 512 * 1024 * 1024


def read_content(path: str | os.PathLike[str], *, tables: bool = True) -> Any:
    """What a file holds: dictionaries and lists of a pickle or of JSON, or the rows of a CSV table.

    A CSV table comes as `{"rows": [{column: text}]}`; without `tables` it is refused. Raises UsageError where the file
    cannot be read, is larger than MAX_FILE_BYTES, or is none of the three.
    """
    path = Path(path)
    data = _read(path)
    if is_pickle(data[:2]):
        return unpickle(data, str(path))
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} was expected to be a pickle, JSON or CSV and is neither text nor a pickle") from error
    if content.lstrip()[:1] in ("{", "["):
        return _read_json(content, path)
    if not tables:
        raise UsageError(f"{path} was expected to be a pickle or JSON and is other text")
    return {"rows": _read_csv(content, path)}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check the path") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path} was expected to hold at most {MAX_FILE_BYTES} bytes and holds more")
    if not data.strip():
        raise UsageError(f"{path} was expected to hold a pickle, JSON or CSV and is empty")
    return data


def _read_json(content: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UsageError(f"{path} has the key {twice!r:.80} twice in one dictionary: keep one of the two")
        return found

    def refuse(constant: str) -> NoReturn:
        raise UsageError(f"{path} holds {constant}, which is no number of JSON: write null where a value is not known")

    try:
        return json.loads(content, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} begins like JSON and cannot be read as JSON ({shown(error)})") from error


def _read_csv(content: str, path: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        if len(set(columns)) < len(columns):
            raise UsageError(f"{path} has two columns of one name: {shown(', '.join(columns))}")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise UsageError(f"{path}, line {reader.line_num}, was expected to have {len(columns)} cells")
            rows.append({column: cell.strip() for column, cell in row.items()})
    except csv.Error as error:
        raise UsageError(
            f"{path} was expected to be a pickle, JSON or CSV and cannot be read ({shown(error)})"
        ) from error
    return rows


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by JSON, whole or not at all; numbers are read back to the last bit."""
    _write(path, json_bytes(content))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON as `write_json` lays it out."""
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


def write_pickle(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by a pickle, whole or not at all; any Python from 3.4 on reads it."""
    _write(path, pickle.dumps(content, protocol=4))


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except FileNotFoundError as error:
        raise UsageError(f"{path} cannot be written: the folder {path.parent} does not exist") from error
