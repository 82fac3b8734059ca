from __future__ import annotations

import pandas as pd
import pytest

from schemas.errors import StoreError
from schemas.manifest import (
    FAILURE_COLUMNS,
    INVENTORY_COLUMNS,
    MANIFEST_COLUMNS,
    empty_manifest,
    failures_frame,
    manifest_frame,
    manifest_from_columns,
    typed_columns,
    validate_manifest,
)

EXAMPLES = {"str": "x", "int64": 1, "float64": 0.5, "bool": True}


def row(**changes):
    values = {name: EXAMPLES[dtype] for name, dtype in MANIFEST_COLUMNS.items()}
    return values | {"frame_start": 0, "frame_stop": 8, "pair_start": 0, "pair_stop": 7} | changes


def test_frames_have_the_columns_and_types_that_are_promised():
    frame = manifest_frame([row(), row(clip_number=2)])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dict(MANIFEST_COLUMNS)
    assert frame.equals(manifest_from_columns({name: frame[name].tolist() for name in MANIFEST_COLUMNS}))
    failures = failures_frame([{name: EXAMPLES[dtype] for name, dtype in FAILURE_COLUMNS.items()}])
    assert {name: str(dtype) for name, dtype in failures.dtypes.items()} == dict(FAILURE_COLUMNS)


def test_empty_tables_have_types_too():
    assert {name: str(dtype) for name, dtype in empty_manifest().dtypes.items()} == dict(MANIFEST_COLUMNS)
    assert {name: str(dtype) for name, dtype in failures_frame([]).dtypes.items()} == dict(FAILURE_COLUMNS)
    assert len(validate_manifest(empty_manifest())) == 0


def test_validation_puts_columns_in_order_and_drops_others():
    frame = manifest_frame([row()])[list(MANIFEST_COLUMNS)[::-1]].assign(colour="red")
    assert list(validate_manifest(frame).columns) == list(MANIFEST_COLUMNS)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([row(), row()], "'x' twice"),
        ([row(frame_stop=0)], "not ascending"),
        ([row(pair_stop=-1)], "not ascending"),
    ],
)
def test_validation_refuses(rows, match):
    with pytest.raises(StoreError, match=match):
        validate_manifest(manifest_frame(rows))
    with pytest.raises(StoreError, match="lacks the columns video_id"):
        validate_manifest(manifest_frame(rows).drop(columns="video_id"))


def test_every_column_can_be_read_as_an_attribute():
    """pandas has a method `clip`, which a column of that name would be hidden behind."""
    frame = manifest_frame([row()])
    assert all(isinstance(getattr(frame, name), pd.Series) for name in MANIFEST_COLUMNS if name != "flags")


def test_typed_columns_convert_or_refuse():
    table = pd.DataFrame({name: [EXAMPLES[dtype]] for name, dtype in INVENTORY_COLUMNS.items()}).assign(extra=1)
    typed = typed_columns(table.astype({"bytes": "int32"}), INVENTORY_COLUMNS, "the inventory")
    assert {name: str(dtype) for name, dtype in typed.dtypes.items()} == dict(INVENTORY_COLUMNS)
    with pytest.raises(StoreError, match="the inventory lacks the columns path"):
        typed_columns(table.drop(columns="path"), INVENTORY_COLUMNS, "the inventory")
    with pytest.raises(StoreError, match="another type"):
        typed_columns(table.assign(bytes="many"), INVENTORY_COLUMNS, "the inventory")
