"""Manifest rows of one item as compact JSON, and of a shard's items as one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.errors import StoreError
from schemas.manifest import MANIFEST_COLUMNS, manifest_from_columns

if TYPE_CHECKING:
    import pandas as pd

_FILLED_IN = ("video_id", "shard", "file", "clip_row")
_GIVEN = tuple(name for name in MANIFEST_COLUMNS if name not in _FILLED_IN)
_RANGES = ("frame_start", "frame_stop", "pair_start", "pair_stop")
_LISTED = ("clip_number", *_RANGES)
_PYTHON: dict[str, type] = {"str": str, "int64": int, "float64": float, "bool": bool}


def to_columns(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of one item's clips as {"constant": {column: value}, "listed": {column: values}}.

    Raises StoreError if a column is missing or unknown, or if the row ranges do not cover the item's rows in order.
    """
    if not clips:
        raise StoreError("expected at least one clip of a finished item; got none. Stage it as a failure")
    for row in clips:
        if row.keys() - set(_FILLED_IN) != set(_GIVEN):
            missing, unknown = set(_GIVEN) - row.keys(), row.keys() - set(MANIFEST_COLUMNS)
            raise StoreError(
                f"expected the manifest's columns; {sorted(missing)} are missing, {sorted(unknown)} unknown"
            )
    columns = {name: [_PYTHON[MANIFEST_COLUMNS[name]](row[name]) for row in clips] for name in _GIVEN}
    _require_cover(columns)
    constant = {name: values[0] for name, values in columns.items() if name not in _LISTED and _all_equal(values)}
    return {"constant": constant, "listed": {name: columns[name] for name in _GIVEN if name not in constant}}


def _all_equal(values: list[Any]) -> bool:
    return all(value == values[0] for value in values)


def _require_cover(columns: Mapping[str, list[Any]]) -> None:
    """Raise StoreError unless the clips are in order and their rows begin at 0 and have no gaps.

    The one gap allowed is the pair between two neighbouring windows.
    """
    if columns["clip_number"] != sorted(set(columns["clip_number"])):
        raise StoreError(f"expected clips in ascending order, each once; got {columns['clip_number']}")
    for level, least, gap in (("frame", 1, 0), ("pair", 0, 1)):
        starts, stops = columns[f"{level}_start"], columns[f"{level}_stop"]
        ordered = starts == sorted(starts) and stops == sorted(stops) and starts[0] == 0
        if (
            not ordered
            or any(start > stop + gap for start, stop in zip(starts[1:], stops[:-1], strict=True))
            or any(stop - start < least for start, stop in zip(starts, stops, strict=True))
        ):
            raise StoreError(f"expected {level} ranges that cover all rows from 0 on; got {starts} to {stops}")


def from_columns(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Inverse of `to_columns`: every column as a list; raises ValueError or KeyError for anything else."""
    listed, constant = dict(document["listed"]), dict(document["constant"])
    count = len(listed["clip_number"])
    if not count or any(not isinstance(values, list) or len(values) != count for values in listed.values()):
        raise ValueError("expected columns of one length")
    given = {name: listed[name] if name in listed else [constant[name]] for name in _GIVEN}
    if any(set(map(type, values)) != {_PYTHON[MANIFEST_COLUMNS[name]]} for name, values in given.items()):
        raise ValueError("expected values of the manifest's types")
    columns = {name: values if name in listed else values * count for name, values in given.items()}
    try:
        _require_cover(columns)
    except StoreError as error:
        raise ValueError(str(error)) from error
    return columns


def levels_of(columns: Mapping[str, list[Any]]) -> dict[str, int]:
    """Number of rows of all clips together, by level. `columns`: as `from_columns` returns them."""
    return {
        "clips": len(columns["clip_number"]),
        "frames": columns["frame_stop"][-1],
        "pairs": columns["pair_stop"][-1],
    }


def shard_table(items: Iterable[tuple[str, Mapping[str, list[Any]]]], shard: str, file: str) -> pd.DataFrame:
    """Manifest of a shard from (video_id, columns) of its items in order, row ranges counted from the shard's start."""
    parts: dict[str, list[Any]] = {name: [] for name in MANIFEST_COLUMNS}
    offsets = {"frame": 0, "pair": 0}
    for video_id, columns in items:
        count = len(columns["clip_number"])
        for name in _GIVEN:
            values = columns[name]
            if name in _RANGES:
                offset = offsets[name.split("_")[0]]
                values = (np.asarray(values, dtype=np.int64) + offset).tolist()
            parts[name] += values
        parts["video_id"] += [video_id] * count
        offsets = {level: offset + columns[f"{level}_stop"][-1] for level, offset in offsets.items()}
    count = len(parts["clip_number"])
    parts |= {"shard": [shard] * count, "file": [file] * count, "clip_row": list(range(count))}
    return manifest_from_columns(parts)
