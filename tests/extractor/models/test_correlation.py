"""Banded correlation against a loop over cells and offsets."""

from __future__ import annotations

import pytest
import torch

from extractor.models.correlation import correlate, normalize_cells
from tests.extractor.models.reference import correlation


def maps(count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 2), (9, 13), (17, 16)])
@pytest.mark.parametrize("radius", [1, 7])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_correlate_equals_a_plain_loop(size: tuple[int, int], radius: int, memory_format: torch.memory_format) -> None:
    first = maps(2, 8, *size).contiguous(memory_format=memory_format)
    second = maps(2, 8, *size, seed=1).contiguous(memory_format=memory_format)
    got = correlate(first, second, radius)
    side = 2 * radius + 1
    assert got.shape == (2, side * side, *size)
    for i in range(2):
        expected = correlation(first[i].double().numpy(), second[i].double().numpy(), radius)
        difference = got[i].reshape(side, side, *size).double() - torch.from_numpy(expected)
        assert difference.abs().max() < 1e-5


def test_correlate_of_no_pairs_is_empty() -> None:
    assert correlate(maps(0, 8, 3, 4), maps(0, 8, 3, 4), 2).shape == (0, 25, 3, 4)


def test_correlate_has_right_gradients() -> None:
    first, second = (maps(1, 3, 3, 4, seed).double().requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: correlate(a, b, 1), (first, second))


def test_normalize_cells_keeps_epsilon_under_the_root() -> None:
    x = maps(2, 4, 3, 5) * 1e-3
    expected = x / torch.sqrt((x * x).sum(1, keepdim=True) + 1e-6)
    torch.testing.assert_close(normalize_cells(x), expected)
    assert normalize_cells(torch.zeros(1, 4, 2, 2)).abs().max() == 0


def test_normalize_cells_is_float32_whatever_comes() -> None:
    assert normalize_cells(maps(1, 4, 2, 2).bfloat16()).dtype == torch.float32
