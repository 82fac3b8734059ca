"""The best clock: boundaries at fixed times, the same in every video. It looks at no frame; a method has to beat it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import MIN_CONSISTENCY, Annotations, VideoAnnotation

_VIDEOS = 1000  # enough to tell clocks apart, and a search over them takes seconds
_PAIRS = 1 << 20  # of a boundary and a detection: what is compared at a time
_PERIODS = np.geomspace(0.2, 4.0, 25)  # in mean distances of a rater's boundaries
_PHASES = np.arange(1, 9) / 8  # in periods
_ROUNDS, _KEPT = 3, 3  # of refining, and how many of the best are refined in each

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clock:
    """A boundary at `phase_seconds` and every `period_seconds` after it, in every video. `videos`: it was fitted on."""

    period_seconds: float
    phase_seconds: float
    videos: int = 0

    def boundaries(self, annotations: Source | Annotations) -> dict[str, list[float]]:
        """Return its boundaries within each video, in seconds."""
        truth = load_annotations(annotations)
        return {video_id: self.within(video.duration_seconds).tolist() for video_id, video in truth.items()}

    def within(self, duration_seconds: float) -> Float64Array:
        """Return its boundaries from 0 to a duration."""
        count = int(max(0.0, duration_seconds - self.phase_seconds) / self.period_seconds) + 2
        times: Float64Array = self.phase_seconds + self.period_seconds * np.arange(count, dtype=np.float64)
        return times[times <= duration_seconds]

    def __str__(self) -> str:
        return f"{self.phase_seconds:.2f} s, then every {self.period_seconds:.2f} s"


def fit_clock(
    annotations: Source | Annotations, *, tolerance: float = 0.05, absolute: bool = False, seed: int = 0
) -> Clock:
    """Return the clock of the highest F1 on these annotations, as `evaluate` counts greedily and in seconds.

    tolerance: fraction of the duration, or seconds if `absolute`. The search refines period and phase around the best
    of a grid; of more than 1,000 videos it sees as many, drawn by seed. Fit it on training annotations: fitted on those
    that judge it, it would know the answers. Raises UsageError if there are no marks.
    """
    truth = load_annotations(annotations)
    truth.require_marks("fit a clock to")
    videos = [
        video
        for video in truth.values()
        if video.consistency_average is None or video.consistency_average >= MIN_CONSISTENCY
    ]
    if len(videos) > _VIDEOS:
        videos = [videos[n] for n in np.random.default_rng(seed).permutation(len(videos))[:_VIDEOS]]
    marks = sum(len(times) for video in videos for times in video.rater_seconds)
    seconds = sum(video.duration_seconds * video.num_raters for video in videos)
    if not marks:
        return Clock(max(video.duration_seconds for video in truth.values()), 0.0, len(videos))
    distance = seconds / marks
    blocks = [_Block(block, tolerance, absolute) for block in _blocks(videos, distance * _PERIODS[0])]
    period, phase = _search(blocks, distance)
    return Clock(period, phase, len(videos))


def _search(blocks: Sequence[_Block], distance: float) -> tuple[float, float]:
    """Return the best period and phase found; `distance`: mean seconds between the boundaries of a rater."""
    scores: dict[tuple[float, float], float] = {}

    def tried(clocks: Iterable[tuple[float, float]]) -> None:
        for period, phase in clocks:
            clock = (round(period, 6), round(phase, 6))
            if clock[1] >= 0 and clock not in scores:
                scores[clock] = _f1(blocks, Clock(*clock))

    # Boundaries two tolerances apart, the first one tolerance from the start, leave no time out of reach.
    reach = 2 * float(np.median([limit for block in blocks for limit in block.limits.tolist()]))
    periods = (distance * _PERIODS).tolist()
    periods += [reach] * (reach > periods[0])
    tried((period, period * part) for period in periods for part in _PHASES.tolist())
    step, shift = float(_PERIODS[1] / _PERIODS[0]) - 1, float(_PHASES[0])
    around = np.linspace(-1, 1, 5).tolist()
    for _ in range(_ROUNDS):
        step, shift = step / 2, shift / 2
        for period, phase in sorted(scores, key=lambda one: -scores[one])[:_KEPT]:
            tried((period * (1 + step * a), phase + period * shift * b) for a in around for b in around)
    return max(scores, key=lambda one: scores[one])


class _Block:
    """Videos of like durations, as arrays: raters (P, M) of boundaries padded with -inf, in stored order."""

    def __init__(self, videos: list[VideoAnnotation], tolerance: float, absolute: bool) -> None:
        raters = [times for video in videos for times in video.rater_seconds]
        self.num_raters = np.array([video.num_raters for video in videos])
        self.first = np.cumsum(self.num_raters) - self.num_raters
        self.rater = np.nonzero(np.arange(self.num_raters.max()) < self.num_raters[:, None])  # as (video, rater)
        self.duration_seconds = np.array([video.duration_seconds for video in videos])
        self.limits = tolerance * (np.ones(len(videos)) if absolute else self.duration_seconds)
        self.positives = np.array([len(times) for times in raters])
        self.boundaries = np.full((len(raters), max(1, int(self.positives.max()))), -np.inf)
        for row, times in zip(self.boundaries, raters, strict=True):
            row[: len(times)] = times

    def counts(self, clock: Clock) -> tuple[int, int, int]:
        """Return hits and boundaries of every video's best rater, and detections, summed as by `best_rater`."""
        times = clock.within(float(self.duration_seconds.max()))
        detected = np.searchsorted(times, self.duration_seconds, side="right")
        if not len(times):
            return 0, int(self.positives[self.first].sum()), 0
        hits = self._hits(times, np.repeat(detected, self.num_raters), np.repeat(self.limits, self.num_raters))
        recall = np.divide(hits, self.positives, out=np.ones(len(hits)), where=self.positives > 0)
        precision = hits / np.maximum(np.repeat(detected, self.num_raters), 1)
        total = recall + precision
        f1 = np.full((len(self.num_raters), int(self.num_raters.max())), -1.0)
        f1[self.rater] = np.divide(2 * recall * precision, total, out=np.zeros(len(hits)), where=total > 0)
        best = np.where(detected > 0, f1.argmax(axis=1), 0)  # official: nothing detected is judged by the first rater
        chosen = self.first + best
        return int(hits[chosen].sum()), int(self.positives[chosen].sum()), int(detected.sum())

    def _hits(
        self, times: Float64Array, detected: npt.NDArray[np.int64], limits: Float64Array
    ) -> npt.NDArray[np.int64]:
        """Return (P,) hits: every boundary in turn takes the nearest free detection, if it lies within the limit."""
        free = np.arange(len(times)) < detected[:, None]
        found = np.zeros(len(free), dtype=np.int64)
        row = np.arange(len(free))
        for boundary in self.boundaries.T:
            distance = np.where(free, np.abs(boundary[:, None] - times), np.inf)
            nearest = distance.argmin(axis=1)
            hit = distance[row, nearest] <= limits
            free[row[hit], nearest[hit]] = False
            found += hit
        return found


def _blocks(videos: list[VideoAnnotation], least_period: float) -> Iterator[list[VideoAnnotation]]:
    """Yield videos of like durations, so many that comparing their boundaries with a clock takes little memory."""
    block: list[VideoAnnotation] = []
    raters = 0
    for video in sorted(videos, key=lambda one: one.duration_seconds):
        if block and (raters + video.num_raters) * video.duration_seconds / least_period > _PAIRS:
            yield block
            block, raters = [], 0
        block.append(video)
        raters += video.num_raters
    if block:
        yield block


def _f1(blocks: Sequence[_Block], clock: Clock) -> float:
    hits, positives, detected = np.sum([block.counts(clock) for block in blocks], axis=0).tolist()
    return 2 * hits / (positives + detected) if hits else 0.0
