"""Columns of the user's own table (labels, splits, anything), and their names in a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, replace

import pandas as pd

from schemas.manifest import INVENTORY_COLUMNS, MANIFEST_COLUMNS

TABLE_PREFIX = "table_"
"""Prefix for a column whose name the manifest or the inventory already uses."""

MOST_COLUMNS = 1000
"""Most columns that a table may have: each takes a value for every clip."""

COLUMN_TYPES = ("Int64", "float64", "boolean", "str")
"""pandas dtypes of such columns. Values can be missing in each: NA, or NaN in float64 and str."""

_OURS = frozenset({*MANIFEST_COLUMNS, *INVENTORY_COLUMNS})
_SHOWN = 10
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, eq=False)
class TableColumns:
    """A table's columns other than those that say where its videos are.

    values: one row per video, indexed by video_id; columns by their manifest names, of `COLUMN_TYPES`. names: manifest
    name by name in the table. left_out: (name in the table, reason) of columns that a manifest cannot hold.
    """

    values: pd.DataFrame = field(default_factory=lambda: no_columns(()))
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    def of_videos(self, video_ids: Sequence[str]) -> TableColumns:
        """The same rows, for these videos."""
        has_some = len(self.values.columns) > 0
        values = self.values.set_axis(_index(video_ids), axis=0) if has_some else no_columns(video_ids)
        return replace(self, values=values)

    def renamed(self, video_ids: Mapping[str, str]) -> TableColumns:
        """The same rows, with videos renamed by the mapping."""
        return self.of_videos([video_ids.get(name, name) for name in self.values.index])

    def summary(self) -> str:
        """'columns carried into the manifest: label, codec (as table_codec)', or '' if there is nothing to say."""
        called = {name: f"as {shown_names([new])}" for name, new in self.names.items() if new != name}
        carried, left_out = shown_names(self.names, called), [name for name, _ in self.left_out]
        parts = {
            "columns carried into the manifest": carried,
            "columns left out": shown_names(left_out, dict(self.left_out)),
        }
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)


def no_columns(video_ids: Sequence[str]) -> pd.DataFrame:
    """The columns of a table that only says where its videos are."""
    return pd.DataFrame(index=_index(video_ids))


def manifest_names(names: Iterable[str], ours: AbstractSet[str] = _OURS) -> dict[str, str]:
    """New names of columns that join a table with the columns `ours`: their own, or prefixed with `TABLE_PREFIX`.

    Names stay distinct: the prefix is repeated while the result is another column's name.
    """
    names = list(names)
    taken = {*ours, *names}
    called = {}
    for name in names:
        new = name
        while new in (ours if new == name else taken):
            new = TABLE_PREFIX + new
        taken.add(new)
        called[name] = new
    return called


def shown_names(names: Iterable[str], notes: Mapping[str, str] | None = None) -> str:
    """The first names, for a sentence: 'label (its note), split and 5 more'.

    Names with odd characters are quoted and escaped; long ones are cut.
    """
    names = list(names)
    shown = [f"{_shown(name)} ({notes[name]})" if notes and name in notes else _shown(name) for name in names[:_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shown(name: str) -> str:
    cut = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    return cut if cut.isprintable() and cut.strip(" ,") == cut != "" else repr(cut)


def _index(video_ids: Sequence[str]) -> pd.Index:
    return pd.Index(list(video_ids), dtype="str", name="video_id")
