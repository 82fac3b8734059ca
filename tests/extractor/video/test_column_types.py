"""Types of columns: one rule over all cells of a csv file, and a parquet file's own."""

from __future__ import annotations

import datetime
import math
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from extractor.video import column_types
from extractor.video.column_types import TextCells, pandas_frame, typed_text, typed_values

TEXT = pa.string()


def typed(*cells: str) -> pd.Series[Any]:
    return pandas_frame({"x": typed_text(pa.chunked_array([list(cells)], TEXT))})["x"]


def stored(values: pa.Array) -> pd.Series[Any]:
    column = typed_values(pa.chunked_array([values]))
    assert column is not None
    return pandas_frame({"x": column})["x"]


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "-2", "0"], "Int64", [1, -2, 0]),
        (["1", "", " 3 "], "Int64", [1, None, 3]),
        (["9223372036854775807", "-9223372036854775808"], "Int64", [2**63 - 1, -(2**63)]),
        (["1", "2.5"], "float64", [1.0, 2.5]),
        ([".5", "5.", "1e3", "-1E-2"], "float64", [0.5, 5.0, 1000.0, -0.01]),
        (["9007199254740991", "0.5"], "float64", [2.0**53 - 1, 0.5]),
        (["true", "False", "TRUE", ""], "boolean", [True, False, True, None]),
        # text, since another type would lose something
        (["007", "NA"], "str", ["007", "NA"]),
        (["7", "007"], "str", ["7", "007"]),
        (["007", "1.5"], "str", ["007", "1.5"]),
        (["+1"], "str", ["+1"]),
        (["9223372036854775808"], "str", ["9223372036854775808"]),
        (["9007199254740993", "0.5"], "str", ["9007199254740993", "0.5"]),
        (["1", "NA"], "str", ["1", "NA"]),
        (["1", "nan"], "str", ["1", "nan"]),
        (["inf", "1e999"], "str", ["inf", "1e999"]),
        (["1e999"], "str", ["1e999"]),
        (["1_000", "1,5"], "str", ["1_000", "1,5"]),
        (["0x1f", "1."], "str", ["0x1f", "1."]),
        (["1\n2"], "str", ["1\n2"]),
        (["true", "1"], "str", ["true", "1"]),
        (["yes", "no"], "str", ["yes", "no"]),
        (["null", "None", ""], "str", ["null", "None", None]),
        (["", " "], "str", [None, None]),
        (["٣"], "str", ["٣"]),
    ],
)
def test_cells_of_text_have_the_type_that_all_of_them_have(cells: list[str], dtype: str, values: list[Any]) -> None:
    found = typed(*cells)
    assert found.dtype == dtype
    assert [None if pd.isna(value) else value for value in found] == values


@pytest.mark.parametrize("seed", range(40))
def test_nothing_of_the_cells_is_lost(seed: int) -> None:
    """What is read as a number is that number, in Python's own arithmetic; all else is the text unchanged."""
    state = random.Random(seed)
    whole = ("0", "7", "-7", str(2**53), str(2**53 + 1), str(2**63 - 1), str(-(2**63)), str(2**63))
    pools = (whole[:3], whole[:7], whole, ("1.5", "-0.25", "1e3", *whole[:4]), ("true", "False"), ("007", "x", *whole))
    cells = [state.choice((*state.choice(pools[: seed % 6 + 1]), "")) for _ in range(state.randint(1, 6))]
    found = typed(*cells)
    for cell, value in zip(cells, found, strict=True):
        if not cell:
            assert pd.isna(value)
        elif found.dtype == "str":
            assert value == cell
        elif found.dtype == "boolean":
            assert str(value).lower() == cell.lower()
        else:
            assert Decimal(repr(value) if isinstance(value, float) else int(value)) == Decimal(cell)


def test_cells_are_gathered_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_types, "_ROWS", 3)
    cells = TextCells(["a", "b"])
    for number in range(8):
        cells.add({"a": str(number), "b": "x" * number, "other": "?"})
    columns = cells.columns()
    assert columns["a"].to_pylist() == [str(number) for number in range(8)]
    assert columns["b"].to_pylist() == ["x" * number for number in range(8)]
    assert TextCells(["a"]).columns()["a"].to_pylist() == []


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        *((pa.array([1, None], kind()), "Int64", [1, None]) for kind in (pa.int8, pa.int32, pa.int64, pa.uint16)),
        (pa.array([1, 2], pa.uint64()), "Int64", [1, 2]),
        (pa.array([1, 2**64 - 1], pa.uint64()), "str", ["1", str(2**64 - 1)]),
        (pa.array([0.5, None, math.inf]), "float64", [0.5, None, math.inf]),
        (pa.array([np.float16(0.5)], pa.float16()), "float64", [0.5]),
        (pa.array([1.0, 2.0], pa.float32()), "float64", [1.0, 2.0]),
        (pa.array([True, None]), "boolean", [True, None]),
        (pa.array(["007", "NA", "", None, "1"]), "str", ["007", "NA", "", None, "1"]),
        (pa.array([" a "], pa.large_string()), "str", [" a "]),
        (pa.array(["a"], pa.string_view()), "str", ["a"]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), "str", ["a", "b", "a", None]),
        (pa.array([3, None, 3]).dictionary_encode(), "Int64", [3, None, 3]),
        (pa.array([None, None]), "str", [None, None]),
        (pa.array([datetime.date(2024, 2, 29), None]), "str", ["2024-02-29", None]),
        (pa.array([datetime.datetime(2024, 2, 29, 1)], pa.timestamp("s")), "str", ["2024-02-29 01:00:00"]),
        (pa.array([Decimal("1.50")]), "str", ["1.50"]),
    ],
)
def test_stored_columns_keep_their_type(values: pa.Array, dtype: str, expected: list[Any]) -> None:
    found = stored(values)
    assert found.dtype == dtype
    assert [None if pd.isna(value) else value for value in found] == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2]]),
        pa.array([{"a": 1}]),
        pa.array([b"\xff"]),
        pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
        pa.array([3], pa.duration("s")),
    ],
)
def test_columns_without_single_values_have_no_type(values: pa.Array) -> None:
    assert typed_values(pa.chunked_array([values])) is None
