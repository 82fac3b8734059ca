"""Heads on a GPU, held against the CPU. Skips where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gebd import head_config, predict, train_head
from tests.gebd.boundary_stores import make_videos

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> torch.device:
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is None or not accelerator.is_available():
        pytest.skip("needs a GPU")
    found: torch.device = accelerator.current_accelerator()
    return found


def test_training_and_prediction_on_a_gpu_agree_with_the_cpu(device: torch.device, tmp_path: Path) -> None:
    store, truth = make_videos(tmp_path / "store", 10)
    config = head_config(max_epochs=3, width=8, dropout=0.0, learning_rate=0.01)
    here = train_head(store, truth, tmp_path / "here", config)
    there = train_head(store, truth, tmp_path / "there", config, device=device)
    for mine, theirs in zip(here.epochs, there.epochs, strict=True):
        assert theirs.training_loss == pytest.approx(mine.training_loss, rel=1e-2)
    on_cpu, on_gpu = predict(tmp_path / "there", store), predict(tmp_path / "there", store, device=device)
    for video_id, track in on_cpu.tracks.items():
        np.testing.assert_allclose(on_gpu.tracks[video_id].scores, track.scores, atol=1e-4)
