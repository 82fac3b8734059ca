from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gebd.detection.detector
from gebd import DetectionConfig, detect, evaluate, uniform_matched
from gebd.detection.detector import _Video
from schemas.errors import UsageError
from tests.gebd.boundary_stores import make_videos


@pytest.mark.parametrize("outputs", [("frame", "displacement", "confidence"), ("frame",)])
def test_detector_finds_what_changes(outputs: tuple[str, ...], tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 12, outputs=outputs)
    found = detect(store)
    assert found.join is None
    f1 = evaluate(found.boundaries, truth).f1[0.05]
    assert f1 > 0.8  # confidence is noise in these stores: it tells of no boundary
    assert f1 > evaluate(uniform_matched(found.boundaries, truth), truth).f1[0.05] + 0.2


def test_marks_lie_between_the_samples_that_differ(tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 12)
    found = detect(store).boundaries
    distances = [
        min((abs(mark - boundary) for mark in found[video_id]), default=9.0)
        for video_id, video in truth.items()
        for boundary in video.rater_seconds[0]
    ]
    assert np.mean(np.array(distances) <= 0.1) > 0.9


def test_instants_without_a_frame_are_no_lost_matches(tmp_path: Path) -> None:
    """As in a video of variable frame rate: at 20 Hz every second sample of this store holds the frame before it."""
    store, truth = make_videos(tmp_path / "store", 12)
    found = detect(store, config=DetectionConfig(rate_hz=20.0))
    assert evaluate(found.boundaries, truth).f1[0.05] > 0.9
    for track in found.tracks.values():
        assert len(track.scores) < 90


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


def test_scores_belong_to_gaps_and_those_at_the_ends_are_zero(tmp_path: Path) -> None:
    store, _ = make_videos(tmp_path / "store", 4)
    for track in detect(store).tracks.values():
        np.testing.assert_allclose(track.time_seconds, np.arange(79) / 10 + 0.05)
        assert track.scores.min() >= 0 and track.scores.max() > DetectionConfig().threshold
        assert not track.scores[:2].any() and not track.scores[-2:].any()


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_videos_too_short_to_compare_have_no_boundary(samples: int) -> None:
    """Down to one sample, which has no gap."""
    rng = np.random.default_rng(samples)
    features = rng.standard_normal((samples, 6)).astype(np.float32)
    maps = rng.random((samples, 3, 4, 4)).astype(np.float32)
    times = np.arange(samples) / 10
    track = gebd.detection.detector._track(_Video("short", times, features, maps), DetectionConfig())
    assert len(track.scores) == len(track.time_seconds) == max(samples - 1, 1)
    assert not track.scores.any()


@pytest.mark.parametrize("change", [{"threshold": 0}, {"threshold": float("nan")}, {"rate_hz": -1.0}])
def test_parameters_that_cannot_be_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        DetectionConfig(**change)
