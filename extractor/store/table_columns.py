"""Columns of the user's table: stored in the inventory, one value per video, and joined to the clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.manifest import INVENTORY_COLUMNS, typed_columns
from schemas.table_columns import COLUMN_TYPES, manifest_names, shown_names
from schemas.wording import counted

_READ_AS = {**{name: name for name in COLUMN_TYPES}, "int64": "Int64", "bool": "boolean"}
_EXACT = 2**53  # float64 does not hold every whole number beyond


def typed_inventory(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the inventory's columns, followed by table columns of known dtypes; drops all others.

    Raises StoreError if a column of the inventory is missing.
    """
    ours = typed_columns(frame, INVENTORY_COLUMNS, "the inventory")
    kinds = frame.dtypes[~frame.columns.duplicated() & ~frame.columns.isin(list(INVENTORY_COLUMNS))]
    types = {str(name): _READ_AS[str(dtype)] for name, dtype in kinds.items() if str(dtype) in _READ_AS}
    more = frame[list(types)].astype(types).reset_index(drop=True)
    return pd.concat([ours, more], axis=1) if types else ours


def columns_of(inventory: pd.DataFrame) -> pd.DataFrame:
    """Columns of the user's table from a typed inventory: one row per video, indexed by `video_id`."""
    names = [name for name in inventory.columns if name not in INVENTORY_COLUMNS]
    last = inventory.drop_duplicates("video_id", keep="last")
    return last.set_index("video_id")[names]


def joined(frame: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """`frame`, which has a column `video_id`, followed by `columns`, which are indexed by video.

    Rows of videos that `columns` lacks get missing values.
    """
    if not len(columns.columns):
        return frame
    codes, video_ids = pd.factorize(frame["video_id"])
    rows = columns.index.get_indexer(pd.Index(video_ids))[codes]
    names = manifest_names(columns.columns, set(frame.columns))
    more = {names[name]: _taken(columns[name], rows) for name in columns.columns}
    return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis=1)


@dataclass(frozen=True, eq=False)
class ColumnUpdate:
    """Columns of a store after its table was read again, and how they differ for the videos of the store.

    values: by video. changed: what has changed, by name. gone: names that the table no longer has.
    """

    values: pd.DataFrame
    new: tuple[str, ...]
    changed: dict[str, str]
    gone: tuple[str, ...]

    def summary(self) -> str:
        """What the table brings: 'new: split; changed: label (3 videos)', or '' if nothing has changed."""
        parts = {"new": shown_names(self.new), "changed": shown_names(self.changed, self.changed)}
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)


def updated(columns: pd.DataFrame, table: pd.DataFrame) -> ColumnUpdate:
    """`columns` of a store updated from a table: its values replace the store's; what it lacks stays.

    This holds for videos and for columns. If kept values are of another type than the table's, both become float64,
    or text.
    """
    video_ids = columns.index.append(table.index[columns.index.get_indexer(table.index) < 0])
    old_rows, new_rows = (index.get_indexer(video_ids) for index in (columns.index, table.index))
    stays = new_rows < 0
    new = [name for name in table.columns if name not in columns.columns]
    found = {}
    for name in [*columns.columns, *new]:
        if name in columns.columns and name in table.columns:
            mine, theirs = pd.Series(_taken(columns[name], old_rows)), pd.Series(_taken(table[name], new_rows))
            found[name] = _together(mine, theirs, stays).array
        else:
            found[name] = _taken(table[name], new_rows) if name in new else _taken(columns[name], old_rows)
    values = pd.DataFrame(found, index=video_ids)
    differences = {name: _difference(columns[name], values[name].iloc[: len(columns)]) for name in columns.columns}
    changed = {name: what for name, what in differences.items() if what}
    gone = tuple(name for name in columns.columns if name not in table.columns)
    return ColumnUpdate(values, tuple(new), changed, gone)


def _together(mine: pd.Series[Any], theirs: pd.Series[Any], stays: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """`theirs`, but `mine` where `stays`, under one dtype: that of the side with values, if only one has any."""
    mine = mine.where(stays)
    has_mine, has_theirs = mine.notna().any(), theirs.notna().any()
    if not has_theirs:
        return mine
    if has_mine and mine.dtype != theirs.dtype:
        if _is_exact(mine) and _is_exact(theirs):
            mine, theirs = mine.astype("float64"), theirs.astype("float64")
        else:
            mine, theirs = _as_text(mine), _as_text(theirs)
    return theirs.mask(stays, mine) if has_mine else theirs


def _is_exact(values: pd.Series[Any]) -> bool:
    """Whether float64 holds these values exactly."""
    return values.dtype == "float64" or (values.dtype == "Int64" and bool(values.between(-_EXACT, _EXACT).all()))


def _as_text(values: pd.Series[Any]) -> pd.Series[Any]:
    text = values.astype("str")
    return text.str.lower() if values.dtype == "boolean" else text


def _difference(before: pd.Series[Any], now: pd.Series[Any]) -> str:
    """'3 videos' whose values differ, or 'str, was Int64'; '' if both are the same."""
    if before.dtype != now.dtype:
        return f"{now.dtype}, was {before.dtype}"
    same = (before == now).fillna(False) | (before.isna() & now.isna())
    return "" if same.all() else counted(int((~same).sum()), "video")


def _taken(column: pd.Series[Any], rows: npt.NDArray[np.intp]) -> Any:
    """Values at `rows`; missing for row -1."""
    return pd.api.extensions.take(column.array, rows, allow_fill=True)
