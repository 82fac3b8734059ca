"""Boundaries found by probes, scored by the official metric, and the same number of evenly spread boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.metric.baselines import uniform_matched
from gebd.metric.evaluation import Evaluation
from gebd.metric.f1 import evaluate
from gebd.metric.predictions import Predictions
from schemas.intervals import Interval, interval_of
from training.evaluation.boundaries import BoundaryTruth

TOLERANCE = 0.05
"""Fraction of the duration within which a boundary counts as found."""


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """F1, precision and recall at TOLERANCE, with 95 % intervals by bootstrap over videos.

    `lead`: F1 of the first method minus this F1, with its interval over the same resampled videos; None for the first
    method.
    """

    f1: float
    f1_interval: Interval
    precision: float
    recall: float
    boundaries_per_video: float
    lead: float | None
    lead_interval: Interval | None


def boundary_f1(predictions: Predictions, truth: Mapping[str, BoundaryTruth]) -> float:
    """Official F1 at TOLERANCE of predicted seconds by video."""
    return evaluate(predictions, _annotations(truth), (TOLERANCE,)).f1[TOLERANCE]


def spread_evenly(predictions: Predictions, truth: Mapping[str, BoundaryTruth]) -> dict[str, list[float]]:
    """Evenly spaced boundaries, as many in every video as were predicted."""
    return uniform_matched(predictions, _annotations(truth))


def compare_boundaries(
    methods: Mapping[str, Predictions], truth: Mapping[str, BoundaryTruth]
) -> dict[str, BoundaryScores]:
    """Score predictions by method and compare the first method with all others."""
    annotations = _annotations(truth)
    found = {name: evaluate(boundaries, annotations, (TOLERANCE,)) for name, boundaries in methods.items()}
    first = next(iter(found.values()))
    return {name: _scores(evaluation, first) for name, evaluation in found.items()}


def _scores(found: Evaluation, first: Evaluation) -> BoundaryScores:
    lead, interval = None, None
    if found is not first:
        lead = first.f1[TOLERANCE] - found.f1[TOLERANCE]
        interval = interval_of(first.resampled.f1[:, 0] - found.resampled.f1[:, 0], found.confidence)
    return BoundaryScores(
        found.f1[TOLERANCE],
        found.f1_interval[TOLERANCE],
        found.precision[TOLERANCE],
        found.recall[TOLERANCE],
        float(found.counts.detected.mean()),
        lead,
        interval,
    )


def _annotations(truth: Mapping[str, BoundaryTruth]) -> Annotations:
    return Annotations(
        VideoAnnotation(name, video.duration_seconds, (video.boundary_seconds,)) for name, video in truth.items()
    )
