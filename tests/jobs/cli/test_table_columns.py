"""Columns of a user's table, from the table to the manifest, through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from extractor.store import FeatureStore, read_inventory
from schemas.manifest import MANIFEST_COLUMNS
from tests.jobs.conftest import Call
from tests.jobs.running import SMALL, decoded, msnet
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HEADER = "path,start_seconds,end_seconds,label,split,code,codec,score"
TYPES = {"label": "Int64", "split": "str", "code": "str", "table_codec": "str", "score": "float64"}


def table(place: Path, header: str, *rows: str) -> Path:
    (place / "videos.csv").write_text("\n".join([header, *rows, ""]))
    return place / "videos.csv"


def by_video(frame: pd.DataFrame, *names: str) -> dict[str, list[Any]]:
    """Values of columns by video, which must agree in all of its rows; None if missing."""
    values = frame[["video_id", *names]].drop_duplicates()
    assert values["video_id"].is_unique
    values = values.set_index("video_id").astype("object")
    return {str(video_id): row for video_id, row in values.where(values.notna(), None).T.to_dict("list").items()}


def test_columns_of_a_table_are_in_the_manifest_and_follow_the_table(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for seed, name in enumerate(("a.mp4", "b.mp4", "late.mp4")):
        write_video(tmp_path / name, frames=40, size=(96, 128), seed=seed)
    (tmp_path / "bad.mp4").write_text("not a video")
    rows = ("a.mp4,,,3,train,007,x264,0.5", "b.mp4,0,0.8,,val,NA,,", "b.mp4,0.8,,-1,val,1e3,x264,2")
    videos = table(tmp_path, HEADER, *rows, "bad.mp4,,,4,test,12,x264,1")
    sampling = ("--num-frames", "4", "--rate-hz", "10")
    first = msnet("extract", videos, "--out", store, *SMALL, *sampling)
    assert first.process.returncode == 2, first.err
    said = " ".join(first.err.split())
    assert "columns carried into the manifest: label, split, code, codec (as table_codec), score" in said
    assert "left out" not in said

    manifest = FeatureStore(store).manifest
    assert len(manifest) > manifest["video_id"].nunique() == 3
    assert {name: str(manifest[name].dtype) for name in manifest if name not in MANIFEST_COLUMNS} == TYPES
    expected = {
        "a.mp4": [3, "train", "007", "x264", 0.5],
        "b.mp4#0-0.8": [None, "val", "NA", None, None],
        "b.mp4#0.8-": [-1, "val", "1e3", "x264", 2.0],
    }
    assert by_video(manifest, *TYPES) == expected
    assert set(manifest["codec"]) == {"h264"}
    pd.testing.assert_frame_equal(pd.read_parquet(store / "manifest.parquet"), manifest)
    failed = {"bad.mp4": [4, "test", "12", "x264", 1.0]}
    assert by_video(read_inventory(FeatureStore(store).paths), *TYPES) == expected | failed

    before = len(decoded(store))
    write_video(tmp_path / "bad.mp4", frames=40, size=(96, 128), seed=8)  # repaired
    table(tmp_path, "path,start_seconds,end_seconds,label,fold", "a.mp4,,,cat,1", "bad.mp4,,,dog,2", "late.mp4,,,cat,")
    resumed = msnet("resume", store, "--rescan", "--retry-failed", "all", "--device", "cpu")
    assert resumed.process.returncode == 0, resumed.err
    said = " ".join(resumed.err.split())
    assert "columns of the table are taken over (new: fold; changed: label (str, was Int64))" in said
    assert "columns of an earlier table are kept: split, code, table_codec, score" in said
    assert len(decoded(store)) == before + 2  # finished videos are not decoded again for new labels
    manifest = FeatureStore(store).manifest
    assert by_video(manifest, "label", "fold", "code") == {
        "a.mp4": ["cat", 1, "007"],
        "b.mp4#0-0.8": [None, None, "NA"],
        "b.mp4#0.8-": ["-1", None, "1e3"],
        "bad.mp4": ["dog", 2, "12"],
        "late.mp4": ["cat", None, None],
    }
    pd.testing.assert_frame_equal(pd.read_parquet(store / "manifest.parquet"), manifest)

    assert call("export", store, "--out", tmp_path / "out", "--tensors", "clip")[0] == 0
    clips = pd.read_parquet(tmp_path / "out" / "clips.parquet")
    assert clips["label"].tolist() == manifest["label"].tolist()
    for command in (("verify", store), ("report", store), ("compare", store, store)):
        assert call(*command)[0] == 0
