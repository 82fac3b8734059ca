"""Boundaries of probes under the official metric, compared with cases counted by hand."""

from __future__ import annotations

import pytest

from jobs.weights.boundary_scores import boundary_f1, compare_boundaries, spread_evenly
from training.evaluation.boundaries import BoundaryTruth

TRUTH = {"a": BoundaryTruth(10.0, (2.0, 6.0)), "b": BoundaryTruth(10.0, (5.0,)), "c": BoundaryTruth(10.0, (1.0, 9.0))}
FOUND = {"a": [2.4, 7.0], "b": [5.5], "c": [4.0, 8.6, 9.0]}  # 3 hits within half a second, of 6 found and 5 wanted


def test_boundary_f1_is_the_official_one() -> None:
    assert boundary_f1(FOUND, TRUTH) == pytest.approx(2 * 3 / (6 + 5))


def test_spread_evenly_has_as_many_in_every_video() -> None:
    found = spread_evenly(FOUND, TRUTH)
    assert found == {"a": pytest.approx([10 / 3, 20 / 3]), "b": [5.0], "c": [2.5, 5.0, 7.5]}


def test_compare_boundaries_compares_all_with_the_first() -> None:
    perfect = {name: list(video.boundary_seconds) for name, video in TRUTH.items()}
    none: dict[str, list[float]] = {name: [] for name in TRUTH}
    scores = compare_boundaries({"mine": FOUND, "perfect": perfect, "none": none}, TRUTH)
    mine, best, nothing = scores["mine"], scores["perfect"], scores["none"]
    assert mine.f1 == pytest.approx(6 / 11) and mine.lead is None and mine.lead_interval is None
    assert (mine.precision, mine.recall, mine.boundaries_per_video) == (0.5, pytest.approx(0.6), 2.0)
    assert mine.f1_interval.low <= mine.f1 <= mine.f1_interval.high
    assert best.f1 == 1.0 and best.lead == pytest.approx(6 / 11 - 1)
    assert best.lead_interval is not None and best.lead_interval.high <= 0
    assert nothing.f1 == 0.0 and nothing.lead == pytest.approx(6 / 11)
