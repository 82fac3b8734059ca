"""A store as a collection of videos: length, iteration, membership, its table, its text."""

from __future__ import annotations

import pickle

import pandas as pd

from extractor.store import FeatureStore, read_inventory, write_inventory, write_manifest_cache
from extractor.store.tables import read_table_columns
from tests.extractor.store.making import make_store

VIDEOS = ["a.mp4", "b.mp4", "c/d.mp4", "e.mp4"]


def test_store_is_a_collection_of_its_videos(store):
    reader = FeatureStore(store.root)
    assert list(reader) == VIDEOS and len(reader) == 4 and reader.num_clips == 8
    assert "a.mp4" in reader and "bad.mp4" not in reader and 0 not in reader
    assert list(pickle.loads(pickle.dumps(reader))) == VIDEOS


def test_text_says_what_is_in_the_store(store, tmp_path):
    text = repr(FeatureStore(store.root))
    assert text.startswith(f"FeatureStore('{store.root}': 4 videos, 8 clips; msnet_resnet18, windows (num_frames=4, ")
    assert "rate_hz=10, hop=4), 224 px; clip, frame, motion, time_seconds" in text
    dense = make_store(tmp_path / "dense", [["a.mp4"]], clips=1, sampling="dense", rate_hz=None)
    assert "1 video, 1 clip; msnet_resnet18, dense, 224 px" in repr(FeatureStore(dense.root))


def test_videos_are_a_table_with_one_row_a_video(store):
    reader = FeatureStore(store.root)
    found = reader.videos
    assert found["video_id"].tolist() == VIDEOS
    assert found["num_clips"].tolist() == [2] * 4
    assert found["num_frames"].tolist() == [len(reader.video(name)["frame"]) for name in VIDEOS]
    assert found["fps"].tolist() == [30.0] * 4
    assert "clip_number" not in found.columns and "frame_start" not in found.columns
    assert "manifest" not in vars(reader), "the whole manifest was loaded"


def test_videos_carry_the_columns_of_the_users_table(store):
    inventory = read_inventory(store)
    inventory["label"] = pd.array(["x", "y", "z", None, "x"], "str")
    write_inventory(store, inventory, replace=True)
    write_manifest_cache(store)
    reader = FeatureStore(store.root)
    labels = read_table_columns(store)["label"]
    expected = [labels[name] for name in VIDEOS]
    assert reader.videos["label"].isna().tolist() == pd.isna(expected).tolist()
    assert reader.videos["label"].dropna().tolist() == [label for label in expected if not pd.isna(label)]
