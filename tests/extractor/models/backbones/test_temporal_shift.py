"""Temporal shift against a plain loop."""

from __future__ import annotations

import pytest
import torch

from extractor.models.backbones.temporal_shift import future_slice, past_slice, temporal_shift
from schemas.config import Edges
from tests.extractor.models.reference import shift


def frames(count: int, channels: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, 3, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("edges", Edges)
@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("channels", [8, 24, 20])
def test_temporal_shift_takes_the_future_first_then_the_past(
    clips: int, length: int, channels: int, edges: Edges
) -> None:
    x = frames(clips * length, channels)
    expected = torch.cat([torch.from_numpy(shift(clip.numpy(), edges)) for clip in x.split(length)])
    assert torch.equal(temporal_shift(x, length, edges), expected)


def test_temporal_shift_leaves_what_stands_still_where_edges_repeat() -> None:
    still = frames(1, 16).expand(5, 16, 3, 2).clone()
    assert torch.equal(temporal_shift(still, 5, Edges.REPEAT), still)


def test_temporal_shift_is_zero_outside_the_clip() -> None:
    shifted = temporal_shift(torch.ones(4, 16, 1, 1), 2, Edges.ZEROS)
    assert shifted[:, 0, 0, 0].tolist() == [1, 0, 1, 0]
    assert shifted[:, 2, 0, 0].tolist() == [0, 1, 0, 1]
    assert shifted[:, 4:].min() == 1


@pytest.mark.parametrize("edges", Edges)
def test_temporal_shift_takes_what_lies_outside_from_the_boundary(edges: Edges) -> None:
    x = frames(7, 16)
    middle = temporal_shift(x[2:5], 3, edges, before=past_slice(x[1:2]), after=future_slice(x[5:6]))
    assert torch.equal(middle, temporal_shift(x, 7, edges)[2:5])


def test_temporal_shift_keeps_the_memory_format_and_the_input() -> None:
    x = frames(4, 16).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    assert temporal_shift(x, 4, Edges.ZEROS).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)


def test_temporal_shift_returns_every_frame_its_gradient() -> None:
    x = frames(3, 8).requires_grad_()
    temporal_shift(x, 3, Edges.ZEROS).sum().backward()
    expected = torch.ones_like(x)
    expected[0, 0] = expected[2, 1] = 0  # nobody reads the first frame's future slice, nor the last one's past slice
    assert x.grad is not None and torch.equal(x.grad, expected)
