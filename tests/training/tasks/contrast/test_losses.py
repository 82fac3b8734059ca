"""Losses compared with slow versions in float64, one query and one key at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.tasks.contrast.losses import draw_orders, info_nce, intra_frame_loss, order_loss, shuffles
from training.tasks.contrast.queue import Negatives

_TEMPERATURE = 0.2


def _embeddings(count: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def _slow(query: Tensor, positive: Tensor, negatives: list[Tensor]) -> float:
    """-log of the share of the positive among all keys."""

    def weight(key: Tensor) -> float:
        return math.exp(sum(a * b for a, b in zip(query.tolist(), key.tolist(), strict=True)) / _TEMPERATURE)

    return -math.log(weight(positive) / (weight(positive) + sum(map(weight, negatives))))


def test_info_nce_is_the_mean_over_queries_of_those_negatives_that_count() -> None:
    query, positive, keys = _embeddings(3, 0), _embeddings(3, 1), _embeddings(5, 2)
    counted = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 1, 1], [0, 0, 0, 0, 0]]).bool()
    expected = [
        _slow(query[n], positive[n], [key for key, counts in zip(keys, counted[n], strict=True) if counts])
        for n in range(3)
    ]
    found = info_nce(query, positive, Negatives(keys, counted), _TEMPERATURE)
    assert float(found) == pytest.approx(sum(expected) / 3, rel=1e-5) and expected[2] == 0


def test_info_nce_without_a_negative_has_no_gradient() -> None:
    query = _embeddings(2, 0).requires_grad_()
    loss = info_nce(query, _embeddings(2, 1), Negatives(_embeddings(3, 2), torch.zeros(2, 3).bool()), _TEMPERATURE)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0 and query.grad is not None and not query.grad.any()


def test_info_nce_of_equal_embeddings_is_that_of_guessing() -> None:
    same = _embeddings(1, 0)
    negatives = Negatives(same.expand(7, 6), torch.ones(4, 7).bool())
    assert float(info_nce(same.expand(4, 6), same.expand(4, 6), negatives, 0.1)) == pytest.approx(math.log(8))


def test_intra_frame_loss_tells_the_frame_from_the_other_one() -> None:
    query, same, other = _embeddings(4, 0), _embeddings(4, 1), _embeddings(4, 2)
    expected = [_slow(query[n], same[n], [other[n]]) for n in range(4)]
    assert float(intra_frame_loss(query, same, other, _TEMPERATURE)) == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_order_loss_is_cross_entropy() -> None:
    scores = torch.tensor([[2.0, 1.0], [0.5, 0.5]])
    expected = (math.log(math.exp(2) + math.exp(1)) - 1 + math.log(2)) / 2
    assert float(order_loss(scores, torch.tensor([True, False]))) == pytest.approx(expected)


@pytest.mark.parametrize(("segments", "count"), [(3, 4), (4, 22), (8, 719)])
def test_shuffles_leave_out_time_and_its_reverse(segments: int, count: int) -> None:
    orders = {tuple(order) for order in shuffles(segments).tolist()}
    assert len(orders) == count
    assert all(sorted(order) == list(range(segments)) for order in orders)
    assert not {tuple(range(segments)), tuple(reversed(range(segments)))} & orders


def test_draw_orders_shuffles_half_of_them() -> None:
    torch.manual_seed(0)
    orders, shuffled = draw_orders(400, 3)
    assert 150 < int(shuffled.sum()) < 250
    assert bool((orders[~shuffled] == torch.arange(3)).all())
    assert {tuple(order) for order in orders[shuffled].tolist()} == {tuple(order) for order in shuffles(3).tolist()}
