"""The folder of a demonstration, which records what its videos depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extractor.store.disk.atomic import publish, read_bounded
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from schemas.errors import ConfigurationError, StoreError

_RECORD = "demo.json"
_MAX_BYTES = 64 * 1024


def begin_demo(out: Path, videos: Mapping[str, Any]) -> None:
    """Make `out` the folder of a demonstration, or check that it is one with the same videos.

    videos: all that the videos depend on (seed, count), by name. Recorded before the first video is written: otherwise
    files of two seeds could be extracted together.

    Raises ConfigurationError, naming what differs, if `out` holds a demonstration of other videos; StorageError if it
    holds other things or cannot be made.
    """
    record = out / _RECORD
    if not record.exists():
        refuse_other_folder(out, lambda name: False, f"a demonstration with its {_RECORD}")
    probe_storage(out)
    data = json.dumps(videos, indent=2).encode() + b"\n"
    if publish(record, data):
        return
    there, asked = _read(record), json.loads(data)
    differing = [name for name in asked if there.get(name) != asked[name]]
    if differing:
        fields = "; ".join(f"{name}: expected {there.get(name)!r}, got {asked[name]!r}" for name in differing)
        raise ConfigurationError(
            f"{out} holds a demonstration of other videos ({fields}). Use its own options, or another --out"
        )


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_bounded(record, _MAX_BYTES))
        if not isinstance(content, dict):
            raise ValueError("no dictionary")
    except (OSError, ValueError, RecursionError, StoreError) as error:
        raise ConfigurationError(
            f"{record} is not what a demonstration wrote ({str(error)[:80]}): choose another --out"
        ) from error
    return content
