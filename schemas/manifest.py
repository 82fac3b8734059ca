"""The manifest, one row per clip, and the other tables: columns, types and invariants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from schemas.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_COLUMNS: Mapping[str, str] = {
    # which clip
    "video_id": "str",
    "clip_number": "int64",  # number of the clip within its item
    # where it is stored: rows [start, stop) of the shard's datasets
    "shard": "str",
    "file": "str",  # relative to the store
    "clip_row": "int64",
    "frame_start": "int64",
    "frame_stop": "int64",
    "pair_start": "int64",
    "pair_stop": "int64",
    # when it is, on the container's clock
    "start_seconds": "float64",  # time of its first frame
    "end_seconds": "float64",  # time of its last valid frame
    "num_valid_frames": "int64",  # frames before the repetition of the last one
    # the video
    "fps": "float64",
    "video_start_seconds": "float64",
    "video_end_seconds": "float64",
    "width": "int64",  # as displayed, after rotation
    "height": "int64",
    "pixel_aspect": "float64",  # width over height of a pixel as displayed, after rotation
    "codec": "str",
    "container": "str",
    # from the network's input to the original: original = offset + scale * input, in pixels
    "scale_x": "float64",
    "scale_y": "float64",
    "offset_x": "float64",
    "offset_y": "float64",
    # how far it can be trusted
    "rate_capped": "bool",
    "times_made_up": "bool",
    "decoder": "str",
    "decoder_version": "str",
    "fallback_reason": "str",
    "flags": "str",  # joined by commas
    "bad_packets": "int64",
    "bad_frames": "int64",
}

# Format version 1: columns that it lacks, with their values, and columns by their earlier names.
_LATER_COLUMNS = {"pixel_aspect": math.nan}
_EARLIER_NAMES = {"clip": "clip_number"}

FAILURE_COLUMNS: Mapping[str, str] = {
    "video_id": "str",
    "failure": "str",
    "message": "str",
    "attempts": "int64",
    "seconds": "float64",
    "shard": "str",
}

INVENTORY_COLUMNS: Mapping[str, str] = {
    "video_id": "str",
    "path": "str",  # relative to the dataset root, or absolute
    "bytes": "int64",
    "mtime_ns": "int64",
    "fps": "float64",  # given for folders of images, else NaN
    "duration_seconds": "float64",  # NaN where it is not known
    "start_seconds": "float64",  # NaN: from the start
    "end_seconds": "float64",  # NaN: to the end
    "num_frames": "int64",  # 0 where it is not known
    "estimated_bytes": "int64",
    "shard": "str",
}


def manifest_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """DataFrame of manifest rows with exactly the manifest's columns and types."""
    return _typed(rows, MANIFEST_COLUMNS)


def manifest_from_columns(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """DataFrame of whole columns with exactly the manifest's columns and types."""
    return _frame(columns, MANIFEST_COLUMNS)


def typed_columns(frame: pd.DataFrame, columns: Mapping[str, str], what: str) -> pd.DataFrame:
    """`frame` with exactly these columns, in this order and of these types.

    Fills in columns that stores of an earlier version do not have, and renames those that had another name. Raises
    StoreError about `what` if a column is missing or has values of another type.
    """
    renamed = {old: new for old, new in _EARLIER_NAMES.items() if new in columns and new not in frame.columns}
    frame = frame.rename(columns=renamed)
    later = _LATER_COLUMNS.keys() & columns.keys() - set(frame.columns)
    frame = frame.assign(**{name: _LATER_COLUMNS[name] for name in later})
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise StoreError(f"{what} lacks the columns {', '.join(missing)}: it was written by something else")
    try:
        return frame[list(columns)].astype(dict(columns)).reset_index(drop=True)
    except (ValueError, TypeError) as error:
        raise StoreError(f"a column of {what} has values of another type ({error})") from error


def failures_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """DataFrame of failure rows with exactly the columns and types of failures.parquet."""
    return _typed(rows, FAILURE_COLUMNS)


def empty_manifest() -> pd.DataFrame:
    """A manifest without rows."""
    return manifest_frame([])


def validate_manifest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the manifest's columns in order; raises StoreError for the first violated invariant."""
    missing = [name for name in MANIFEST_COLUMNS if name not in frame.columns]
    if missing:
        raise StoreError(f"the manifest lacks the columns {', '.join(missing)}: it was written by something else")
    frame = frame[list(MANIFEST_COLUMNS)]
    if frame.duplicated(["video_id", "clip_number"]).any():
        twice = frame.loc[frame.duplicated(["video_id", "clip_number"]), "video_id"].iloc[0]
        raise StoreError(f"the manifest holds a clip of {twice!r} twice")
    ordered = (frame["frame_start"] < frame["frame_stop"]) & (frame["pair_start"] <= frame["pair_stop"])
    if not ordered.all():
        raise StoreError(f"the manifest's row ranges of {frame.loc[~ordered, 'video_id'].iloc[0]!r} are not ascending")
    return frame


def _typed(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    rows = list(rows)
    return _frame({name: [row[name] for row in rows] for name in columns}, columns)


def _frame(values: Mapping[str, Sequence[Any]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd  # here, as what only wants the columns' names need not wait for it

    return pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in dtypes.items()})
