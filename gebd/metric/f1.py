"""F1 at relative distance, as defined by the official evaluation of the task, and its published variants."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import MIN_CONSISTENCY, Annotations, PerRater, VideoAnnotation
from gebd.annotations.values import one_of
from gebd.metric.evaluation import (
    TOLERANCE_DIGITS,
    Counts,
    Definition,
    Evaluation,
    Matching,
    Missing,
    Unit,
    VideoStatus,
)
from gebd.metric.matching import best_rater, greedy_hits, optimal_hits
from gebd.metric.predictions import Predictions, checked_predictions
from schemas.errors import UsageError

TOLERANCES = tuple(n / 100 for n in range(5, 51, 5))  # the literals 0.05, 0.10, ...: products of 0.05 differ in a bit

_MATCHERS = {"greedy": greedy_hits, "optimal": optimal_hits}


def evaluate(
    predictions: Predictions | str | os.PathLike[str],
    annotations: Source | Annotations,
    tolerances: Sequence[float] = TOLERANCES,
    *,
    tolerances_seconds: Sequence[float] | None = None,
    missing: Missing = "penalise",
    unit: Unit = "seconds",
    matching: Matching = "greedy",
    min_consistency: float = MIN_CONSISTENCY,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Evaluation:
    """Evaluate predicted boundaries, `{video id: [seconds, ...]}`, against annotations; by default as officially.

    `tolerances` are fractions of a video's duration; `tolerances_seconds`, if given, replaces them with the same
    seconds for every video. They are sorted, and rounded to ten digits so that `f1[0.15]` finds its value.
    `missing="skip"` skips videos without a prediction instead of counting their boundaries as missed. With
    `unit="frames"` predictions are 0-based frame numbers, compared with the annotated ones (see `in_frames`): those
    outside 0 to num_frames - 1 are dropped, and a tolerance is a fraction of num_frames. `matching="optimal"` finds the
    maximum number of hits. Videos whose raters agree less than `min_consistency` are skipped; videos without a stated
    consistency are not.

    `confidence` intervals come from `resamples` bootstrap samples over videos, drawn from `seed` on first use. Raises
    UsageError if an option is invalid, predictions are not numbers, annotations have no marks, or `unit="frames"` meets
    annotations without fps.
    """
    definition = Definition(
        _tolerances(tolerances if tolerances_seconds is None else tolerances_seconds),
        tolerances_seconds is not None,
        one_of("missing", missing, get_args(Missing)),
        one_of("unit", unit, get_args(Unit)),
        one_of("matching", matching, get_args(Matching)),
        min_consistency,
    )
    if resamples < 1 or not 0 < confidence < 1:
        raise UsageError(
            f"expected resamples of 1 or more and confidence between 0 and 1; got {resamples} and {confidence}. "
            "Correct the one that is out of range"
        )
    truth = load_annotations(annotations)
    truth.require_marks("evaluate by")
    found = checked_predictions(predictions)
    counts = _count(found, truth, definition)
    unknown = tuple(video_id for video_id in found if video_id not in truth)
    return Evaluation(definition, counts, unknown, resamples, seed, confidence)


def _count(found: Mapping[str, list[float]], truth: Annotations, definition: Definition) -> Counts:
    videos, tolerances = len(truth), len(definition.tolerances)
    statuses: list[VideoStatus] = []
    predicted, detected = np.zeros((2, videos), dtype=np.int64)
    rater = np.full((videos, tolerances), -1, dtype=np.int64)
    hits, positives = np.zeros((2, videos, tolerances), dtype=np.int64)
    marks, raters = np.zeros((2, videos), dtype=np.int64)
    for n, (video_id, video) in enumerate(truth.items()):
        times = found.get(video_id)
        marks[n], raters[n] = sum(map(len, video.rater_seconds)), video.num_raters
        predicted[n] = len(times or ())
        if video.consistency_average is not None and video.consistency_average < definition.min_consistency:
            statuses.append(VideoStatus.LOW_CONSISTENCY)
        elif times is None and definition.missing == "skip":
            statuses.append(VideoStatus.SKIPPED)
        else:
            measured = _measure(video, definition)
            inside = [time for time in times or () if 0 <= time <= measured.end]
            if inside:
                statuses.append(VideoStatus.SCORED)
                detected[n] = len(inside)
                matcher = _MATCHERS[definition.matching]
                best = best_rater(measured.raters, inside, measured.limits, matcher)
                rater[n], hits[n], positives[n] = zip(*best, strict=True)
            else:
                statuses.append(VideoStatus.MISSING if times is None else VideoStatus.EMPTY)
                positives[n] = len(measured.raters[0])  # official: rater 0, even if another marked nothing
    return Counts(tuple(truth), tuple(statuses), predicted, detected, hits, positives, rater, marks, raters)


@dataclass(frozen=True)
class _Measured:
    """A video in the unit of the evaluation: boundaries, last valid detection, and distance limit per tolerance."""

    raters: PerRater
    end: float
    limits: list[float]


def _measure(video: VideoAnnotation, definition: Definition) -> _Measured:
    if definition.unit == "seconds":
        raters, end, extent, a_second = video.rater_seconds, video.duration_seconds, video.duration_seconds, 1.0
    else:
        fps, num_frames = video.rate()
        raters, end, extent, a_second = video.frames(), float(num_frames - 1), float(num_frames), fps
    scale = a_second if definition.absolute else extent
    return _Measured(raters, end, [tolerance * scale for tolerance in definition.tolerances])


def detections_inside(times: Sequence[float], video: VideoAnnotation, unit: Unit = "seconds") -> list[float]:
    """Return the detections that the metric keeps: those inside the video."""
    end = video.duration_seconds if unit == "seconds" else video.rate()[1] - 1
    return [float(time) for time in times if 0 <= time <= end]


def in_frames(predictions: Predictions, annotations: Source | Annotations) -> dict[str, list[float]]:
    """Convert predictions in seconds to frame numbers, as the annotations count: min(num_frames - 1, floor(t fps)).

    Videos without annotation are omitted because their rate is unknown; times outside a video become -1.
    """
    truth = load_annotations(annotations)
    found = {video_id: times for video_id, times in checked_predictions(predictions).items() if video_id in truth}
    return {
        video_id: [
            truth[video_id].frame_at(time) if 0 <= time <= truth[video_id].duration_seconds else -1.0 for time in times
        ]
        for video_id, times in found.items()
    }


def _tolerances(values: Sequence[float]) -> tuple[float, ...]:
    found = sorted({round(float(value), TOLERANCE_DIGITS) for value in values})
    if not found or not all(0 <= value < float("inf") for value in found):
        raise UsageError(f"tolerances: expected one or more finite numbers from 0 on; got {list(values)}. Correct them")
    return tuple(found)
