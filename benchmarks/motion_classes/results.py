"""From the scores of trained networks to accuracies, with intervals over videos and paired differences."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from benchmarks.motion_classes.motions import CLASSES
from schemas.intervals import Interval, interval_of, resample_sums

FloatArray = npt.NDArray[np.float64]

CONFIDENCE, RESAMPLES, SEED = 0.95, 10_000, 0
_MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one network: paths (N), labels (N,) int64 and probabilities (N, classes) float64, sorted by path."""

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    probabilities: FloatArray

    @classmethod
    def of(cls, rows: Sequence[tuple[str, int, Sequence[float]]]) -> Self:
        """(path, label, logits) of every video."""
        rows = sorted(rows)
        logits = np.array([row[2] for row in rows], np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        labels = np.array([row[1] for row in rows], np.int64)
        return cls(tuple(row[0] for row in rows), labels, powers / powers.sum(1, keepdims=True))

    @property
    def right(self) -> FloatArray:
        """(N,) 1.0 where the highest score is that of the label, else 0.0."""
        hits: FloatArray = (self.probabilities.argmax(1) == self.labels).astype(np.float64)
        return hits


def read_scores(path: Path) -> Scored:
    """Read what `msnet weights evaluate --scores` writes: video_id, label, and a column of logits for each class.

    The columns may also be called path, label, score_0, score_1, ...; a label is the number or name of a class.

    Only test videos count, whatever else was scored. Raises ValueError for other columns, a label that is no class,
    scores that are not finite, a video named twice, or no test video.
    """
    rows: list[tuple[str, int, list[float]]] = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        name, wanted = "video_id", list(CLASSES)
        if "path" in columns:
            name, wanted = "path", [f"score_{n}" for n in range(len(CLASSES))]
        missing = {name, "label", *wanted} - columns
        if missing:
            raise ValueError(
                f"{path}: expected {name}, label and a column for each class; {sorted(missing)} are missing"
            )
        for row in reader:
            inside = _inside(row[name])
            if inside.startswith("test/"):
                rows.append((inside, _number_of(row["label"], path), [float(row[column]) for column in wanted]))
            if len(rows) > _MOST_ROWS:
                raise ValueError(f"{path}: expected at most {_MOST_ROWS} rows; got more")
    if not rows or not np.isfinite([row[2] for row in rows]).all() or len({row[0] for row in rows}) < len(rows):
        raise ValueError(
            f"{path}: expected a row of finite scores for each test video; got none, NaN, or a video twice"
        )
    return Scored.of(rows)


def _inside(path: str) -> str:
    """The last three parts, SPLIT/CLASS/NAME: the same for pictures and flow, wherever the data set lies."""
    return "/".join(Path(path).parts[-3:])


def _number_of(label: str, path: Path) -> int:
    if label in CLASSES:
        return CLASSES.index(label)
    if label.isdecimal() and int(label) < len(CLASSES):
        return int(label)
    raise ValueError(f"{path}: expected the name or number of a class; got {label!r}")


def merged(one: Scored, other: Scored) -> Scored:
    """Two streams: the mean of the probabilities."""
    check_same_videos({"one": [one], "other": [other]})
    return Scored(one.paths, one.labels, (one.probabilities + other.probabilities) / 2)


def check_same_videos(methods: Mapping[str, Sequence[Scored]]) -> None:
    """Raise ValueError unless all scores are of the same videos with the same labels."""
    first = next(iter(methods.values()))[0]
    for name, runs in methods.items():
        for run in runs:
            if run.paths != first.paths or not np.array_equal(run.labels, first.labels):
                raise ValueError(f"{name}: expected scores of the same {len(first.paths)} videos; got others")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 of a method, averaged over its seeds, with the interval over videos.

    by_seed: of every seed. lead: top-1 of the first method minus this one, with the interval over the same resampled
    videos; None for the first.
    """

    mean: float
    interval: Interval
    by_seed: tuple[float, ...]
    lead: float | None
    lead_interval: Interval | None


def accuracies(methods: Mapping[str, Sequence[Scored]]) -> dict[str, Accuracy]:
    """Top-1 of methods, each with the scores of its seeds. A video counts as often as seeds get it right.

    The interval is over videos with the seeds as they are; `by_seed` shows how much these vary.
    """
    check_same_videos(methods)
    right = _right(methods)  # (N, methods)
    sums = resample_sums(right, resamples=RESAMPLES, seed=SEED) / len(right)
    means = right.mean(0)
    found: dict[str, Accuracy] = {}
    for n, (name, runs) in enumerate(methods.items()):
        lead = float(means[0] - means[n]) if n else None
        lead_interval = interval_of(sums[:, 0] - sums[:, n], CONFIDENCE) if n else None
        by_seed = tuple(float(run.right.mean()) for run in runs)
        found[name] = Accuracy(float(means[n]), interval_of(sums[:, n], CONFIDENCE), by_seed, lead, lead_interval)
    return found


def by_class(methods: Mapping[str, Sequence[Scored]]) -> dict[str, dict[str, float]]:
    """Top-1 of every class (rows) and method, averaged over seeds."""
    right, labels = _right(methods), next(iter(methods.values()))[0].labels
    return {
        label: dict(zip(methods, right[labels == n].mean(0).tolist(), strict=True))
        for n, label in enumerate(CLASSES)
        if (labels == n).any()
    }


@dataclass(frozen=True, slots=True)
class SpeedBin:
    """Top-1 of every method, with its interval, on `videos` videos whose speed is in [low, high) cells."""

    low: float
    high: float
    videos: int
    top1: dict[str, tuple[float, Interval]]


def by_speed(
    methods: Mapping[str, Sequence[Scored]], speeds: Mapping[str, float], edges: Sequence[float]
) -> list[SpeedBin]:
    """Top-1 against speed: of the videos that `speeds` names, by path; a bin without a video is left out."""
    right, paths = _right(methods), next(iter(methods.values()))[0].paths
    speed = np.array([speeds.get(path, np.nan) for path in paths])
    found: list[SpeedBin] = []
    for low, high in pairwise(edges):
        rows = right[(speed >= low) & (speed < high)]
        if len(rows):
            sums = resample_sums(rows, resamples=RESAMPLES, seed=SEED) / len(rows)
            top1 = {
                name: (float(rows[:, n].mean()), interval_of(sums[:, n], CONFIDENCE)) for n, name in enumerate(methods)
            }
            found.append(SpeedBin(low, high, len(rows), top1))
    return found


def _right(methods: Mapping[str, Sequence[Scored]]) -> FloatArray:
    """(N, methods): the share of seeds that get a video right."""
    columns: FloatArray = np.stack([np.mean([run.right for run in runs], 0) for runs in methods.values()], 1)
    return columns


def table(methods: Mapping[str, Accuracy], clips_a_second: Mapping[str, float]) -> str:
    """The results as text."""
    name_width = max(map(len, methods))
    seeds_width = max(6 * max(len(found.by_seed) for found in methods.values()), len("by seed ")) + 1
    lines = [f"{'':{name_width}}  top-1  95 %            {'by seed':{seeds_width}}lead of the first      clips/s"]
    for name, found in methods.items():
        lead = "" if found.lead is None else f"{found.lead:+.3f} {found.lead_interval}"
        by_seed = "".join(f"{value:<6.3f}" for value in found.by_seed)
        rate = f"{clips_a_second[name]:.1f}" if name in clips_a_second else ""
        top1 = f"{found.mean:.3f}  {found.interval!s:<14}"
        lines.append(f"{name:{name_width}}  {top1}  {by_seed:{seeds_width}}{lead:<22} {rate:>7}")
    return "\n".join(line.rstrip() for line in lines)
