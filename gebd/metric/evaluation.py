"""The result of an evaluation: `Evaluation`, with its definition and coverage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from gebd.annotations.records import MIN_CONSISTENCY
from gebd.metric.bootstrap import Resampled, bootstrap
from gebd.metric.matching import f1_of
from schemas.intervals import Interval, interval_of

Missing = Literal["penalise", "skip"]
Unit = Literal["seconds", "frames"]
Matching = Literal["greedy", "optimal"]

_Value = TypeVar("_Value")
TOLERANCE_DIGITS = 10


class ByTolerance(dict[float, _Value]):
    """Values by tolerance; keys are rounded to ten digits, so that a sum like 0.15000000000000002 is found."""

    def __missing__(self, tolerance: float) -> _Value:
        rounded = round(float(tolerance), TOLERANCE_DIGITS)
        if rounded not in self:
            raise KeyError(tolerance)
        return self[rounded]


class VideoStatus(StrEnum):
    """How an annotated video was evaluated."""

    SCORED = "scored"
    EMPTY = "empty"  # no predicted boundary inside the video: rater 0's boundaries count as missed
    MISSING = "missing"  # not predicted: likewise
    SKIPPED = "skipped"  # not predicted, and skipped on request
    LOW_CONSISTENCY = "low_consistency"  # skipped: its raters agree too little


@dataclass(frozen=True)
class Definition:
    """A variant of F1. `tolerances` are fractions of the duration, or seconds if `absolute`."""

    tolerances: tuple[float, ...]
    absolute: bool = False
    missing: Missing = "penalise"
    unit: Unit = "seconds"
    matching: Matching = "greedy"
    min_consistency: float = MIN_CONSISTENCY

    @property
    def name(self) -> str:
        """`official`, or its deviations from the official definition."""
        parts = []
        if self.unit == "frames":
            parts.append("frames")
        if self.absolute:
            parts.append("tolerances in seconds")
        if self.missing == "skip":
            parts.append("missing videos skipped")
        if self.matching == "optimal":
            parts.append("optimal matching")
        if self.min_consistency != MIN_CONSISTENCY:
            parts.append(f"consistency from {self.min_consistency:g}")
        return ", ".join(parts) or "official"


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of V annotated videos, in the order of the annotations, at T tolerances.

    `video_ids` (V,), `status` (V,); `predicted` and `detected` (V,): detections before and after dropping those outside
    the video; `hits`, `positives` and `rater` (V, T): of the best rater, and its number (-1 if none was compared);
    `marks` and `raters` (V,): boundaries of all raters, and how many raters there are.
    """

    video_ids: tuple[str, ...]
    status: tuple[VideoStatus, ...]
    predicted: npt.NDArray[np.int64]
    detected: npt.NDArray[np.int64]
    hits: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]
    rater: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]
    raters: npt.NDArray[np.int64]

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """(V,) whether a video counts in the score."""
        return np.array([s not in (VideoStatus.SKIPPED, VideoStatus.LOW_CONSISTENCY) for s in self.status], dtype=bool)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """F1, precision and recall by tolerance, with intervals and coverage.

    `f1`, `precision` and `recall` map every tolerance to its score; `average_f1` is the mean of `f1`. Intervals contain
    `confidence` of `resamples` bootstrap samples over videos; with fewer than two videos they are NaN. `coverage` is
    the share of the annotated videos that were predicted, among those whose raters agree enough to count. `unknown` are
    predicted videos without annotation.
    """

    definition: Definition
    counts: Counts
    unknown: tuple[str, ...]
    resamples: int
    seed: int
    confidence: float

    @cached_property
    def _scores(self) -> dict[float, tuple[float, float, float]]:
        chosen = self.counts.counted
        hits = self.counts.hits[chosen].sum(axis=0).tolist()
        positives = self.counts.positives[chosen].sum(axis=0).tolist()
        detected = int(self.counts.detected[chosen].sum())
        return {
            tolerance: f1_of(hits[n], detected, positives[n]) for n, tolerance in enumerate(self.definition.tolerances)
        }

    @cached_property
    def f1(self) -> ByTolerance[float]:
        """F1 by tolerance."""
        return ByTolerance({tolerance: score[2] for tolerance, score in self._scores.items()})

    @cached_property
    def precision(self) -> ByTolerance[float]:
        """Share of detections that are hits, by tolerance; 0 without detections."""
        return ByTolerance({tolerance: score[0] for tolerance, score in self._scores.items()})

    @cached_property
    def recall(self) -> ByTolerance[float]:
        """Share of boundaries that are hit, by tolerance; 1 without boundaries."""
        return ByTolerance({tolerance: score[1] for tolerance, score in self._scores.items()})

    @property
    def average_f1(self) -> float:
        """Mean of F1 over the tolerances."""
        return float(
            np.mean(list(self.f1.values()))
        )  # as in the official notebook: a plain sum differs in the last bit

    @property
    def num_annotated(self) -> int:
        """Number of annotated videos whose raters agree enough, predicted or not."""
        return sum(status is not VideoStatus.LOW_CONSISTENCY for status in self.counts.status)

    @property
    def num_predicted(self) -> int:
        """Number of those videos that are predicted."""
        return sum(status in (VideoStatus.SCORED, VideoStatus.EMPTY) for status in self.counts.status)

    @property
    def coverage(self) -> float:
        """num_predicted / num_annotated; NaN without annotated videos."""
        return self.num_predicted / self.num_annotated if self.num_annotated else math.nan

    @property
    def boundaries_per_video(self) -> float:
        """Mean number of detections inside a predicted video; NaN without one."""
        detected = int(self.counts.detected[self.counts.counted].sum())
        return detected / self.num_predicted if self.num_predicted else math.nan

    @property
    def marks_per_video(self) -> float:
        """Mean number of boundaries that a rater marked in a video that counts; NaN without one."""
        raters = int(self.counts.raters[self.counts.counted].sum())
        return int(self.counts.marks[self.counts.counted].sum()) / raters if raters else math.nan

    @cached_property
    def resampled(self) -> Resampled:
        """Scores of every bootstrap sample, arrays (resamples, T); drawn from `seed` on first use."""
        c, chosen = self.counts, self.counts.counted
        return bootstrap(
            c.hits[chosen], c.positives[chosen], c.detected[chosen], resamples=self.resamples, seed=self.seed
        )

    @cached_property
    def f1_interval(self) -> ByTolerance[Interval]:
        """Confidence interval of F1 by tolerance."""
        return self._intervals(self.resampled.f1)

    @cached_property
    def precision_interval(self) -> ByTolerance[Interval]:
        """Confidence interval of precision by tolerance."""
        return self._intervals(self.resampled.precision)

    @cached_property
    def recall_interval(self) -> ByTolerance[Interval]:
        """Confidence interval of recall by tolerance."""
        return self._intervals(self.resampled.recall)

    @cached_property
    def average_f1_interval(self) -> Interval:
        """Confidence interval of average_f1."""
        return interval_of(self.resampled.f1.mean(axis=1), self.confidence)

    def _intervals(self, scores: npt.NDArray[np.float64]) -> ByTolerance[Interval]:
        found = enumerate(self.definition.tolerances)
        return ByTolerance({t: interval_of(scores[:, n], self.confidence) for n, t in found})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per tolerance: f1, precision and recall, each with the bounds of its interval, and the coverage."""
        columns: dict[str, list[float]] = {}
        for name in ("f1", "precision", "recall"):
            intervals: dict[float, Interval] = getattr(self, f"{name}_interval")
            columns[name] = list(getattr(self, name).values())
            columns[f"{name}_low"] = [interval.low for interval in intervals.values()]
            columns[f"{name}_high"] = [interval.high for interval in intervals.values()]
        columns["coverage"] = [self.coverage] * len(self.definition.tolerances)
        return pd.DataFrame(columns, index=pd.Index(self.definition.tolerances, name="tolerance"))

    @cached_property
    def per_video(self) -> pd.DataFrame:
        """One row per annotated video, index `video_id`.

        `status` (see VideoStatus), `predicted` and `detected` (detections, and those inside the video), and for every
        tolerance `hits@t`, `positives@t`, `rater@t` (the best one, -1 if none was compared) and `f1@t`.
        """
        c = self.counts
        columns: dict[str, object] = {
            "status": [status.value for status in c.status],
            "predicted": c.predicted,
            "detected": c.detected,
        }
        detected = c.detected.tolist()
        for n, tolerance in enumerate(self.definition.tolerances):
            hits, positives = c.hits[:, n].tolist(), c.positives[:, n].tolist()
            columns[f"hits@{tolerance:g}"] = c.hits[:, n]
            columns[f"positives@{tolerance:g}"] = c.positives[:, n]
            columns[f"rater@{tolerance:g}"] = c.rater[:, n]
            columns[f"f1@{tolerance:g}"] = [f1_of(*one)[2] for one in zip(hits, detected, positives, strict=True)]
        return pd.DataFrame(columns, index=pd.Index(c.video_ids, name="video_id"))

    def __str__(self) -> str:
        first = self.definition.tolerances[0]
        smallest = f"F1@{first:g} {self.f1[first]:.3f} {self.f1_interval[first]}".rstrip()
        average = f"average {self.average_f1:.3f} {self.average_f1_interval}".rstrip()
        return (
            f"{smallest}, {average} ({self.definition.name}); {self.num_predicted} of {self.num_annotated} annotated "
            f"videos predicted, coverage {self.coverage:.3f}; {self.boundaries_per_video:.1f} boundaries a video, a "
            f"rater marks {self.marks_per_video:.1f}"
        )

    __repr__ = __str__
