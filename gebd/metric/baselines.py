"""Baselines for a score: predictors that see no frame, and a human, evaluated like the method.

On Kinetics-GEBD fixed times reach an F1 at 0.05 of 0.75, and one human against the others 0.81: a score means little
without them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations
from gebd.metric.clock import Clock, fit_clock
from gebd.metric.evaluation import Evaluation
from gebd.metric.f1 import detections_inside, evaluate, in_frames
from gebd.metric.predictions import Predictions, checked_predictions
from schemas.errors import UsageError
from schemas.intervals import interval_of


def uniform(annotations: Source | Annotations, n: int) -> dict[str, list[float]]:
    """Return `n` boundaries per video, in seconds, that divide it into n + 1 equal parts."""
    truth = load_annotations(annotations)
    _check_count(n)
    return {video_id: _even(n, video.duration_seconds) for video_id, video in truth.items()}


def uniform_matched(predictions: Predictions, annotations: Source | Annotations) -> dict[str, list[float]]:
    """Return as many evenly spaced boundaries, in seconds, as `predictions` (in seconds) have inside each video.

    Videos without a prediction are omitted, so coverage is the same.
    """
    truth = load_annotations(annotations)
    counts = _counts(predictions, truth)
    return {video_id: _even(n, truth[video_id].duration_seconds) for video_id, n in counts.items()}


def random_boundaries(
    annotations: Source | Annotations, n: int | Predictions, *, seed: int = 0
) -> dict[str, list[float]]:
    """Draw boundaries uniformly over each video, in seconds, sorted: `n` of them, or as many as the predictions have.

    The boundaries of a video depend only on the seed and its id, not on the other videos.
    """
    truth = load_annotations(annotations)
    if isinstance(n, int):
        _check_count(n)
        counts = dict.fromkeys(truth, n)
    else:
        counts = _counts(n, truth)
    found = {}
    for video_id, count in counts.items():
        rng = np.random.default_rng([seed, zlib.crc32(video_id.encode())])
        found[video_id] = sorted(rng.uniform(0, truth[video_id].duration_seconds, count).tolist())
    return found


@dataclass(frozen=True)
class LeftOut:
    """One rater as the method: `predictions` in seconds, `annotations` of the other raters."""

    predictions: dict[str, list[float]]
    annotations: Annotations


def leave_one_rater_out(annotations: Source | Annotations, *, rater: int | None = None, seed: int = 0) -> LeftOut:
    """Return one human against the others: a rater's boundaries as predictions, with annotations of the other raters.

    A rater is drawn for every video from `seed` and the video's id, unless `rater` gives one (0-based). Videos with a
    single rater, or without that one, are listed in `annotations.left_out`.
    """
    truth = load_annotations(annotations)
    left_out: dict[str, str] = dict(truth.left_out)
    chosen: dict[str, int] = {}
    for video_id, video in truth.items():
        if video.num_raters < 2 or (rater is not None and not 0 <= rater < video.num_raters):
            left_out[video_id] = f"marked by {video.num_raters} raters, too few to leave one out"
        elif rater is not None:
            chosen[video_id] = rater
        else:
            rng = np.random.default_rng([seed, zlib.crc32(video_id.encode())])
            chosen[video_id] = int(rng.integers(video.num_raters))
    predictions = {video_id: list(truth[video_id].rater_seconds[n]) for video_id, n in chosen.items()}
    others = [truth[video_id].without_rater(n) for video_id, n in chosen.items()]
    return LeftOut(predictions, Annotations(others, format=truth.format, left_out=left_out))


def _check_count(n: int) -> None:
    if n < 0:
        raise UsageError(f"expected 0 boundaries or more; got {n}. Give a number that is not negative")


def _even(n: int, duration_seconds: float) -> list[float]:
    return [duration_seconds * k / (n + 1) for k in range(1, n + 1)]


def _counts(predictions: Predictions, truth: Annotations) -> dict[str, int]:
    return {
        video_id: len(detections_inside(times, truth[video_id]))
        for video_id, times in checked_predictions(predictions).items()
        if video_id in truth
    }


@dataclass(frozen=True, eq=False)
class Comparison:
    """A method and its baselines, evaluated by one definition. `evaluations` by name, the method first.

    `human` is evaluated against one rater fewer than the others, so no difference is reported for it. `clock` is the
    one behind the baseline of that name.
    """

    evaluations: dict[str, Evaluation]
    clock: Clock | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per method, index `method`.

        `f1@t` at the smallest tolerance t, `average_f1`, `precision@t` and `recall@t`, each with the bounds of its
        interval (`_low`, `_high`; NaN with fewer than two videos); `gain@t`: the method's F1 minus this one's, with the
        interval of the difference over the same resampled videos (NaN for the human and the method itself);
        `boundaries_per_video`, of predicted videos, and `marks_per_video`, of a rater; `coverage`, `predicted` and
        `annotated` videos.
        """
        method = next(iter(self.evaluations.values()))
        rows = [_row(found, method, name) for name, found in self.evaluations.items()]
        return pd.DataFrame(rows, index=pd.Index(self.evaluations, name="method"))

    def __str__(self) -> str:
        """The table without precision, recall and interval bounds, which would not fit a line."""
        kept = self.table.filter(regex=r"^(f1@.*\d$|average_f1$|gain@.*\d$|boundaries_per_video$|coverage$)")
        named = kept.rename(columns={"boundaries_per_video": "per_video"})
        marks = next(iter(self.evaluations.values())).marks_per_video
        clock = "" if self.clock is None else f"\nclock: {self.clock}"
        return f"{named.to_string(float_format='{:.3f}'.format)}\na rater marks {marks:.1f} per video{clock}"


def _row(found: Evaluation, method: Evaluation, name: str) -> dict[str, float | int]:
    first = found.definition.tolerances[0]
    row: dict[str, float | int] = {}
    for score in ("f1", "precision", "recall"):
        interval = getattr(found, f"{score}_interval")[first]
        row[f"{score}@{first:g}"] = getattr(found, score)[first]
        row[f"{score}@{first:g}_low"], row[f"{score}@{first:g}_high"] = interval.low, interval.high
    row["average_f1"] = found.average_f1
    row["average_f1_low"] = found.average_f1_interval.low
    row["average_f1_high"] = found.average_f1_interval.high
    gain = (np.nan, np.nan, np.nan)
    if found is not method and name != "human":
        interval = interval_of(method.resampled.f1[:, 0] - found.resampled.f1[:, 0], found.confidence)
        gain = (method.f1[first] - found.f1[first], interval.low, interval.high)
    row[f"gain@{first:g}"], row[f"gain@{first:g}_low"], row[f"gain@{first:g}_high"] = gain
    row["boundaries_per_video"], row["marks_per_video"] = found.boundaries_per_video, found.marks_per_video
    row["coverage"], row["predicted"], row["annotated"] = found.coverage, found.num_predicted, found.num_annotated
    return row


def compare_with_baselines(
    predictions: Predictions | str | os.PathLike[str],
    annotations: Source | Annotations,
    *,
    name: str = "method",
    training: Source | Annotations | Clock | None = None,
    uniform_counts: Sequence[int] = (5, 8, 9),
    random_count: int = 8,
    baseline_seed: int = 0,
    **options: Any,
) -> Comparison:
    """Evaluate predictions together with their baselines; `options` are those of `evaluate`, the same for all.

    Baselines: `uniform-n` for every n in `uniform_counts`, `uniform-matched`, `random-n` with `random_count`,
    `random-matched`, `clock`, the best fixed times on the `training` annotations, if they are given (or a `Clock`), and
    `human` (one rater against the rest) if videos have several raters. With `unit="frames"`, predictions are frame
    numbers and the baselines are converted to them.

    Raises UsageError as `evaluate` does, or if `name` is that of a baseline.
    """
    truth = load_annotations(annotations)
    found = checked_predictions(predictions)
    in_seconds = found if options.get("unit") != "frames" else _in_seconds(found, truth)
    rivals = {f"uniform-{n}": uniform(truth, n) for n in uniform_counts}
    rivals["uniform-matched"] = uniform_matched(in_seconds, truth)
    rivals[f"random-{random_count}"] = random_boundaries(truth, random_count, seed=baseline_seed)
    rivals["random-matched"] = random_boundaries(truth, in_seconds, seed=baseline_seed)
    if name in (*rivals, "clock", "human"):
        raise UsageError(f"name: expected a name for the method; got {name!r}, the name of a baseline. Choose another")
    evaluations = {name: evaluate(found, truth, **options)}
    clock = None
    if isinstance(training, Clock):
        clock = training
    elif training is not None:
        judged = evaluations[name].definition
        clock = fit_clock(training, tolerance=judged.tolerances[0], absolute=judged.absolute)
    if clock is not None:
        rivals["clock"] = clock.boundaries(truth)
    for rival, boundaries in rivals.items():
        evaluations[rival] = evaluate(_in_unit(boundaries, truth, options), truth, **options)
    human = leave_one_rater_out(truth, seed=baseline_seed)
    if human.predictions:
        boundaries = _in_unit(human.predictions, human.annotations, options)
        evaluations["human"] = evaluate(boundaries, human.annotations, **options)
    return Comparison(evaluations, clock)


def _in_unit(
    boundaries: dict[str, list[float]], truth: Annotations, options: Mapping[str, Any]
) -> dict[str, list[float]]:
    return in_frames(boundaries, truth) if options.get("unit") == "frames" else boundaries


def _in_seconds(found: Mapping[str, list[float]], truth: Annotations) -> dict[str, list[float]]:
    """Convert frame numbers to the middle of the frame in seconds; those outside the video are dropped."""
    return {
        video_id: [
            min((n + 0.5) / truth[video_id].rate()[0], truth[video_id].duration_seconds)
            for n in detections_inside(times, truth[video_id], "frames")
        ]
        for video_id, times in found.items()
        if video_id in truth
    }
