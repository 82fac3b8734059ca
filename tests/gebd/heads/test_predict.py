from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save

from gebd import Annotations, GEBDDataset, TrainedHead, head_config, load_annotations, predict, train_head
from gebd.heads.config import HeadConfig
from gebd.heads.networks.spec import HeadName
from gebd.heads.trained import load_head
from schemas.errors import ConfigurationError, UsageError, WeightsError
from tests.gebd.boundary_stores import make_videos

CONFIG = head_config(max_epochs=2, width=8, context_seconds=0.5, window_seconds=3.0, hop_seconds=1.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of 10 videos and a run on it."""
    place = tmp_path_factory.mktemp("place")
    _, truth = make_videos(place / "store", 10)
    train_head(place / "store", truth, place / "run", CONFIG)
    return place


def test_every_video_of_a_store_is_predicted_without_annotations(place: Path) -> None:
    found = predict(place / "run", place / "store")
    assert list(found.boundaries) == [f"v{n:02d}.mp4" for n in range(10)] == list(found.tracks)
    assert found.join is None
    for video_id, track in found.tracks.items():
        assert len(track.scores) == 80 and ((track.scores > 0) & (track.scores < 1)).all()
        assert all(0 <= time <= 8 for time in found.boundaries[video_id])


def test_batches_and_workers_change_no_score(place: Path) -> None:
    one = predict(place / "run", place / "store", batch_windows=1)
    many = predict(place / "run", place / "store", batch_windows=7, workers=1)
    assert one.boundaries == many.boundaries
    for video_id, track in one.tracks.items():
        np.testing.assert_allclose(track.scores, many.tracks[video_id].scores, atol=1e-6)


def test_annotations_choose_and_name_the_videos(place: Path) -> None:
    _, truth = make_videos(place / "other", 10)
    named = Annotations([replace(truth[f"v0{n}.mp4"], video_id=f"v0{n}") for n in (1, 4)])
    found = predict(place / "run", place / "store", named)
    assert set(found.boundaries) == {"v01", "v04"}
    assert found.join is not None and "2 of 2 annotated videos" in str(found.join)
    plain = predict(place / "run", place / "store", video_ids=["v04.mp4"])
    assert list(plain.boundaries) == ["v04.mp4"]
    np.testing.assert_allclose(plain.tracks["v04.mp4"].scores, found.tracks["v04"].scores, atol=1e-6)


def test_a_list_without_marks_names_the_videos(place: Path) -> None:
    listed = load_annotations({"v01": {"fps": 30.0, "num_frames": 240}, "v04": {"fps": 30.0, "num_frames": 240}})
    found = predict(place / "run", place / "store", listed)
    assert set(found.boundaries) == {"v01", "v04"}
    assert "2 of 2 annotated videos" in str(found.join) and "marks                   none: these" in str(found.join)
    dataset = GEBDDataset(place / "store", listed)
    assert dataset[0].target_soft is None
    with pytest.raises(UsageError, match="without annotations by raters"):
        dataset.class_weights()


def test_features_of_another_kind_are_refused_by_name(place: Path, tmp_path: Path) -> None:
    make_videos(tmp_path / "store", 2, shards=1, seed=1, size=112)
    with pytest.raises(ConfigurationError, match="size was 224, the store has 112"):
        predict(place / "run", tmp_path / "store")


def test_another_number_format_of_the_store_is_no_other_kind(place: Path, tmp_path: Path) -> None:
    make_videos(tmp_path / "store", 2, shards=1, store_dtype="float32")
    assert len(predict(place / "run", tmp_path / "store").boundaries) == 2


def test_head_without_motion_asks_for_none(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 8, outputs=("frame",))
    result = train_head(store, truth, tmp_path / "run", CONFIG)
    assert isinstance(result.trained, TrainedHead)
    assert not result.trained.head.spec.uses_motion and result.trained.config.tensors == ("frame",)
    assert len(predict(tmp_path / "run", store).boundaries) == 8


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"context_frames": 128, "width": 4096, "tensors": [["frame", [1024, 32, 32]]]}, "weights of another shape"),
        ({"tensors": [["frame", [4]], ["frame", [4]]]}, "expected a head of 1 to 64 different tensors"),
        ({"width": 1 << 40}, "expected a head of"),
        ({}, "weights that are not finite"),
    ],
)
def test_a_head_with_a_hostile_spec_is_refused(place: Path, tmp_path: Path, change: dict[str, Any], got: str) -> None:
    with safe_open(place / "run" / "head.safetensors", framework="pt") as file:
        content = json.loads(file.metadata()["gebd-head"])
        state = {name: file.get_tensor(name) * (1.0 if change else math.nan) for name in file.keys()}  # noqa: SIM118
    content["spec"] |= change
    (tmp_path / "head.safetensors").write_bytes(save(state, {"gebd-head": json.dumps(content)}))
    with pytest.raises(WeightsError, match=got):
        load_head(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "stored", "found"),
    [
        ("frame,frame", "frame,displacement,confidence", "frame"),
        ("", "frame,displacement", "frame"),
        ("", "frame,stage3_2x2,displacement,confidence", "frame,stage3_2x2,displacement,confidence"),
    ],
)
def test_a_head_takes_each_tensor_once_and_motion_in_both_parts(tensors: str, stored: str, found: str) -> None:
    config = HeadConfig(tensors=tuple(filter(None, tensors.split(","))))
    assert set(config.inputs(stored.split(","))) == set(found.split(","))


@pytest.mark.parametrize(
    ("head", "tensors", "message"),
    [
        ("similarity", "displacement", "expected both of displacement and confidence, or neither; got displacement"),
        ("similarity", "frame,confidence", "expected both of displacement and confidence"),
        (
            "temporal",
            "stage3_2x2",
            "expected frame, motion, displacement, confidence for a head temporal; got stage3_2x2",
        ),
        ("contrast", "displacement,confidence", "expected frame or motion for a head contrast"),
    ],
)
def test_tensors_without_which_a_head_cannot_be_are_named_before_anything_is_written(
    place: Path, tmp_path: Path, head: str, tensors: str, message: str
) -> None:
    config = HeadConfig(head=HeadName(head), tensors=tuple(tensors.split(",")))
    with pytest.raises(ConfigurationError, match=message):
        train_head(place / "store", place / "none.json", tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
