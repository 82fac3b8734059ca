from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from extractor.store import FeatureDataset, FeatureStore, ShardSampler, pad_collate
from extractor.store.samples.blocks import BlockIndex
from schemas.errors import UsageError
from tests.extractor.store.samples.conftest import SHARDS

LABELS = ["label", "score", "take", "wide"]
VIDEOS = [name for shard in SHARDS for name in shard]


@pytest.mark.parametrize("index_of", [int, BlockIndex])
def test_a_clip_is_what_the_store_has(store: Path, index_of: type) -> None:
    names = ["clip", "frame", "displacement", "time_seconds", "valid"]
    dataset = FeatureDataset(store, names, dtype=None, cache_bytes=20_000)
    assert len(dataset) == dataset.store.num_clips == 63
    for index in range(len(dataset)):
        sample, stored = dataset[index_of(index)], dataset.store.clip(index, names)
        assert list(sample) == [*names, "video_id", "row"] and sample["row"] == index
        assert sample["video_id"] == dataset.store.manifest["video_id"].iloc[index]
        for name in names:
            expected = stored[name][0] if name == "clip" else stored[name]
            assert sample[name].dtype == torch.from_numpy(stored[name]).dtype
            np.testing.assert_array_equal(sample[name].numpy(), expected)


@pytest.mark.parametrize("index_of", [int, BlockIndex])
def test_a_video_is_what_the_store_has(store: Path, index_of: type) -> None:
    dataset = FeatureDataset(store, ["frame", "clip"], unit="video")
    assert dataset.lengths.tolist() == [4 * (1 + k % 6) for k in range(18)]
    for index, video_id in enumerate(VIDEOS):
        sample, stored = dataset[index_of(index)], dataset.store.video(video_id, ["frame", "clip"])
        assert sample["video_id"] == video_id
        assert sample["frame"].dtype == sample["clip"].dtype == torch.float32
        for name, rows in stored.items():
            np.testing.assert_array_equal(sample[name].numpy(), rows)


def test_labels_are_the_columns_of_the_table(store: Path) -> None:
    dataset = FeatureDataset(store, labels=LABELS, unit="video")
    assert dataset.classes == {"label": ("jump", "run", "walk")}
    for number, sample in enumerate(dataset):
        assert dataset.classes["label"][int(sample["label"])] == ("walk", "run", "jump")[number % 3]
        assert (float(sample["score"]), int(sample["take"])) == (number / 4, number)
        assert bool(sample["wide"]) is (number % 2 == 0)
    kinds = {name: dataset[0][name].dtype for name in LABELS}
    assert list(kinds.values()) == [torch.int64, torch.float32, torch.int64, torch.bool]


def test_classes_are_those_of_the_whole_store_or_those_given(store: Path) -> None:
    part = FeatureDataset(store, labels=["label"], unit="video", videos=["a0.mp4", "a3.mp4"])
    assert part.classes["label"] == ("jump", "run", "walk") and int(part[0]["label"]) == 2
    given = FeatureDataset(store, labels=["label"], unit="video", classes={"label": ["walk", "run", "jump"]})
    assert int(given[0]["label"]) == 0
    with pytest.raises(UsageError, match=r"label among walk, run; got jump. Add them to `classes`"):
        FeatureDataset(store, labels=["label"], classes={"label": ["walk", "run"]})


def test_videos_without_a_label_are_refused_and_may_be_left_out(store: Path) -> None:
    with pytest.raises(UsageError, match=r"rare for each of 18 videos; 13 have none, like a1.mp4"):
        FeatureDataset(store, labels=["rare"])
    labelled = FeatureStore(store).videos.dropna(subset=["rare"])["video_id"]
    dataset = FeatureDataset(store, labels=["rare"], unit="video", videos=labelled)
    assert dataset.video_ids == tuple(labelled) and {int(sample["rare"]) for sample in dataset} == {7}


def test_a_subset_has_the_samples_of_its_videos(store: Path) -> None:
    dataset = FeatureDataset(store, labels=["take"])
    part = dataset.subset(["c5.mp4", "a1.mp4"])
    assert [(sample["video_id"], sample["row"]) for sample in part] == [("a1.mp4", 1), ("a1.mp4", 2)] + [
        ("c5.mp4", row) for row in range(57, 63)
    ]
    assert sorted(int(index) for index in ShardSampler(part)) == list(range(8)) and len(dataset) == 63
    np.testing.assert_array_equal(part[BlockIndex(7)]["clip"].numpy(), dataset.store.clip(62)["clip"][0])
    with pytest.raises(UsageError, match=r"expected videos of FeatureDataset\(.*got a0.mp4, x"):
        part.subset(["a0.mp4", "x"])
    with pytest.raises(UsageError, match="at least one video"):
        dataset.subset([])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensors": ["logits"]}, "tensors among clip, frame, .*got logits"),
        ({"tensors": []}, "got none"),
        ({"tensors": "clip"}, r"a list of tensors; got the text 'clip'. Use \['clip'\]"),
        ({"labels": "label"}, "a list of labels"),
        ({"labels": ["lable"]}, "labels among video_id, num_clips.*got lable"),
        ({"labels": ["video_id"]}, "named unlike tensors; got video_id"),
        ({"unit": "frame"}, "'clip' or 'video'; got 'frame'"),
        ({"videos": ["nothing.mp4"]}, "got nothing.mp4"),
    ],
)
def test_what_is_not_there_is_refused(store: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FeatureDataset(store, **options)


def test_a_transform_makes_the_sample(store: Path) -> None:
    dataset = FeatureDataset(store, labels=["take"], transform=lambda sample: (sample["clip"], sample["take"]))
    features, takes = next(iter(DataLoader(dataset, batch_size=5)))
    assert features.shape == (5, 16) and takes.tolist() == [0, 1, 1, 2, 2]


def test_a_batch_is_padded_and_says_the_lengths(store: Path) -> None:
    dataset = FeatureDataset(store, ["frame", "clip", "displacement"], labels=["take"], unit="video")
    batch = pad_collate([dataset[1], dataset[3]])
    assert batch["frame"].shape == (2, 16, 16) and batch["displacement"].shape == (2, 12, 2, 5, 11)
    assert {name: lengths.tolist() for name, lengths in batch["lengths"].items()} == {
        "frame": [8, 16],
        "clip": [2, 4],
        "displacement": [6, 12],
    }
    assert not batch["frame"][0, 8:].any() and batch["frame"][0, :8].equal(dataset[1]["frame"])
    assert batch["take"].tolist() == [1, 3] and batch["video_id"] == ["a1.mp4", "a3.mp4"]


def test_clips_of_one_length_need_no_padding(store: Path) -> None:
    batch = pad_collate([FeatureDataset(store, ["clip"])[k] for k in range(3)])
    assert batch["clip"].shape == (3, 16) and "lengths" not in batch


def test_samples_of_different_datasets_make_no_batch(store: Path) -> None:
    with pytest.raises(UsageError, match="the same names"):
        pad_collate([FeatureDataset(store, ["clip"])[0], FeatureDataset(store, ["frame"])[0]])
    with pytest.raises(UsageError, match="at least one sample"):
        pad_collate([])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # from Python 3.12 on
def test_workers_read_what_one_process_reads(store: Path) -> None:
    dataset = FeatureDataset(store, ["frame"], labels=["label"], cache_bytes=10_000)
    dataset[BlockIndex(0)]

    def epoch(**options: object) -> list:
        sampler = ShardSampler(dataset, batch_size=8, num_workers=2)
        return list(DataLoader(dataset, 8, sampler=sampler, collate_fn=pad_collate, **options))

    here, there = epoch(), epoch(num_workers=2, multiprocessing_context="fork")
    assert len(here) == len(there) == 8
    for one, other in zip(here, there, strict=True):
        assert one["frame"].equal(other["frame"]) and one["row"].equal(other["row"])


def test_a_dataset_travels_without_its_blocks(store: Path) -> None:
    dataset = FeatureDataset(store, ["frame"], labels=["label"])
    dataset[BlockIndex(0)]
    text = repr(dataset)
    other = pickle.loads(pickle.dumps(dataset))
    assert repr(other) == text == f"FeatureDataset('{store}': 63 clips; tensors frame; labels label)"
    assert other[BlockIndex(5)]["frame"].equal(dataset[5]["frame"])
    assert len(pickle.dumps(dataset)) < 100_000
