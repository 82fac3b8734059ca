"""What a head takes of a network while both learn is what a store of the network would hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet, build_network
from gebd.annotations.records import VideoAnnotation
from gebd.heads.config import HeadConfig
from gebd.heads.loss import balanced_loss
from gebd.heads.networks.building import build_head
from gebd.heads.networks.spec import HeadName, HeadSpec
from jobs.finetuning.levels import clip_rows, rows_of, stages_of, video_rows
from jobs.finetuning.scoring import score_video
from jobs.finetuning.sources import LabelledClip
from training.config import TrainingPrecision

TENSORS = ("frame", "motion", "stage3_2x2", "motion_2x2", "displacement", "confidence")
EXACT = TrainingPrecision.FLOAT32


@pytest.fixture(scope="module")
def network() -> MSNet:
    return build_network("msnet_resnet18", seed=0).eval()


def _frames(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


def _clip(frames: Tensor, frame_row: list[int], pair_row: list[int]) -> LabelledClip:
    some = torch.ones(len(frame_row), dtype=torch.bool)
    return LabelledClip(
        frames, torch.tensor(frame_row), torch.tensor(pair_row), some, some, torch.zeros(len(frame_row))
    )


def test_stages_are_those_that_tensors_are_made_from() -> None:
    assert stages_of(("frame", "stage4_2x2", "stage2", "motion_2x2")) == ("stage2", "stage4")


@torch.no_grad()
def test_rows_of_a_video_are_those_of_its_only_clip(network: MSNet) -> None:
    frames = _frames(37)  # more than go through the network at a time
    rows = video_rows(network, frames, TENSORS, EXACT)
    output = network(normalize(frames[None]), stages=("stage3",))
    for name, whole in rows_of(output, TENSORS).items():
        assert rows[name].shape == whole[0].shape
        torch.testing.assert_close(rows[name], whole[0], atol=2e-3, rtol=2e-3)
    assert rows["motion"].shape == (37, 128) and rows["stage3_2x2"].shape == (37, 256, 2, 2)
    assert rows["displacement"].shape == (36, 2, 4, 4)


@torch.no_grad()
def test_clips_of_different_lengths_do_not_see_one_another(network: MSNet) -> None:
    short, long = _frames(5, 1), _frames(8, 2)
    clips = [
        _clip(short, [0, 1, 1, 2, 3, 4], [0, 1, 1, 2, 3, -1]),
        _clip(long, list(range(8)), [*range(7), 6]),
        _clip(short.flip(0), [0, 1, 2, 3, 4], [0, 1, 2, 3, 3]),
    ]
    found = clip_rows(network, clips, TENSORS, EXACT)
    for place, clip in enumerate(clips):
        alone = rows_of(network(normalize(clip.frames[None]), stages=("stage3",)), TENSORS)
        for name in TENSORS:
            assert found[name].shape[:2] == (3, 8)
            index = clip.pair_row if name in ("displacement", "confidence") else clip.frame_row
            expected = torch.stack([alone[name][0, max(n, 0)] * (n >= 0) for n in index.tolist()])
            torch.testing.assert_close(found[name][place, : len(index)], expected, atol=1e-5, rtol=1e-4)
            assert not found[name][place, len(index) :].any()


def test_the_loss_is_that_of_a_slow_version() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 7, generator=generator), torch.rand(3, 7, generator=generator)
    counted = torch.rand(3, 7, generator=generator) < 0.6
    total, count = balanced_loss(logits, target, counted, torch.tensor([0.6, 3.0]))
    expected, number = 0.0, 0
    for logit, label, counts in zip(
        logits.flatten().tolist(), target.flatten().tolist(), counted.flatten(), strict=True
    ):
        if counts:
            probability = 1 / (1 + math.exp(-logit))
            expected -= 3.0 * label * math.log(probability) + 0.6 * (1 - label) * math.log(1 - probability)
            number += 1
    assert float(total) == pytest.approx(expected, rel=1e-5) and int(count) == number
    assert int(balanced_loss(logits, target, torch.zeros_like(counted), torch.ones(2))[1]) == 1


def test_scores_of_a_video_are_those_of_its_windows_averaged() -> None:
    config = HeadConfig(head=HeadName.CONTRAST, window_seconds=2.0, hop_seconds=1.0, raters="best")
    spec = HeadSpec(HeadName.CONTRAST, (("frame", (6,)),), config.context_frames, 64, 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head, rows = build_head(spec).eval(), torch.randn(30, 6)
    own = np.arange(30) / 10
    track, totals = score_video(head, {"frame": rows}, own, VideoAnnotation("v", 3.0, ((1.0,),)), config, torch.ones(2))
    with torch.no_grad():
        first, second = (
            head({"frame": rows[None, part]}, torch.ones(1, 20, dtype=torch.bool))[0].sigmoid().numpy()
            for part in (slice(0, 20), slice(10, 30))
        )
    expected = np.concatenate([first[:10], (first[10:] + second[:10]) / 2, second[10:]])
    np.testing.assert_allclose(track.scores, expected, atol=1e-6)
    np.testing.assert_allclose(track.time_seconds, own)
    assert int(totals[1]) == 40
