"""Columns of the user's own table (labels, splits, anything), and how they are called in a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, replace

import pandas as pd

from schemas.manifest import INVENTORY_COLUMNS, MANIFEST_COLUMNS

__all__ = [
    "COLUMN_TYPES",
    "MOST_COLUMNS",
    "TABLE_PREFIX",
    "TableColumns",
    "manifest_names",
    "no_columns",
    "shown_names",
]

TABLE_PREFIX = "table_"
"""Stands before the name of a column that is called like one of the manifest's or the inventory's own."""

MOST_COLUMNS = 1000
"""Columns that a table may bring: each has a value for every clip."""

COLUMN_TYPES = ("Int64", "float64", "boolean", "str")
"""Types of such columns in pandas. A value can be missing in each: NA, or NaN in numbers with fractions and in text."""

_OURS = frozenset({*MANIFEST_COLUMNS, *INVENTORY_COLUMNS})
_SHOWN = 10
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, eq=False)
class TableColumns:
    """What a table says beyond where its videos are.

    values: one row a video, indexed by video_id, columns under the manifest's names and of `COLUMN_TYPES`. names: by
    the names that the table uses. left_out: (name in the table, why) of columns that no manifest can have.
    """

    values: pd.DataFrame = field(default_factory=lambda: no_columns(()))
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    def of_videos(self, video_ids: Sequence[str]) -> TableColumns:
        """The same rows, of these videos."""
        has_some = len(self.values.columns) > 0
        values = self.values.set_axis(_index(video_ids), axis=0) if has_some else no_columns(video_ids)
        return replace(self, values=values)

    def renamed(self, video_ids: Mapping[str, str]) -> TableColumns:
        """The same rows, of the videos that the mapping calls otherwise."""
        return self.of_videos([video_ids.get(name, name) for name in self.values.index])

    def summary(self) -> str:
        """'columns carried into the manifest: label, codec (as table_codec)', or '' where there is nothing to say."""
        called = {name: f"as {shown_names([new])}" for name, new in self.names.items() if new != name}
        carried, left_out = shown_names(self.names, called), [name for name, _ in self.left_out]
        parts = {
            "columns carried into the manifest": carried,
            "columns left out": shown_names(left_out, dict(self.left_out)),
        }
        return "; ".join(f"{what}: {names}" for what, names in parts.items() if names)


def no_columns(video_ids: Sequence[str]) -> pd.DataFrame:
    """The columns of a table that says nothing but where its videos are."""
    return pd.DataFrame(index=_index(video_ids))


def manifest_names(names: Iterable[str], ours: AbstractSet[str] = _OURS) -> dict[str, str]:
    """What columns are called in a table that has columns `ours` already: their own names, or with `TABLE_PREFIX`.

    No two are called alike: the prefix is repeated where the name with it is another column's.
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
    """The first of some names as a sentence can hold them: 'label (as its note says), split and 5 more'.

    Those with odd characters are in quotes and escaped, long ones are cut.
    """
    names = list(names)
    told = [f"{_shown(name)} ({notes[name]})" if notes and name in notes else _shown(name) for name in names[:_SHOWN]]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def _shown(name: str) -> str:
    cut = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    return cut if cut.isprintable() and cut.strip(" ,") == cut != "" else repr(cut)


def _index(video_ids: Sequence[str]) -> pd.Index:
    return pd.Index(list(video_ids), dtype="str", name="video_id")
