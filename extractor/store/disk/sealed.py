"""Sealed files of a store (schemas.seals), in which any changed bit is detected, and copies of two of them.

run.json and inventory.parquet hold what nothing else in a store does. Each has a copy in copies/, which is read if the
original is damaged or gone. Other sealed files are rebuilt from the shards and their records, or belong to a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from extractor.store.disk.atomic import read_bounded, write_bytes
from schemas.errors import StoreError
from schemas.layout import StorePaths
from schemas.seals import is_sealed, sealed_content


class Kind(StrEnum):
    """Kind of a sealed file, which its seal states, so that one cannot pass for another."""

    RUN = "store run"
    INVENTORY = "store inventory"
    MANIFEST = "store manifest"
    FAILURES = "store failures"
    CRASHES = "store crashes"
    LEASE = "store lease"


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


def read_whole(path: Path) -> bytes:
    """Content of a plain file; raises StoreError for anything else, which may be endless, and FileNotFoundError."""
    size = path.stat().st_size
    if not path.is_file():
        raise StoreError(f"expected a plain file at {path}; got something else. The store has been altered by hand")
    return read_bounded(path, size)


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
