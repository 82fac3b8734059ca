"""Sealed files of a store (schemas.seals), in which any changed bit is detected, and copies of two of them.

run.json and inventory.parquet hold what nothing else in a store does. Each has a copy in copies/, which is read if the
original is damaged or gone. Other sealed files are rebuilt from the shards and their records, or belong to a run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from extractor.store.disk.atomic import read_bounded, write_bytes
from schemas.errors import StoreError
from schemas.layout import StorePaths
from schemas.seals import is_sealed, parquet_seal, sealed_content

_PARQUET_END_BYTES = 8  # the length of the footer, and the magic number
_PIECE_BYTES = 1024 * 1024


class Kind(StrEnum):
    """Kind of a sealed file, which its seal states, so that one cannot pass for another."""

    RUN = "store run"
    INVENTORY = "store inventory"
    MANIFEST = "store manifest"
    COMMITS = "store commits"
    INDEX = "store index"
    FAILURES = "store failures"
    CRASHES = "store crashes"
    LEASE = "store lease"
    TIMES = "store times of a run"


def encode_json(content: Mapping[str, Any], kind: Kind) -> bytes:
    """A JSON object with its seal."""
    return _laid_out(sealed_content(content, kind))


def decode_json(data: bytes, kind: Kind) -> dict[str, Any]:
    """Inverse of `encode_json`, seal included; raises ValueError if any bit has changed."""
    if not is_sound(data, kind):
        raise ValueError("its seal does not hold")
    document: dict[str, Any] = json.loads(data)
    return document


def is_sound(data: bytes, kind: Kind) -> bool:
    """Whether a sealed file, JSON or Parquet, is bit for bit as it was written."""
    if not is_sealed(data, kind):
        return False
    # The seal of a JSON object does not cover its layout, so the text itself is compared with what we would write.
    return data[:1] != b"{" or _laid_out(json.loads(data)) == data


def _laid_out(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def seal_table(path: Path, kind: Kind) -> None:
    """Add a seal to a new Parquet file, which may be larger than memory."""
    with path.open("rb+") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        footer = _footer(file)
        file.seek(-len(footer), os.SEEK_END)
        file.write(parquet_seal(kind, sha256) + footer)


def is_sound_table(file: BinaryIO, kind: Kind) -> bool:
    """Like `is_sound`, for an open Parquet file that may be larger than memory."""
    try:
        footer = _footer(file)
    except OSError:  # it is shorter than its end says
        return False
    seal_bytes = len(parquet_seal(kind, "0" * 64))
    left = file.seek(0, os.SEEK_END) - len(footer) - seal_bytes
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (data := file.read(min(left, _PIECE_BYTES))):
        digest.update(data)
        left -= len(data)
    seal = file.read(seal_bytes)
    digest.update(footer)
    return left == 0 and seal == parquet_seal(kind, digest.hexdigest())


def _footer(file: BinaryIO) -> bytes:
    """The end of a Parquet file from its footer on; raises OSError if that does not lie in the file."""
    file.seek(-_PARQUET_END_BYTES, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(-_PARQUET_END_BYTES - length, os.SEEK_END)
    return file.read()


def read_whole(path: Path) -> bytes:
    """Content of a plain file; raises StoreError for anything else, which may be endless, and FileNotFoundError."""
    size = path.stat().st_size
    require_plain_file(path)
    return read_bounded(path, size)


def require_plain_file(path: Path) -> None:
    """Raise StoreError for what is no file, and may be endless."""
    if path.exists() and not path.is_file():
        raise StoreError(f"expected a plain file at {path}; got something else. The store has been altered by hand")


def keep_copy(paths: StorePaths, path: Path) -> None:
    """Make the copy of run.json or inventory.parquet equal to it."""
    data, copy = read_whole(path), paths.copy(path)
    if _content(copy) != data:
        _write_copy(copy, data)


def _write_copy(copy: Path, data: bytes) -> None:
    copy.parent.mkdir(exist_ok=True)
    write_bytes(copy, data)


def with_copies(paths: StorePaths) -> tuple[tuple[Path, Kind], ...]:
    """The files that have a copy, and their kinds."""
    return ((paths.run, Kind.RUN), (paths.inventory, Kind.INVENTORY))


def mend(paths: StorePaths) -> list[str]:
    """Restore run.json and inventory.parquet from their copies if damaged or missing, and the copies from them.

    Returns a sentence for each file that it restored. Leaves stores without seals alone.
    """
    restored = []
    for path, kind in with_copies(paths):
        data, copy = _content(path), _content(paths.copy(path))
        if data is not None and is_sound(data, kind):
            if copy != data:
                _write_copy(paths.copy(path), data)
        elif copy is not None and is_sound(copy, kind):
            write_bytes(path, copy)
            restored.append(f"{path} was {'missing' if data is None else 'damaged'}, and was restored from its copy")
    return restored


def _content(path: Path) -> bytes | None:
    try:
        return read_whole(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
