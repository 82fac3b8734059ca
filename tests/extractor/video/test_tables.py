"""The user's own columns of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from extractor.video.listing import Listing, list_videos
from schemas.errors import InventoryError
from schemas.table_columns import MOST_COLUMNS


def listed(folder: Path, text: str) -> Listing:
    (folder / "videos.csv").write_text(text, encoding="utf-8")
    return list_videos(folder / "videos.csv")


def listed_parquet(folder: Path, **columns: object) -> Listing:
    table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    pq.write_table(table, folder / "videos.parquet")
    return list_videos(folder / "videos.parquet")


def test_columns_belong_to_the_rows_videos(tmp_path: Path) -> None:
    text = (
        "label,path,start_seconds,end_seconds,code,codec,score,good\n"
        "3,b.mp4,0,1,007,h263,0.5,true\n"
        ",a.mp4,,,NA,,,\n"
        "\n"
        "-1,b.mp4,1,2,x,x,2,false\n"
    )
    columns = listed(tmp_path, text).columns
    assert {name: str(dtype) for name, dtype in columns.values.dtypes.items()} == {
        "label": "Int64",
        "code": "str",
        "table_codec": "str",
        "score": "float64",
        "good": "boolean",
    }
    expected = pd.DataFrame(
        {
            "label": pd.array([3, None, -1], "Int64"),
            "code": pd.array(["007", "NA", "x"], "str"),
            "table_codec": pd.array(["h263", None, "x"], "str"),
            "score": [0.5, None, 2.0],
            "good": pd.array([True, None, False], "boolean"),
        },
        index=pd.Index(["b.mp4#0-1", "a.mp4", "b.mp4#1-2"], dtype="str", name="video_id"),
    )
    pd.testing.assert_frame_equal(columns.values, expected)
    assert columns.names["codec"] == "table_codec"


def test_tables_without_own_columns_have_none(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\n")
    (tmp_path / "a.mp4").touch()
    for listing in (list_videos(tmp_path / "list.txt"), listed(tmp_path, "path\na.mp4\n"), list_videos(tmp_path)):
        assert listing.columns.summary() == "" and not len(listing.columns.values.columns)
    assert list(list_videos(tmp_path / "list.txt").columns.values.index) == ["a.mp4", "b.mp4"]


def test_parquet_columns_keep_their_types_and_names(tmp_path: Path) -> None:
    """Also in a folder whose name looks like a partition of a data set."""
    folder = tmp_path / "split=train"
    folder.mkdir()
    columns = listed_parquet(
        folder,
        **{
            "path": ["a.mp4", "b.mp4"],
            "label": pa.array([1, None], pa.int8()),
            "code": ["007", "7"],
            "a.b": [1.5, 2.5],
            "nul\0": [True, False],
            "shard": ["x", "y"],
            "__index_level_0__": [5, 6],
        },
    ).columns
    assert {name: str(dtype) for name, dtype in columns.values.dtypes.items()} == {
        "label": "Int64",
        "code": "str",
        "a.b": "float64",
        "nul\0": "boolean",
        "table_shard": "str",
    }
    assert columns.values["code"].tolist() == ["007", "7"]
    assert columns.left_out == (("__index_level_0__", "it has no name"),)


def test_columns_that_no_manifest_can_hold_are_left_out_and_named(tmp_path: Path) -> None:
    box = pa.array([[0.1, 0.2]])
    columns = listed_parquet(tmp_path, path=["a.mp4"], box=box, raw=[b"\xff"], label=[1]).columns
    assert list(columns.values) == ["label"]
    said = columns.summary()
    assert said.startswith("columns carried into the manifest: label; columns left out: box (list<")
    assert said.count("is not a number, truth value or text") == 2


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    """`DataFrame.to_csv` writes its index like that, and spreadsheets write empty columns."""
    columns = listed(tmp_path, ",path,label, ,\n0,a.mp4,3,,\n").columns
    assert columns.values["label"].tolist() == [3] and list(columns.values) == ["label"]
    assert columns.summary().endswith("columns left out: '' (it has no name), '' (it has no name), '' (it has no name)")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,label,label", "expected each column once; got label twice. Keep one, or rename it"),
        ("path,a\x1bb,a\x1bb", r"got 'a\x1bb' twice"),
        ("path," + ",".join(f"c{k}" for k in range(MOST_COLUMNS + 1)), f"name videos; got {MOST_COLUMNS + 1}. "),
    ],
)
def test_columns_that_cannot_all_be_carried_are_refused_in_one_sentence(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(InventoryError) as caught:
        listed(tmp_path, header + "\n" + ",".join(["x"] * len(header.split(","))) + "\n")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_with_the_same_name_in_parquet_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a.mp4"]), pa.array([1]), pa.array([2])], names=["path", "x", "x"])
    pq.write_table(table, tmp_path / "videos.parquet")
    with pytest.raises(InventoryError, match="expected each column once; got x twice"):
        list_videos(tmp_path / "videos.parquet")


def test_text_in_parquet_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    with pytest.raises(InventoryError, match=r"is damaged \(.*UTF8.*\)\. Write it again"):
        listed_parquet(tmp_path, path=["a.mp4"], label=text)
