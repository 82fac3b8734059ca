"""Which classes checkpoints tell apart, and what that costs to find out."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.checkpoints.files import WeightsFile, read_weights_file
from extractor.models.msnet import build_network
from jobs.weights.classification import classify
from tests.videos import write_video
from training.clips.records import Example
from training.labels.labelled import LabelledVideos


def test_classify_reads_a_checkpoint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "a.safetensors", list[Path]()
    save_checkpoint(
        path, build_network("tsn_resnet18", num_classes=2), licence="x", recipe={"classes": ["run", "walk"]}
    )
    write_video(tmp_path / "v.mp4", frames=12)
    video = Example("v.mp4", str(tmp_path / "v.mp4"), label=1)

    def counted(path: Path) -> WeightsFile:
        read.append(path)
        return read_weights_file(path)

    monkeypatch.setattr("extractor.models.checkpoints.checkpoint.read_weights_file", counted)
    monkeypatch.setattr("jobs.weights.classification._TIMED_SECONDS", 0.0)
    found = classify([path], LabelledVideos(("run", "walk"), (video,), ()), num_frames=2, size_px=32)
    assert read == [path]
    assert found.scores.shape == (1, 2) and found.labels.tolist() == [1] and not found.left_out
