"""Agreement with DIS: which cells are trusted, and their scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from training.evaluation.dis import DisFlow
from training.evaluation.passes import PassOutput
from training.evaluation.real import AgreeingCells, agree_with_dis, score_real

FRAMES, HEIGHT, WIDTH = 40, 96, 128
STEP_PX = 12  # a frame: one and a half cells


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """(40, 96, 128, 3): in the lower half, a texture moves to the right; the upper half is still.

    The left part of the still half has texture, the right part is flat.
    """
    noise = torch.rand(1, 1, 12, 80, generator=torch.Generator().manual_seed(3))
    texture = (F.interpolate(noise, scale_factor=8, mode="bicubic").clamp(0, 1)[0, 0] * 255).byte()
    frames = torch.full((FRAMES, HEIGHT, WIDTH), 90, dtype=torch.uint8)
    frames[:, :48, :64] = texture[:48, :64]
    for t in range(FRAMES):
        start = (FRAMES - t) * STEP_PX
        frames[t, 48:] = texture[48:96, start : start + WIDTH]
    return frames.unsqueeze(-1).expand(-1, -1, -1, 3).contiguous()


def with_displacement(monkeypatch: pytest.MonkeyPatch, displacement: Tensor | None) -> MSNet:
    """A network whose displacement is patched."""
    found = PassOutput(torch.zeros(1), displacement, None)
    monkeypatch.setattr("training.evaluation.real.run_sequence", lambda network, pixels: found)
    network = load_model("msnet_resnet18", weights="random")
    assert isinstance(network, MSNet)
    return network


def test_correct_displacement_agrees_and_zero_motion_differs_by_the_motion(
    pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.zeros(FRAMES - 1, 2, HEIGHT // 8, WIDTH // 8)
    right[:, 0, 6:] = STEP_PX / 8
    scores = score_real([agree_with_dis(with_displacement(monkeypatch, right), pixels, DisFlow())])
    pairs = FRAMES - 1
    assert scores.looked_at == pairs * 12 * 16
    assert 0.5 * pairs * 6 * 16 < scores.moving < pairs * 6 * 16
    assert 0.5 * pairs * 6 * 8 < scores.standing < pairs * 6 * 10, "the flat quarter is not trusted"
    assert scores.moving_zero_cells == pytest.approx(STEP_PX / 8, abs=0.02)
    assert scores.moving_difference_cells < 0.05 and scores.standing_difference_cells < 0.05
    still = score_real([agree_with_dis(with_displacement(monkeypatch, right * 0), pixels, DisFlow())])
    assert (still.moving, still.standing) == (scores.moving, scores.standing)
    assert still.moving_difference_cells == still.moving_zero_cells


def test_pairs_are_in_their_order_across_pieces(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one pair, after the first batch of pairs, has a wrong displacement."""
    right = torch.zeros(FRAMES - 1, 2, HEIGHT // 8, WIDTH // 8)
    right[:, 0, 6:] = STEP_PX / 8
    wrong = right.clone()
    wrong[36] += 100
    network = with_displacement(monkeypatch, wrong)
    parts = [agree_with_dis(network, pixels, DisFlow())]
    alone = agree_with_dis(with_displacement(monkeypatch, right[:1]), pixels[36:38], DisFlow())
    assert int((parts[0].difference_cells > 50).sum()) == len(alone.difference_cells)


def test_a_real_network_is_compared_with_dis(pixels: Tensor) -> None:
    network = load_model("msnet_resnet18", weights="random")
    assert isinstance(network, MSNet)
    scores = score_real([agree_with_dis(network, pixels[:4], DisFlow())])
    assert scores.moving > 0 and scores.moving_difference_cells > 0


def test_network_without_motion_is_refused(pixels: Tensor) -> None:
    network = load_model("tsn_resnet18", weights="random")
    assert isinstance(network, MSNet)
    with pytest.raises(ValueError, match="with an MS module; got tsn_resnet18"):
        agree_with_dis(network, pixels[:2], DisFlow())


def test_score_real_takes_medians_over_all_videos() -> None:
    first = AgreeingCells(torch.tensor([0.5, 9.0, 0.1]), torch.tensor([2.0, 0.5, 0.2]), 10)
    second = AgreeingCells(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]), 5)
    scores = score_real([first, second])
    assert (scores.looked_at, scores.moving, scores.standing) == (15, 3, 1)
    assert (scores.moving_difference_cells, scores.moving_zero_cells) == (1.0, 4.0)
    assert scores.standing_difference_cells == pytest.approx(0.1)


def test_score_real_without_cells_is_not_a_number() -> None:
    scores = score_real([AgreeingCells(torch.empty(0), torch.empty(0), 784)])
    assert (scores.looked_at, scores.moving, scores.standing) == (784, 0, 0)
    assert math.isnan(scores.moving_difference_cells) and math.isnan(scores.standing_difference_cells)
