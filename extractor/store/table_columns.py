"""Columns of the user's table in a store: they lie in the inventory, one value a video, and are joined to the clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.manifest import INVENTORY_COLUMNS, typed_columns
from schemas.table_columns import COLUMN_TYPES, manifest_names, shown_names
from schemas.wording import counted

__all__ = ["ColumnUpdate", "columns_of", "joined", "typed_inventory", "updated"]

_READ_AS = {**{name: name for name in COLUMN_TYPES}, "int64": "Int64", "bool": "boolean"}
_EXACT = 2**53  # from which on float64 does not tell whole numbers apart


def typed_inventory(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the inventory's columns, and behind them those of a table; others than these are passed over.

    Raises StoreError where it lacks one.
    """
    ours = typed_columns(frame, INVENTORY_COLUMNS, "the inventory")
    kinds = frame.dtypes[~frame.columns.duplicated() & ~frame.columns.isin(list(INVENTORY_COLUMNS))]
    types = {str(name): _READ_AS[str(dtype)] for name, dtype in kinds.items() if str(dtype) in _READ_AS}
    more = frame[list(types)].astype(types).reset_index(drop=True)
    return pd.concat([ours, more], axis=1) if types else ours


def columns_of(inventory: pd.DataFrame) -> pd.DataFrame:
    """Columns of the user's table, of a typed inventory: a row a video, indexed by `video_id`."""
    names = [name for name in inventory.columns if name not in INVENTORY_COLUMNS]
    last = inventory.drop_duplicates("video_id", keep="last")
    return last.set_index("video_id")[names]


def joined(frame: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    """`frame`, with rows of videos in a column `video_id`, and behind its columns those that are held by video.

    Rows of a video that `columns` does not have get missing values.
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
    """Columns of a store after its table was read again, and how they differ, for the videos that the store has.

    values: by video. changed: names, and what has changed. gone: names that the table has no longer.
    """

    values: pd.DataFrame
    new: tuple[str, ...]
    changed: dict[str, str]
    gone: tuple[str, ...]

    def summary(self) -> str:
        """What the table brings: 'new: split; changed: label (3 videos)', or '' where that is nothing."""
        parts = {"new": shown_names(self.new), "changed": shown_names(self.changed, self.changed)}
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)


def updated(columns: pd.DataFrame, table: pd.DataFrame) -> ColumnUpdate:
    """`columns` of a store with those of a table: what the table says counts, what it does not say stays.

    That is so for videos and for columns. Where values that stay are of another type than the table's, both become
    numbers with fractions, or text.
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
    """`theirs`, and `mine` where that stays, under one type: that of the values, where only one of both has any."""
    mine = mine.where(stays)
    has_mine, has_theirs = mine.notna().any(), theirs.notna().any()
    if not has_theirs:
        return mine
    if has_mine and mine.dtype != theirs.dtype:
        as_one = _as_number if _is_exact(mine) and _is_exact(theirs) else _as_text
        mine, theirs = as_one(mine), as_one(theirs)
    return theirs.mask(stays, mine) if has_mine else theirs


def _is_exact(values: pd.Series[Any]) -> bool:
    """Whether they are numbers that float64 holds exactly."""
    return values.dtype == "float64" or (values.dtype == "Int64" and bool(values.between(-_EXACT, _EXACT).all()))


def _as_number(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("float64")


def _as_text(values: pd.Series[Any]) -> pd.Series[Any]:
    text = values.astype("str")
    return text.str.lower() if values.dtype == "boolean" else text


def _difference(before: pd.Series[Any], now: pd.Series[Any]) -> str:
    """'3 videos' have other values, or 'str, was Int64'; '' where both are the same."""
    if before.dtype != now.dtype:
        return f"{now.dtype}, was {before.dtype}"
    same = (before == now).fillna(False) | (before.isna() & now.isna())
    return "" if same.all() else counted(int((~same).sum()), "video")


def _taken(column: pd.Series[Any], rows: npt.NDArray[np.intp]) -> Any:
    """Values of rows, missing where a row is -1."""
    return pd.api.extensions.take(column.array, rows, allow_fill=True)
