"""Labels of videos, from columns of a store: numbers as they are, text as numbers of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.errors import UsageError
from schemas.table_columns import shown_names
from schemas.wording import counted


@dataclass(frozen=True, eq=False)
class Labels:
    """A column as labels. values (V,): int64 for text and whole numbers, float32 for others, bool; 0 where missing.

    missing (V,): whether a video has none. classes: of text, by number; empty for numbers.
    """

    name: str
    values: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_]
    classes: tuple[str, ...] = ()

    def require(self, videos: npt.NDArray[np.int64], video_ids: Sequence[str]) -> None:
        """Raise UsageError if one of these videos has no label."""
        lacking = videos[self.missing[videos]]
        if len(lacking):
            raise UsageError(
                f"expected a value of {shown_names([self.name])} for each of {counted(len(videos), 'video')}; "
                f"{len(lacking)} have none, like {shown_names([video_ids[lacking[0]]])}. Give the ids of the others as "
                "`videos`"
            )


def labels_of(videos: pd.DataFrame, names: Sequence[str], classes: Mapping[str, Sequence[str]]) -> dict[str, Labels]:
    """Labels by name, from a table with one row a video. classes: of columns of text, in the order of their numbers.

    By default the classes are the values of all videos of the table, sorted. Raises UsageError for a column that there
    is not, and for a value that is no class.
    """
    if unknown := [name for name in (*names, *classes) if name not in videos.columns]:
        there = shown_names(map(str, videos.columns))
        raise UsageError(
            f"expected labels among {there}; got {shown_names(unknown)}. Use names of `store.videos`;"
            " to an extracted store, `msnet resume STORE --videos TABLE --rescan` adds the columns of a table"
        )
    return {name: _labels(name, videos[name], classes.get(name)) for name in names}


def _labels(name: str, column: pd.Series[Any], given: Sequence[str] | None) -> Labels:
    missing = column.isna().to_numpy(np.bool_)
    if pd.api.types.is_bool_dtype(column.dtype):
        return Labels(name, column.fillna(False).to_numpy(np.bool_), missing)
    if pd.api.types.is_integer_dtype(column.dtype):
        return Labels(name, column.fillna(0).to_numpy(np.int64), missing)
    if pd.api.types.is_float_dtype(column.dtype):
        return Labels(name, column.fillna(0).to_numpy(np.float32), missing)
    classes = tuple(sorted(column.dropna().unique())) if given is None else tuple(given)
    numbers = pd.Index(classes).get_indexer(pd.Index(column.astype(object)))
    if strange := sorted(set(column[(numbers < 0) & ~missing])):
        raise UsageError(
            f"expected values of {shown_names([name])} among {shown_names(classes)}; got {shown_names(strange)}. "
            "Add them to `classes`"
        )
    return Labels(name, np.where(missing, 0, numbers).astype(np.int64), missing, classes)
