"""A small embedding equals a large one with a larger epsilon, and resolves fractions of a cell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from extractor.models.correlation import NORM_EPSILON
from extractor.models.motion_squeeze import SoftArgmax
from extractor.models.msnet import MSNet, build_network
from training.embedding import as_stored, enlarge_embedding


def _frames() -> Tensor:
    return torch.randn(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def _motion(network: MSNet) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        output = network.eval()(_frames())
    assert output.displacement is not None and output.confidence is not None
    return output.displacement, output.confidence


def test_as_stored_is_the_same_network_and_leaves_it_as_it_was() -> None:
    network = build_network("msnet_resnet18")
    enlarge_embedding(network, 13)
    before, state = _motion(network), {name: value.clone() for name, value in network.state_dict().items()}
    with as_stored(network, 13):
        assert network.motion_squeeze is not None and network.motion_squeeze.norm_epsilon == NORM_EPSILON
        stored = _motion(network)
        again = build_network("msnet_resnet18")
        again.load_state_dict(network.state_dict())
    for one, other in zip(before, stored, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    enlarge_embedding(again, 12)  # as in another training: still the same network
    for one, other in zip(before, _motion(again), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_enlarge_embedding_lowers_the_scores_of_weights_of_ordinary_size() -> None:
    network = build_network("msnet_resnet18")
    high = _motion(network)[1].mean()
    enlarge_embedding(network, 13)
    low = _motion(network)[1].mean()
    assert high > 0.9 and 0.1 < low < 0.5


def test_enlarge_embedding_leaves_a_network_without_motion_alone() -> None:
    network = build_network("tsm_resnet18")
    state = {name: value.clone() for name, value in network.state_dict().items()}
    enlarge_embedding(network, 13)
    with as_stored(network, 13):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("score", "share"), [(1.0, 0.121), (0.3, 0.356)])
def test_soft_argmax_weight_of_the_second_of_two_equal_candidates_depends_on_the_score(
    score: float, share: float
) -> None:
    scores = torch.zeros(225)
    scores[[112, 113]] = score  # no motion, and one cell to the right
    assert float(SoftArgmax(7)(scores)[0][0]) == pytest.approx(share, abs=0.002)
