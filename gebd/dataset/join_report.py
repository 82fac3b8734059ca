"""`JoinReport`: the videos of a dataset, those missing from it, and what its sampling can represent."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gebd.annotations.identity import Join, join_videos, listed, pattern_advice
from gebd.annotations.records import Annotations, AnnotationSummary, Raters
from gebd.annotations.values import shown
from gebd.dataset.index import Boundaries, VideoSamples
from gebd.dataset.labels import HARD
from gebd.metric.evaluation import Evaluation
from gebd.metric.f1 import evaluate
from gebd.metric.picking import BoundaryPicker

_DURATION_TOLERANCE_SECONDS = 0.25
_FPS_TOLERANCE = 0.01
_LITTLE = 0.5
_RATE_TOLERANCE = 0.05
_WIDTH = 80
_LABEL = 24


@dataclass(frozen=True, eq=False)
class SamplingReport:
    """Counts over the samples of all videos.

    rate_hz: as requested, None for frames as stored. stored_hz (V,): mean frames a second in the store. held: samples
    that repeat a frame because the store has none of their own. invalid: samples of damaged frames or in holes. Both
    are included in `samples`.
    """

    rate_hz: float | None
    stored_hz: npt.NDArray[np.float64]
    samples: int
    held: int
    invalid: int

    @property
    def usual_hz(self) -> float:
        """Median over the videos of the stored frames a second."""
        return float(np.nanmedian(self.stored_hz)) if np.isfinite(self.stored_hz).any() else float("nan")

    @property
    def samples_hz(self) -> float:
        """Distinct frames a second that are sampled from a typical video."""
        return self.usual_hz if self.rate_hz is None else min(self.rate_hz, self.usual_hz)

    @property
    def other_rate(self) -> int:
        """Number of videos whose stored rate differs from the median by more than 5 %."""
        return int((np.abs(self.stored_hz / self.usual_hz - 1) > _RATE_TOLERANCE).sum())

    def rows(self) -> list[tuple[str, str]]:
        """Labels and sentences of the report."""
        stored = f"{self.usual_hz:.4g} Hz stored"
        if self.other_rate:
            low, high = np.nanmin(self.stored_hz), np.nanmax(self.stored_hz)
            stored += (
                f", another rate in {self.other_rate} of {len(self.stored_hz)} videos ({low:.4g} to {high:.4g} Hz)"
            )
        asked = "taken as stored" if self.rate_hz is None else f"sampled at {self.rate_hz:g} Hz"
        rows = [("rate", f"{stored}; {asked}")]
        if self.held:
            rows.append(("held samples", f"{_part(self.held, self.samples)}: no frame of their own in the store"))
        if self.invalid:
            rows.append(("not valid", f"{_part(self.invalid, self.samples)}: damaged frames, or no frame near"))
        return rows


@dataclass(frozen=True, eq=False)
class AnnotationJoin:
    """How annotations and a store match. `join`: the matches. `items`: number of videos in the store.

    failed: annotated videos whose extraction failed, with the message. left_out: videos of the annotation file that
    loading dropped. other_duration and other_fps: (annotated, extracted) if they differ by more than 0.25 s or 1 %.
    summary: counts over the joined annotations. boundaries: those of all their raters within their video;
    unrepresented: those without a valid sample within label_sigma_seconds. ceiling: the F1 that perfect labels at this
    sampling reach on the joined videos; ceiling_of_all: with the other videos counted as missed. Both are None if there
    are no marks. advice: how to join more, if less than half is joined.
    """

    join: Join
    annotated: int
    items: int
    failed: Mapping[str, str]
    left_out: int
    other_duration: Mapping[str, tuple[float, float]]
    other_fps: Mapping[str, tuple[float, float]]
    summary: AnnotationSummary
    without_consistency: int
    raters: Raters
    label_sigma_seconds: float
    boundaries: int
    unrepresented: int
    ceiling: Evaluation | None
    ceiling_of_all: Evaluation | None
    advice: str = ""

    @property
    def matched(self) -> int:
        """Number of annotated videos that have features."""
        return len(self.join.items)

    @property
    def unmarked(self) -> bool:
        """Whether no annotated video has a rater, as in a list of videos to predict."""
        return not self.summary.raters_most

    @property
    def coverage(self) -> float:
        """Share of the annotated videos that have features."""
        return self.matched / self.annotated

    def rows(self) -> list[tuple[str, str]]:
        """Labels and sentences of the report."""
        by = ", ".join(f"{rule.value} {n}" for rule, n in Counter(self.join.rules.values()).most_common())
        missing, unused, ambiguous = self.join.missing, self.join.unused, self.join.ambiguous
        summary = self.summary
        rows = [
            ("joined", f"{self.matched} of {self.annotated} annotated videos, coverage {self.coverage:.3f}; by {by}"),
            ("without features", _counted(missing)),
            ("  extraction failed", _counted([f"{name} ({shown(why)})" for name, why in self.failed.items()])),
            ("without annotation", f"{_counted(unused)}" + f" (of {self.items} in the store)" * bool(unused)),
            ("ambiguous", _counted([str(one) for one in ambiguous], "; ")),
            ("left out of the file", _number(self.left_out, " videos")),
            ("other duration", _differences(self.other_duration, "s")),
            ("other fps", _differences(self.other_fps, "fps") + "; joined by time" * bool(self.other_fps)),
            ("raters without mark", _number(summary.empty_raters, "")),
            ("no boundary at all", _number(0 if self.unmarked else summary.videos_without_boundary, " videos")),
            ("outside their video", _number(summary.boundaries_outside, " boundaries")),
            ("low consistency", _number(summary.low_consistency, " videos, which the metric leaves out")),
        ]
        rows += [("to join more", self.advice)] * bool(self.advice)
        rows = [(label, text) for label, text in rows if text != "0"]
        if self.without_consistency and self.raters not in (Raters.ALL, Raters.VOTE) and summary.raters_most > 1:
            rows.append(("consistency not stated", f"{self.without_consistency}: the first raters count as the best"))
        return rows

    def closing_rows(self) -> list[tuple[str, str]]:
        """Labels and sentences on what perfect labels would reach."""
        if self.ceiling is None or self.ceiling_of_all is None:
            return [("marks", "none: these videos can be predicted, but not trained on or evaluated")]
        return [
            (
                "not representable",
                f"{_part(self.unrepresented, self.boundaries)} boundaries: no sample within "
                f"{self.label_sigma_seconds:g} s",
            ),
            ("perfect labels reach", _score(self.ceiling)),
            *[("  missing ones counted", _score(self.ceiling_of_all))] * (self.matched < self.annotated),
        ]


@dataclass(frozen=True, eq=False)
class JoinReport:
    """The content of a dataset; read its text before training. `annotations` is None for a dataset without any."""

    videos: int
    sampling: SamplingReport
    annotations: AnnotationJoin | None

    def __str__(self) -> str:
        rows = [("videos", str(self.videos)), *self.sampling.rows()]
        if self.annotations is not None:
            rows = self.annotations.rows() + self.sampling.rows() + self.annotations.closing_rows()
        return "\n".join(
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent=f"{label:<{_LABEL}}",
                subsequent_indent=" " * _LABEL,
                break_on_hyphens=False,
            )
            for label, text in rows
        )


def report_on_sampling(samples: VideoSamples, rate_hz: float | None) -> SamplingReport:
    """Count over all samples."""
    return SamplingReport(
        rate_hz, samples.stored_hz, len(samples.valid), int(samples.held.sum()), int((~samples.valid).sum())
    )


def report_on_join(
    join: Join,
    annotations: Annotations,
    samples: VideoSamples,
    targets: Boundaries | None,
    labels: tuple[Raters, float],
    failures: pd.DataFrame,
) -> AnnotationJoin:
    """Compare joined annotations with what was extracted and sampled.

    `targets` is None without marks; `labels` are the raters and the sigma of the dataset, `failures` that table of the
    store.
    """
    joined = Annotations([annotations[name] for name in samples.video_ids.tolist()])
    perfect, boundaries, unrepresented = ({}, 0, 0) if targets is None else _perfect(samples, targets)
    missing = Annotations([annotations[name] for name in join.missing])
    failed = join_videos(failures["video_id"].tolist(), missing, pattern=join.pattern).items
    little = len(join.items) < _LITTLE * len(annotations)
    why = dict(zip(failures["video_id"], failures["message"], strict=True))
    return AnnotationJoin(
        join=join,
        annotated=len(annotations),
        items=len(set(join.items.values())) + len(join.unused),
        failed={name: why[item] for name, item in failed.items()},
        left_out=len(annotations.left_out),
        other_duration={
            name: (video.duration_seconds, seconds)
            for (name, video), seconds in zip(joined.items(), samples.extracted_seconds.tolist(), strict=True)
            if abs(video.duration_seconds - seconds) > _DURATION_TOLERANCE_SECONDS
        },
        other_fps={
            name: (video.fps, fps)
            for (name, video), fps in zip(joined.items(), samples.extracted_fps.tolist(), strict=True)
            if video.fps is not None and abs(video.fps - fps) > _FPS_TOLERANCE * video.fps
        },
        summary=joined.summary(),
        without_consistency=sum(video.consistency is None for video in joined.values()),
        raters=labels[0],
        label_sigma_seconds=labels[1],
        boundaries=boundaries,
        unrepresented=unrepresented,
        ceiling=None if targets is None else evaluate(perfect, annotations, missing="skip"),
        ceiling_of_all=None if targets is None else evaluate(perfect, annotations),
        advice=pattern_advice(join, annotations) if little and join.missing and join.unused else "",
    )


def _perfect(samples: VideoSamples, targets: Boundaries) -> tuple[dict[str, list[float]], int, int]:
    """Return the boundaries picked from perfect labels, by video, and the counts of AnnotationJoin.

    The counts are `boundaries` and `unrepresented`.
    """
    picker = BoundaryPicker(threshold=HARD, apart_seconds=0.0)
    perfect, boundaries, unrepresented = {}, 0, 0
    for video, name in enumerate(samples.video_ids.tolist()):
        part = samples.of(video)
        times = samples.time_seconds[part][samples.valid[part]]
        soft, hard, _ = targets.targets(video, times)
        perfect[name] = picker.pick(times, np.where(hard > 0, soft, 0.0).astype(np.float64))
        marked = targets.of_raters(video)
        marked = marked[(marked >= 0) & (marked <= samples.duration_seconds[video])]
        boundaries += len(marked)
        unrepresented += int((_distance(marked, times) > targets.sigma_seconds * (1 + 1e-6)).sum())
    return perfect, boundaries, unrepresented


def _distance(times: npt.NDArray[np.float64], samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance from each time to the nearest sample; infinite without samples."""
    around = np.concatenate([[-np.inf], samples, [np.inf]])
    after = np.searchsorted(around, times)
    nearest: npt.NDArray[np.float64] = np.minimum(np.abs(around[after] - times), np.abs(times - around[after - 1]))
    return nearest


def _counted(names: Sequence[str], joint: str = ", ") -> str:
    return f"{len(names)}: {listed(names, joint=joint)}" if names else "0"


def _number(count: int, of: str) -> str:
    return f"{count}{of}" if count else "0"


def _differences(found: Mapping[str, tuple[float, float]], unit: str) -> str:
    return _counted([f"{name} ({a:.4g} {unit} annotated, {b:.4g} extracted)" for name, (a, b) in found.items()], "; ")


def _score(found: Evaluation) -> str:
    first = found.definition.tolerances[0]
    return (
        f"F1@{first:g} {found.f1[first]:.3f}, average {found.average_f1:.3f} ({found.num_predicted} of "
        f"{found.num_annotated} videos, coverage {found.coverage:.3f})"
    )


def _part(count: int, total: int) -> str:
    return f"{count} of {total} ({count / max(total, 1):.2%})"
