"""Matching on procedural clips, compared with loops and with networks of known displacement."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from extractor.models.msnet import MSNetOutput, build_network
from extractor.models.spec import describe_network
from training.cells import cell_truth
from training.evaluation import CellErrors, measure_matching
from training.world import Clips, World, WorldConfig

CONFIG = WorldConfig(
    height=48, width=64, num_frames=5, boundaries=(1, 1), min_stretch_frames=2, max_speed=1.0, textures=8, shapes=8
)


class Oracle(nn.Module):
    """A network that returns the given displacement, clip by clip."""

    def __init__(self, displacement: Tensor) -> None:
        super().__init__()
        self.spec = describe_network("msnet_resnet18")
        self.device = torch.device("cpu")
        self._displacement = displacement

    def forward(self, frames: Tensor) -> MSNetOutput:
        known, self._displacement = self._displacement.split([len(frames), len(self._displacement) - len(frames)])
        nothing = torch.zeros(1)
        confidence = torch.zeros_like(known[:, :, :1])
        return MSNetOutput(nothing, nothing, None, known, confidence, None, None)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return World(CONFIG, seed=3).sample(0, 10)


def test_measure_matching_of_the_truth_and_of_nothing(clips: Clips) -> None:
    truth = cell_truth(clips)
    exact = measure_matching(Oracle(truth.displacement), clips)  # type: ignore[arg-type]
    assert (exact.inside.mean_cells, exact.inside.within_one_cell) == (0.0, 1.0)
    still = measure_matching(Oracle(torch.zeros_like(truth.displacement)), clips)  # type: ignore[arg-type]
    assert still.inside == still.inside_zero == exact.inside_zero
    assert still.visible == still.visible_zero == exact.visible_zero
    assert still.inside.mean_cells > 0 and 0 < still.inside.within_one_cell < 1


def test_measure_matching_equals_a_loop_over_cells(clips: Clips) -> None:
    truth = cell_truth(clips)
    noise = torch.randn(truth.displacement.shape, generator=torch.Generator().manual_seed(1))
    scores = measure_matching(Oracle(truth.displacement + noise), clips)  # type: ignore[arg-type]
    inside, visible = [], []
    b, pairs, h, w = truth.inside.shape
    for at in [(i, t, y, x) for i in range(b) for t in range(pairs) for y in range(h) for x in range(w)]:
        error = math.hypot(*noise[at[0], at[1], :, at[2], at[3]].tolist())
        if truth.inside[at]:
            inside.append(error)
            if truth.visible[at]:
                visible.append(error)
    for found, errors in ((scores.inside, inside), (scores.visible, visible)):
        assert found.cells == len(errors)
        assert found.mean_cells == pytest.approx(sum(errors) / len(errors), rel=1e-5)
        assert found.within_one_cell == pytest.approx(sum(error <= 1 for error in errors) / len(errors))
    assert 0 < scores.visible.cells < scores.inside.cells < truth.inside.numel()


def test_measure_matching_refuses_a_network_without_motion(clips: Clips) -> None:
    with pytest.raises(ValueError, match="with an MS module; got tsn_resnet18"):
        measure_matching(build_network("tsn_resnet18"), clips)


def test_cell_errors_without_cells_are_not_a_number() -> None:
    found = CellErrors.of(torch.empty(0))
    assert found.cells == 0 and math.isnan(found.mean_cells) and math.isnan(found.within_one_cell)
