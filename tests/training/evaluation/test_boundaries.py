"""Boundaries by a linear probe: windows, peaks, and a threshold chosen on the fitting part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch

from training.evaluation.boundaries import (
    BoundaryTruth,
    before_and_after,
    find_peaks,
    name_truth,
    probe_boundaries,
)
from training.evaluation.sequences import LabelledSequence


def sequence(frames: int, boundaries: tuple[int, ...], seed: int) -> LabelledSequence:
    """A noisy feature that changes its level at every boundary, and one that is noise alone."""
    generator = torch.Generator().manual_seed(seed)
    stretch = torch.bucketize(torch.arange(frames), torch.tensor(boundaries), right=True)
    levels = torch.randn(len(boundaries) + 1, 6, generator=generator) * 3
    noise = torch.randn(frames, 6, generator=generator)
    nothing = torch.zeros(frames - 1, dtype=torch.int64)
    return LabelledSequence({"levels": levels[stretch] + 0.3 * noise, "noise": noise}, boundaries, nothing, nothing)


def f1(predictions: Mapping[str, Sequence[float]], truth: Mapping[str, BoundaryTruth]) -> float:
    """A plain F1: a boundary is found where a prediction lies within 0.3 s."""
    hits = found = wanted = 0
    for name, video in truth.items():
        near = [any(abs(time - p) <= 0.3 for p in predictions[name]) for time in video.boundary_seconds]
        hits, found, wanted = hits + sum(near), found + len(predictions[name]), wanted + len(near)
    return 2 * hits / max(found + wanted, 1)


@pytest.fixture(scope="module")
def fitting() -> list[LabelledSequence]:
    return [sequence(60, (12 + i, 30, 45 + i), seed=i) for i in range(10)]


@pytest.fixture(scope="module")
def test_part() -> list[LabelledSequence]:
    return [sequence(60, (15, 28 + i), seed=100 + i) for i in range(6)]


def test_probe_finds_changes_of_level_and_not_in_noise(
    fitting: list[LabelledSequence], test_part: list[LabelledSequence]
) -> None:
    probe = probe_boundaries(fitting, test_part, "levels", f1)
    truth = name_truth(test_part)
    assert list(probe.predictions) == list(truth)
    assert f1(probe.predictions, truth) > 0.85
    blind = probe_boundaries(fitting, test_part, "noise", f1)
    assert f1(blind.predictions, truth) < 0.5


def test_probe_chooses_by_the_fitting_part_alone(
    fitting: list[LabelledSequence], test_part: list[LabelledSequence]
) -> None:
    asked: list[set[tuple[float, ...]]] = []

    def spy(predictions: Mapping[str, Sequence[float]], truth: Mapping[str, BoundaryTruth]) -> float:
        asked.append({video.boundary_seconds for video in truth.values()})
        return f1(predictions, truth)

    both = probe_boundaries(fitting, test_part, "levels", spy)
    one = probe_boundaries(fitting, test_part[:1], "levels", f1)
    assert all(seconds == {tuple(t / 10 for t in s.boundary_frames) for s in fitting} for seconds in asked)
    assert both.strength == one.strength
    assert both.predictions["sequence-0000"] == one.predictions["sequence-0000"]


def test_before_and_after_equals_a_loop() -> None:
    features = torch.randn(13, 2, generator=torch.Generator().manual_seed(0))
    found = before_and_after(features)
    for t in range(13):
        before = features[max(0, t - 5) : t].mean(0) if t else features[0]
        after = features[t : t + 5].mean(0)
        wanted = torch.cat((before, after, (after - before).abs()))
        torch.testing.assert_close(found[t], wanted.double(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("scores", "threshold", "peaks"),
    [
        ([0, 5, 0, 0, 0, 0, 4, 0], 1, [1, 6]),
        ([0, 5, 0, 0, 0, 4, 0], 1, [1]),  # within four frames of a higher one
        ([3, 3, 3], 3, [0]),
        ([0, 0.9, 0], 1, []),
        ([0, 1, 2, 3, 4, 5], 1, [5]),
    ],
)
def test_find_peaks(scores: list[float], threshold: float, peaks: list[int]) -> None:
    assert find_peaks(torch.tensor(scores, dtype=torch.float64), threshold) == peaks


def test_name_truth_is_in_seconds(fitting: list[LabelledSequence]) -> None:
    assert name_truth(fitting)["sequence-0002"] == BoundaryTruth(6.0, (1.4, 3.0, 4.7))


def test_sequences_without_boundaries_are_accepted(fitting: list[LabelledSequence]) -> None:
    quiet = LabelledSequence(sequence(60, (30,), 5).features, (), torch.zeros(59), torch.zeros(59))
    probe = probe_boundaries([*fitting, quiet], [quiet], "levels", f1)
    assert set(probe.predictions) == {"sequence-0000"}
