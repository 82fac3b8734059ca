"""Retrieval among features, and features of both ends of videos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from extractor.models.msnet import build_network
from schemas.records import Failure
from tests.videos import write_video
from training.clips.records import Example
from training.config import TrainingPrecision
from training.tasks.contrast.config import ViewSettings
from training.tasks.contrast.retrieval import ends_of_videos, judge


def test_judge_counts_the_videos_that_are_found() -> None:
    ends = torch.tensor([[[1.0, 0], [2, 0.1]], [[0, 1], [0.1, 3]], [[1, 1], [-1, 1]], [[-1, 0], [-1, 0.2]]])
    found = judge(ends)
    assert found["retrieval"] == 75 and found["retrieval_chance"] == 25
    assert 0 < found["spread"] < 1 and judge(ends[:1].expand(3, 2, 2))["spread"] == pytest.approx(0, abs=1e-7)


def test_ends_of_videos_are_embedded_and_broken_ones_named(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", frames=20, size=(32, 32), seed=n) for n in range(3)]
    (tmp_path / "broken.mp4").write_text("no video")
    examples = [Example(path.name, str(path)) for path in (*paths, tmp_path / "broken.mp4")]
    network = build_network("tsn_resnet18", seed=0)
    found = [
        ends_of_videos(
            network,
            examples,
            ViewSettings(size_px=32),
            num_frames=2,
            precision=TrainingPrecision.FLOAT32,
            videos_at_a_time=at_a_time,
            workers=0,
        )
        for at_a_time in (2, 3)
    ]
    assert isinstance(found[0]["broken.mp4"], Failure) and network.training
    for path in paths:
        one, other = (ends[path.name] for ends in found)
        assert isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == (2, 512)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.equal(one[0], one[1])
