from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gebd import load_predictions, load_scores, write_predictions
from gebd.metric.predictions import checked_predictions
from schemas.errors import UsageError
from tests.gebd import made


@pytest.mark.parametrize("name", ["out.json", "out.pkl"])
def test_predictions_are_written_plainly_and_read_back(name: str, tmp_path: Path) -> None:
    predictions = {"b": np.array([0.1, 0.7], dtype=np.float32), "a": [], "c": (1, np.float64(0.1))}
    expected = {"b": [float(np.float32(0.1)), float(np.float32(0.7))], "a": [], "c": [1.0, 0.1]}
    write_predictions(predictions, tmp_path / name)
    assert load_predictions(tmp_path / name) == checked_predictions(tmp_path / name) == expected
    data = (tmp_path / name).read_bytes()
    assert (pickle.loads(data) if name.endswith(".pkl") else json.loads(data)) == expected
    assert b"numpy" not in data
    assert list(load_predictions(tmp_path / name)) == list(predictions)


def test_submission_with_numpy_of_old_is_read(tmp_path: Path) -> None:
    (tmp_path / "theirs.pkl").write_bytes(made.as_old_numpy({"a": np.array([1.5, 2.0]), "b": [np.float64(0.5)]}))
    assert load_predictions(tmp_path / "theirs.pkl") == {"a": [1.5, 2.0], "b": [0.5]}


@pytest.mark.parametrize("wrong", [{"a": ["1"]}, {"a": 1.0}, {"a": None}, {"a": [[1.0]]}, {1: []}, [], {"a": "12"}])
def test_predictions_that_are_no_numbers_are_refused(wrong: Any, tmp_path: Path) -> None:
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps(wrong))
    with pytest.raises(UsageError, match=r"expected (a|at most) .*; got"):
        load_predictions(tmp_path / "wrong.pkl")


@pytest.mark.parametrize("videos", [{"a": {"boundaries_seconds": [[1.0]]}}, {"format": "msnet", "videos": {"a": {}}}])
def test_annotations_are_no_predictions(videos: Any, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps(videos))
    with pytest.raises(UsageError, match=r"truth\.json: .* as annotations have\. .* evaluate PREDICTIONS ANNOTATIONS"):
        load_predictions(tmp_path / "truth.json")


@pytest.mark.parametrize("read", [load_predictions, load_scores])
@pytest.mark.parametrize("text", ["this is no json", "a,b\n1,2\n"])
def test_text_that_is_no_json_is_no_predictions(read: Any, text: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text(text)
    with pytest.raises(UsageError, match=r"wrong\.json: expected a pickle or JSON; got other text"):
        read(tmp_path / "wrong.json")


def test_writing_refuses_other_endings_and_infinite_times(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ending in \.json or \.pkl"):
        write_predictions({}, tmp_path / "out.npy")
    with pytest.raises(UsageError, match=r"predictions of a: expected finite numbers; got "):
        write_predictions({"a": [float("nan")]}, tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []


def test_scores_are_read_from_pickle_and_json(tmp_path: Path) -> None:
    content = {"a": {"frame_idx": [0, 3, 6], "scores": [0.1, 0.9, 0.2]}, "b": {"frame_idx": [], "scores": []}}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    headed = {"a": {"frame_idx": np.array([0, 3, 6]), "scores": np.array([[0.1, 0.9, 0.2]])}, "b": content["b"]}
    (tmp_path / "scores.pkl").write_bytes(made.as_old_numpy(headed))
    for source in (content, headed, tmp_path / "scores.json", tmp_path / "scores.pkl"):
        found = load_scores(source)
        assert found["a"].frame_index.tolist() == [0, 3, 6] and found["a"].frame_index.dtype == np.int64
        assert found["a"].scores.tolist() == [0.1, 0.9, 0.2] and len(found["b"].scores) == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"frame_idx": [0, 1], "scores": [0.5]}, "a score per frame; got 1 for 2"),
        ({"frame_idx": [0.5], "scores": [0.5]}, "whole numbers"),
        ({"frame_idx": [0], "scores": [[0.5], [0.6]]}, "one list of scores; got 2"),
        ({"scores": [0.5]}, "frame_idx: expected a list"),
        ([0.5], "a dictionary"),
    ],
)
def test_scores_of_another_shape_are_refused(entry: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_scores({"a": entry})
