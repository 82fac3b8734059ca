"""Types of the user's own columns in a table: a csv file states none, a parquet file states more than we keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 64 * 1024  # cells held as Python strings before they are packed
_INTEGER = r"^(0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_EXACT = 2**53  # from here on float64 cannot tell consecutive integers apart
_AS_TEXT = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_decimal, pa.types.is_null),
)
_PANDAS = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # nullable types


class TextCells:
    """Collects the cells of some columns, row by row, in little memory."""

    def __init__(self, names: Sequence[str]) -> None:
        self._waiting: dict[str, list[str]] = {name: [] for name in names}
        self._packed: dict[str, list[pa.Array]] = {name: [] for name in names}

    def add(self, cells: Mapping[str, str]) -> None:
        """Add the next row."""
        for name, waiting in self._waiting.items():
            waiting.append(cells[name])
            if len(waiting) == _ROWS:
                self._pack(name)

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """The collected columns, as text."""
        for name in self._waiting:
            self._pack(name)
        return {name: pa.chunked_array(chunks, pa.large_string()) for name, chunks in self._packed.items()}

    def _pack(self, name: str) -> None:
        self._packed[name].append(pa.array(self._waiting[name], pa.large_string()))
        self._waiting[name].clear()


def typed_text(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of a csv file, as the first type that fits all of them: integers, booleans, finite numbers, text.

    An empty cell is a missing value and does not affect the type. A number that would not be written back the same
    way stays text: an integer with leading zeros or a plus sign, or one that its type cannot hold exactly.
    """
    cells = pc.utf8_trim_whitespace(cells)
    cells = pc.if_else(pc.equal(cells, ""), None, cells)
    if cells.null_count == len(cells):
        return cells
    whole = pc.match_substring_regex(cells, _INTEGER)
    if _all(whole):
        numbers = _cast(cells, pa.int64())
        return cells if numbers is None else numbers
    lower = pc.utf8_lower(cells)
    if _all(pc.is_in(lower, pa.array(["true", "false", None]))):
        return pc.equal(lower, "true")
    if _all(pc.match_substring_regex(cells, _NUMBER)):
        numbers = pc.cast(cells, pa.float64())
        inexact = pc.and_(whole, pc.greater_equal(pc.abs(numbers), _EXACT))
        return numbers if _all(pc.is_finite(numbers)) and not pc.any(inexact).as_py() else cells
    return cells


def typed_values(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A parquet file's column as int64, float64, bool or text; None where its values are not scalars of these kinds.

    Dates, times and decimals become text, as do unsigned integers that int64 cannot hold.
    """
    if pa.types.is_dictionary(values.type):
        return typed_values(values.cast(values.type.value_type))
    is_a = {kind: getattr(pa.types, f"is_{kind}")(values.type) for kind in ("boolean", "integer", "floating")}
    if is_a["boolean"]:
        return values
    if is_a["integer"]:
        numbers = _cast(values, pa.int64())
        return _cast(values, pa.large_string()) if numbers is None else numbers
    if is_a["floating"]:
        return _cast(values, pa.float64())
    return _cast(values, pa.large_string()) if any(is_one(values.type) for is_one in _AS_TEXT) else None


def pandas_frame(columns: Mapping[str, pa.ChunkedArray]) -> pd.DataFrame:
    """Typed columns as a pandas frame of nullable types: a missing value does not change the type."""
    frame: pd.DataFrame = pa.table(dict(columns)).to_pandas(types_mapper=_PANDAS.get)
    return frame


def _all(found: pa.ChunkedArray) -> bool:
    """Whether it holds for every non-missing cell."""
    return bool(pc.all(found).as_py())


def _cast(values: pa.ChunkedArray, to: Any) -> pa.ChunkedArray | None:
    try:
        return pc.cast(values, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
