"""The queue holds the last keys in their order, whatever their number at a time."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from training.tasks.contrast.queue import KeyQueue, among_one_another, spread

_CPU = torch.device("cpu")


def test_queue_holds_the_last_keys() -> None:
    random = np.random.default_rng(0)
    queue, slow, first = KeyQueue(7, 2, _CPU), deque[tuple[float, int]](maxlen=7), 0
    for count in (3, 3, 0, 5, 7, 1, 16, *random.integers(0, 9, 20).tolist()):
        numbers = torch.arange(first, first + count)
        queue.push(torch.stack((numbers, -numbers), 1).float(), numbers + 100)
        slow.extend((float(number), int(number) + 100) for number in numbers)
        first += count
        known = queue.videos >= 0
        assert queue.count == len(slow) and queue.is_full == (len(slow) == 7)
        assert sorted(zip(queue.keys[known, 0].tolist(), queue.videos[known].tolist(), strict=True)) == sorted(slow)


def test_queue_goes_on_from_its_state() -> None:
    queue, other = KeyQueue(5, 2, _CPU), KeyQueue(5, 2, _CPU)
    queue.push(torch.rand(3, 2), torch.arange(3))
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(torch.ones(4, 2), torch.arange(4))
    assert torch.equal(queue.keys, other.keys) and torch.equal(queue.videos, other.videos)


def test_negatives_are_keys_of_other_videos() -> None:
    queue = KeyQueue(4, 2, _CPU)
    queue.push(torch.rand(3, 2), torch.tensor([5, 6, 5]))
    assert queue.negatives(torch.tensor([5, 7])).counted.tolist() == [
        [False, True, False, False],
        [True, True, True, False],
    ]


def test_negatives_are_joined_with_those_among_one_another() -> None:
    queue, keys, videos = KeyQueue(2, 2, _CPU), torch.rand(3, 2, 2), torch.tensor([5, 6, 5])
    queue.push(torch.rand(1, 2), torch.tensor([6]))
    found = queue.negatives(videos).and_others(among_one_another(keys, videos))
    assert torch.equal(found.keys, torch.cat((queue.keys, keys.view(6, 2))))
    assert found.counted.int().tolist() == [
        [1, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0, 1, 1],
        [1, 0, 0, 0, 1, 1, 0, 0],
    ]


def test_spread_is_the_distance_from_the_mean() -> None:
    points = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    mean = [sum(column) / 9 for column in zip(*points.tolist(), strict=True)]
    squares = [sum((a - b) ** 2 for a, b in zip(point, mean, strict=True)) for point in points.tolist()]
    assert spread(points) == pytest.approx((sum(squares) / 9) ** 0.5)
    assert spread(points[:1].expand(5, 4)) == pytest.approx(0, abs=1e-7) and np.isnan(KeyQueue(3, 2, _CPU).spread())
