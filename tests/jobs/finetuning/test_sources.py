"""Clips of boundary videos: frames, samples and labels, the same for the same step and place."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from extractor.video.frames import read_frames
from gebd.dataset.labels import HARD
from jobs.finetuning.config import FinetuneConfig
from jobs.finetuning.sources import ClipSource, WholeSource, WholeVideo
from jobs.finetuning.videos import BoundaryVideos
from schemas.errors import FailureClass
from schemas.records import Failure
from tests.jobs.finetuning.made import boundary_video, boundary_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> BoundaryVideos:
    return boundary_videos(tmp_path_factory.mktemp("videos"))


def _config(**changes: object) -> FinetuneConfig:
    head = {"head": "temporal", "window_seconds": 2.0, "hop_seconds": 1.0, "raters": "best"}
    fields: dict[str, object] = {"size_px": 32, "clips_per_step": 4, "clips_per_share": 2, "head": head}
    return FinetuneConfig.model_validate(fields | changes)


def test_clips_depend_on_step_and_place_alone(videos: BoundaryVideos) -> None:
    source = ClipSource(videos.training, _config())
    ahead = [source.load((step, share)) for step in range(2) for share in range(2)]
    other = pickle.loads(pickle.dumps(ClipSource(videos.training, _config())))
    batch, _ = other.load((1, 1))
    assert batch is not None and ahead[3][0] is not None
    for one, same in zip(batch, ahead[3][0], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    known = {name: failure.failure for name, failure in source.broken.items()}
    assert known == {"3.mp4": FailureClass.CANNOT_OPEN}


def test_labels_are_those_of_the_frames_that_are_shown(videos: BoundaryVideos) -> None:
    """Brightness tells where the boundary is, in whatever direction and at whatever speed a clip is played."""
    source = ClipSource(videos.training, _config(colour=0.0, flip=0.0, least_scale=1.0))
    seen = 0
    for step in range(6):
        batch, _ = source.load((step, 0))
        assert batch is not None
        for clip in batch:
            brightness = clip.frames.float().mean((1, 2, 3))[clip.frame_row]
            jumps = (brightness.diff().abs() > 60).nonzero()[:, 0]
            if len(jumps) == 1:
                seen += 1
                assert int(clip.target.argmax()) in (int(jumps), int(jumps) + 1)
            assert clip.valid.all() and clip.counted.all() and clip.frames.dtype == torch.uint8
    assert seen > 5


def test_windows_hold_the_frames_around_one_instant_and_only_that_counts(videos: BoundaryVideos) -> None:
    head = {"head": "contrast", "context_seconds": 0.5, "raters": "best", "stretch": 0.0}
    source = ClipSource(videos.training, _config(form="windows", head=head))
    labels = []
    for step in range(30):
        batch, _ = source.load((step, 0))
        assert batch is not None
        for clip in batch:
            assert 6 <= len(clip.frames) <= 11
            assert int(clip.counted.sum()) == 1
            labels.append(float(clip.target[clip.counted]))
    assert set(labels) == {0.0, 1.0} and 0.3 < np.mean(labels) < 0.7


def test_a_whole_video_is_what_an_extraction_decodes(videos: BoundaryVideos) -> None:
    video = videos.validation[0]
    found = WholeSource([video], _config()).load(0)
    assert isinstance(found, WholeVideo)
    expected = read_frames(video.example.job, rate_hz=10.0, size=32)
    assert np.array_equal(found.frames.numpy(), expected.pixels)
    np.testing.assert_array_equal(found.own_seconds, expected.time_seconds)


def test_a_stretch_of_a_longer_video_ends_where_it_ends(tmp_path: Path) -> None:
    video = boundary_video(tmp_path / "a.mp4", 0, until_seconds=1.0)
    found = WholeSource([video], _config()).load(0)
    assert isinstance(found, WholeVideo) and len(found.own_seconds) == 10
    batch, _ = ClipSource([video], _config(head={"head": "temporal", "window_seconds": 2.0, "stretch": 0.0})).load(
        (0, 0)
    )
    assert batch is not None and all(len(clip.frames) <= 11 for clip in batch)


def test_a_broken_video_for_validation_is_told(videos: BoundaryVideos) -> None:
    found = WholeSource([videos.training[3]], _config()).load(0)
    assert isinstance(found, Failure) and found.failure is FailureClass.CANNOT_OPEN


def test_a_positive_label_is_within_one_sigma(videos: BoundaryVideos) -> None:
    source = ClipSource(videos.training, _config(head={"head": "temporal", "stretch": 0.0, "reverse": False}))
    batch, _ = source.load((0, 0))
    assert batch is not None
    for clip in batch:
        assert 2 <= int((clip.target >= HARD).sum()) <= 4, "0.15 s to either side at 10 frames a second"
