"""Cells of held-out clips: every figure compared with a plain loop or a known answer."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.cells import CellTruth, cell_truth
from training.evaluation.dis import DisFlow
from training.evaluation.matching import NETWORK, ZERO
from training.evaluation.passes import PassOutput, to_pixels
from training.evaluation.procedural import DIS, ProceduralMatching, ProceduralScores, rank_correlation
from training.evaluation.texture import textured
from training.world import Clips, World, WorldConfig

CONFIG = WorldConfig(
    height=64, width=64, num_frames=5, boundaries=(1, 1), min_stretch_frames=2, max_speed=1.0, textures=8, shapes=8
)


@pytest.fixture(scope="module")
def batches() -> list[Clips]:
    world = World(CONFIG, seed=4)
    return [world.sample(step, 4) for step in range(2)]


def judge(batches: list[Clips], found: list[tuple[Tensor, Tensor]], dis: DisFlow | None = None) -> ProceduralScores:
    matching = ProceduralMatching(dis)
    for clips, (displacement, confidence) in zip(batches, found, strict=True):
        matching.add(clips, to_pixels(clips.frames), PassOutput(torch.zeros(1), displacement, confidence))
    return matching.scores()


def noisy(truth: CellTruth, seed: int) -> tuple[Tensor, Tensor]:
    """The truth with errors, and confidence that decreases with the error."""
    noise = torch.randn(truth.displacement.shape, generator=torch.Generator().manual_seed(seed))
    return truth.displacement + noise, 1 / (1 + noise.norm(dim=2))


def test_scores_equal_a_loop_over_cells(batches: list[Clips]) -> None:
    truths = [cell_truth(clips) for clips in batches]
    found = [noisy(truth, seed) for seed, truth in enumerate(truths)]
    scores = judge(batches, found)
    rows: list[dict[str, Any]] = []
    unknown = 0
    for clips, truth, (displacement, confidence) in zip(batches, truths, found, strict=True):
        rich = textured(to_pixels(clips.frames))
        for at in torch.cartesian_prod(*(torch.arange(n) for n in truth.inside.shape)).tolist():
            b, t, y, x = at
            if not truth.defined[b, t, y, x]:
                unknown += 1
                continue
            known, guess = truth.displacement[b, t, :, y, x].tolist(), displacement[b, t, :, y, x].tolist()
            rows.append(
                {
                    "error": math.dist(known, guess),
                    "speed": math.hypot(*known),
                    "inside": max(map(abs, known)) <= 7,
                    "visible": bool(truth.visible[b, t, y, x]),
                    "rich": bool(rich[b, t, y, x]),
                    "confidence": float(confidence[b, t, y, x]),
                }
            )
    assert (scores.clips, scores.frames) == (8, 5)
    inside = [row for row in rows if row["inside"]]
    visible = [row for row in inside if row["visible"]]
    for group, by_method in ((inside, scores.errors), (visible, scores.visible_errors)):
        for method, key in ((NETWORK, "error"), (ZERO, "speed")):
            values = [row[key] for row in group]
            assert by_method[method].cells == len(values)
            assert by_method[method].mean_cells == pytest.approx(sum(values) / len(values), rel=1e-4)
            share = sum(value <= 1 for value in values) / len(values)
            assert by_method[method].within_one_cell == pytest.approx(share, abs=1e-3)
    judged = sorted((row for row in visible if row["rich"]), key=lambda row: -row["confidence"])
    half = len(judged) // 2
    assert scores.confidence.cells == len(judged)
    assert scores.confidence.rank_correlation == pytest.approx(-1, abs=1e-4)
    best, rest = ([row["error"] for row in part] for part in (judged[:half], judged[half:]))
    assert scores.confidence.confident_half_cells == pytest.approx(sum(best) / len(best), rel=1e-4)
    assert scores.confidence.other_half_cells == pytest.approx(sum(rest) / len(rest), rel=1e-4)
    world = scores.world
    assert world.cells == len(rows)
    assert world.unknown_share == pytest.approx(unknown / (unknown + len(rows)))
    assert world.occluded_share == pytest.approx(sum(not row["visible"] for row in rows) / len(rows))
    assert world.outside_share == pytest.approx(sum(not row["inside"] for row in rows) / len(rows))
    assert world.still_share == pytest.approx(sum(row["speed"] < 0.05 for row in rows) / len(rows), abs=1e-3)
    speeds = sorted(row["speed"] for row in rows)
    assert world.speed_cells[50] == pytest.approx(speeds[len(speeds) // 2], abs=0.02)
    assert list(world.speed_cells) == [50, 90, 99]
    assert min(unknown, world.occluded_share, world.still_share) > 0, "otherwise the test would not cover them"


def test_intervals_are_of_clips_drawn_again(batches: list[Clips]) -> None:
    truths = [cell_truth(clips) for clips in batches]
    found = [noisy(truth, seed) for seed, truth in enumerate(truths)]
    scores = judge(batches, found)
    clips: list[dict[str, tuple[Tensor, Tensor]]] = []
    for truth, (displacement, _) in zip(truths, found, strict=True):
        for b in range(4):
            error, speed = ((truth.displacement - of).norm(dim=2)[b] for of in (displacement, 0.0))
            inside, visible = truth.inside[b], truth.inside[b] & truth.visible[b]
            clips.append({"inside": (error[inside], speed[inside]), "visible": (error[visible], speed[visible])})
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 8, 8) for _ in range(1000)]
    for key, by_method in (("inside", scores.errors), ("visible", scores.visible_errors)):
        together = [[torch.cat([clips[i][key][of] for i in draw]).double().mean() for of in (0, 1)] for draw in drawn]
        means, zeros = np.array(together).T
        judged = by_method[NETWORK]
        assert (judged.mean_interval.low, judged.mean_interval.high) == pytest.approx(
            np.quantile(means, [0.025, 0.975])
        )
        shares = judged.zero_share_interval
        assert (shares.low, shares.high) == pytest.approx(np.quantile(means / zeros, [0.025, 0.975]))
        assert judged.zero_share == pytest.approx(judged.mean_cells / by_method[ZERO].mean_cells)
        assert judged.mean_interval.low < judged.mean_cells < judged.mean_interval.high
        assert (by_method[ZERO].zero_share, by_method[ZERO].zero_share_interval.high) == (1, 1)


def test_intervals_of_clips_without_motion_are_not_a_number(batches: list[Clips]) -> None:
    clips = batches[0]
    still = replace(clips, displacement=torch.zeros_like(clips.displacement))
    truth = cell_truth(still)
    errors = judge([still], [noisy(truth, 0)]).errors[NETWORK]
    assert math.isnan(errors.zero_share) and not math.isnan(errors.mean_interval.low)


def test_dis_is_judged_on_the_same_cells(batches: list[Clips]) -> None:
    truths = [cell_truth(clips) for clips in batches]
    scores = judge(batches, [noisy(truth, 0) for truth in truths], DisFlow())
    assert list(scores.errors) == [NETWORK, DIS, ZERO]
    assert scores.errors[DIS].cells == scores.errors[NETWORK].cells
    assert scores.visible_errors[DIS].mean_cells < 0.7 * scores.visible_errors[ZERO].mean_cells


def test_network_without_motion_is_refused(batches: list[Clips]) -> None:
    matching = ProceduralMatching(None)
    with pytest.raises(ValueError, match="without an MS module"):
        matching.add(batches[0], to_pixels(batches[0].frames), PassOutput(torch.zeros(1), None, None))


def test_rank_correlation_of_known_orders() -> None:
    rng = random.Random(0)
    values = [rng.random() for _ in range(50)]
    first = torch.tensor(values)
    assert rank_correlation(first, first.exp()) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    # Ranks around their mean: -1.5, 0, 0, 1.5 and 1.5, -1.5, -0.5, 0.5.
    found = rank_correlation(torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([9.0, 0.0, 1.0, 2.0]))
    assert found == pytest.approx(-1.5 / math.sqrt(4.5 * 5))


def test_rank_correlation_without_an_order_is_not_a_number() -> None:
    assert math.isnan(rank_correlation(torch.ones(5), torch.arange(5.0)))
    assert math.isnan(rank_correlation(torch.ones(1), torch.ones(1)))
