"""Columns of the user's table in a store: through the inventory to the clips."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from extractor.store import FeatureStore, read_inventory, write_inventory, write_manifest_cache
from extractor.store.commits.snapshot import committed
from extractor.store.disk.sealed import Kind
from extractor.store.manifest import merge_fragments
from extractor.store.table_columns import columns_of, joined, typed_inventory, updated
from extractor.store.tables import encode_table, read_table_columns
from schemas.errors import StoreError
from schemas.manifest import MANIFEST_COLUMNS
from schemas.seals import sealed
from schemas.table_columns import COLUMN_TYPES
from tests.extractor.store.making import make_inventory, make_store

VALUES: dict[str, tuple[Any, ...]] = {
    "Int64": (1, -5, 2**62, None),
    "float64": (0.5, -1e300, None),
    "boolean": (True, False, None),
    "str": ("007", "NA", "", "é\0\n", None),
}


def table_of(video_ids: list[str], **columns: tuple[str, list[Any]]) -> pd.DataFrame:
    """Columns by video from (type, values)."""
    index = pd.Index(video_ids, dtype="str", name="video_id")
    return pd.DataFrame({name: pd.array(values, dtype) for name, (dtype, values) in columns.items()}, index=index)


def random_table(
    seed: int, video_ids: list[str], names: tuple[str, ...] = ("a", "b", "c d", "index", "nul\0.x")
) -> Any:
    state = random.Random(seed)
    chosen = state.sample(names, state.randint(0, len(names)))
    kinds = {name: state.choice(COLUMN_TYPES) for name in chosen}
    columns = {name: (kind, [state.choice(VALUES[kind]) for _ in video_ids]) for name, kind in kinds.items()}
    return table_of(video_ids, **columns)


def with_table(root: Path, table: pd.DataFrame) -> Any:
    """A finished store whose videos the table may name."""
    paths = make_store(root)
    inventory = read_inventory(paths)
    write_inventory(paths, joined(inventory, table), replace=True)
    return paths


@pytest.mark.parametrize("seed", range(8))
def test_columns_come_back_from_the_inventory_with_their_types(seed: int, tmp_path: Path) -> None:
    table = random_table(seed, ["a.mp4", "bad.mp4", "c/d.mp4", "b.mp4", "e.mp4"])
    paths = with_table(tmp_path / "store", table)
    pd.testing.assert_frame_equal(read_table_columns(paths).reindex(table.index), table)
    again = read_inventory(paths)
    assert write_inventory(paths, again, replace=True).equals(again)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
@pytest.mark.parametrize("cached", [True, False])
def test_manifest_has_the_value_of_its_video_in_every_clip(seed: int, cached: bool, tmp_path: Path) -> None:
    """As pandas joins them; a video that the table does not name has missing values."""
    table = random_table(seed, ["e.mp4", "a.mp4", "bad.mp4"])
    paths = with_table(tmp_path / "store", table)
    write_manifest_cache(paths)
    if not cached:
        paths.manifest.unlink()
    manifest = FeatureStore(paths.root).manifest
    assert list(manifest) == [*MANIFEST_COLUMNS, *table]
    plain = merge_fragments(paths, committed(paths))
    expected = plain.join(table, on="video_id").astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(manifest, expected)
    if cached:
        pd.testing.assert_frame_equal(pd.read_parquet(paths.manifest), expected)


def test_manifest_has_the_inventorys_values_also_where_its_cache_is_older(tmp_path: Path) -> None:
    paths = with_table(tmp_path / "store", table_of(["a.mp4"], label=("Int64", [1]), gone=("str", ["x"])))
    write_manifest_cache(paths)
    inventory = read_inventory(paths).drop(columns="gone")
    write_inventory(paths, inventory.assign(label=pd.array(["new"] * len(inventory), "str")), replace=True)
    manifest = FeatureStore(paths.root).manifest
    assert set(manifest["label"]) == {"new"} and "gone" not in manifest


def test_last_row_of_a_video_that_was_tried_again_counts(tmp_path: Path) -> None:
    inventory = make_inventory([["a", "b"], ["a"]]).assign(label=pd.array([1, 2, 3], "Int64"))
    assert columns_of(typed_inventory(inventory))["label"].to_dict() == {"a": 3, "b": 2}


def test_stores_without_such_columns_are_read_as_ever(tmp_path: Path) -> None:
    paths = make_store(tmp_path / "store")
    assert list(FeatureStore(paths.root).manifest) == list(MANIFEST_COLUMNS)
    assert not len(read_table_columns(paths).columns)
    paths.inventory.unlink()
    assert list(FeatureStore(paths.root).manifest) == list(MANIFEST_COLUMNS)


def test_inventory_that_cannot_be_read_is_told_and_not_taken_for_one_without_columns(tmp_path: Path) -> None:
    paths = with_table(tmp_path / "store", table_of(["a.mp4"], label=("Int64", [1])))
    for path in (paths.inventory, paths.copy(paths.inventory)):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="is not as it was written"):
        FeatureStore(paths.root).manifest  # noqa: B018


def test_columns_of_other_types_in_an_inventory_are_passed_over(tmp_path: Path) -> None:
    """A store may come from anyone."""
    paths = make_store(tmp_path / "store")
    frame = read_inventory(paths)
    count = len(frame)
    odd = frame.assign(lists=[[1]] * count, times=pd.Timestamp("2024-01-01"), whole=np.arange(count), yes=True)
    paths.inventory.write_bytes(sealed(encode_table(odd), Kind.INVENTORY))
    found = read_inventory(paths)
    assert found.dtypes.iloc[len(frame.columns) :].astype(str).to_dict() == {"whole": "Int64", "yes": "boolean"}


def test_column_that_is_called_like_a_later_one_of_the_manifest_is_renamed() -> None:
    columns = table_of(["a"], label=("Int64", [1]))
    found = joined(pd.DataFrame({"video_id": ["a"], "label": ["ours"]}), columns)
    assert found.to_dict("list") == {"video_id": ["a"], "label": ["ours"], "table_label": [1]}


def test_manifest_of_many_columns_is_made_silently(tmp_path: Path) -> None:
    """pandas warns of a table that was made column by column, and warnings are errors here."""
    table = table_of(["a.mp4"], **{f"c{k}": ("Int64", [k]) for k in range(300)})
    paths = with_table(tmp_path / "store", table)
    write_manifest_cache(paths)
    assert FeatureStore(paths.root).manifest["c299"].iloc[0] == 299
    metadata = json.loads(pq.read_schema(paths.manifest).metadata[b"pandas"])
    assert len(metadata["columns"]) == len(MANIFEST_COLUMNS) + 300


@pytest.mark.parametrize("seed", range(30))
def test_updated_columns_are_the_tables_and_what_it_does_not_say_stays(seed: int) -> None:
    state = random.Random(seed)
    known = state.sample("abcdef", state.randint(1, 6))
    named = state.sample("abcdefgh", state.randint(1, 8))
    before, table = random_table(seed, known, ("a", "b", "c")), random_table(seed + 1, named, ("b", "c", "d"))
    after = updated(before, table).values
    assert list(after.index) == known + [name for name in named if name not in known]
    assert list(after) == [*before, *(name for name in table if name not in before)]
    for video_id in after.index:
        for name in after:
            source = table if name in table and video_id in table.index else before
            there = name in source and video_id in source.index
            value, expected = after.loc[video_id, name], source.loc[video_id, name] if there else None
            assert pd.isna(value) == pd.isna(expected)
            if not pd.isna(expected):
                same_type = after[name].dtype == source[name].dtype
                assert value == expected if same_type else str(value).lower() == str(expected).lower()
    for name in table:
        if name not in before or (set(known) <= set(named) and table[name].notna().any()):
            assert after[name].dtype == table[name].dtype
    pd.testing.assert_frame_equal(updated(after, table).values, after)


@pytest.mark.parametrize(
    ("mine", "theirs", "dtype", "values"),
    [
        (("Int64", [1]), ("float64", [0.5]), "float64", [1.0, 0.5]),
        (("Int64", [2**60]), ("float64", [0.5]), "str", [str(2**60), "0.5"]),
        (("Int64", [-(2**63)]), ("float64", [0.5]), "str", [str(-(2**63)), "0.5"]),
        (("Int64", [7]), ("str", ["007"]), "str", ["7", "007"]),
        (("boolean", [True]), ("str", ["no"]), "str", ["true", "no"]),
        (("boolean", [True]), ("Int64", [0]), "str", ["true", "0"]),
        (("Int64", [None]), ("str", ["x"]), "str", [None, "x"]),
        (("Int64", [1]), ("str", [None]), "Int64", [1, None]),
        (("Int64", [None]), ("str", [None]), "Int64", [None, None]),
    ],
)
def test_values_that_stay_and_new_ones_have_one_type(mine: Any, theirs: Any, dtype: str, values: list[Any]) -> None:
    found = updated(table_of(["stays"], x=mine), table_of(["named"], x=theirs)).values["x"]
    assert found.dtype == dtype
    assert [None if pd.isna(value) else value for value in found] == values


def test_changes_name_what_is_new_changed_and_gone() -> None:
    before = table_of(
        ["a", "b", "c"], label=("Int64", [1, 2, None]), old=("str", list("xyz")), code=("Int64", [1, 2, 3])
    )
    table = table_of(
        ["a", "b", "new"], label=("Int64", [1, 3, 9]), split=("str", list("xyz")), code=("str", ["1", "a", "b"])
    )
    found = updated(before, table)
    assert found.summary() == "new: split; changed: label (1 video), code (str, was Int64)"
    assert found.gone == ("old",)
    assert updated(before, before).summary() == ""
    assert updated(before, before.iloc[:1]).summary() == ""
