from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gebd.detection.detector
from gebd import DetectionConfig, detect, evaluate, uniform_matched
from schemas.errors import UsageError
from tests.gebd.boundary_stores import make_videos


@pytest.mark.parametrize("outputs", [("frame", "displacement", "confidence"), ("frame",)])
def test_detector_finds_what_changes(outputs: tuple[str, ...], tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 12, outputs=outputs)
    found = detect(store)
    assert found.join is None
    f1 = evaluate(found.boundaries, truth).f1[0.05]
    assert f1 > 0.9
    assert f1 > evaluate(uniform_matched(found.boundaries, truth), truth).f1[0.05] + 0.2


def test_detector_finds_changes_of_motion_alone(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 8)
    found = detect(store, truth, config=DetectionConfig(motion_share=1.0))
    assert evaluate(found.boundaries, truth).f1[0.05] > 0.9


def test_labels_are_not_read(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 4)
    assert detect(store, truth).boundaries == detect(store).boundaries


def test_slices_change_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = make_videos(tmp_path / "store", 3, shards=1)
    whole = detect(store)
    monkeypatch.setattr(gebd.detection.detector, "_SLICE_SECONDS", 1.7)
    sliced = detect(store)
    for video_id, track in whole.tracks.items():
        assert sliced.tracks[video_id].time_seconds.tolist() == track.time_seconds.tolist()
        np.testing.assert_allclose(sliced.tracks[video_id].scores, track.scores, atol=1e-3)


def test_scores_stay_in_their_range_and_ends_have_none(tmp_path: Path) -> None:
    store, _ = make_videos(tmp_path / "store", 4, noise=1.0)
    for track in detect(store, config=DetectionConfig(smooth_seconds=0)).tracks.values():
        assert track.scores.min() >= 0 and 0.1 < track.scores.max() < 2
        assert not track.scores[:2].any() and not track.scores[-1].any()


@pytest.mark.parametrize("change", [{"context_seconds": 0}, {"prominence": float("nan")}, {"motion_share": 1.5}])
def test_parameters_that_cannot_be_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        DetectionConfig(**change)
