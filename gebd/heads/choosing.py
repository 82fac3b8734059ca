"""Choose the threshold of a head, and with it the best epoch, on the validation part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gebd.annotations.records import Annotations
from gebd.heads.config import AVERAGE, TOLERANCES, HeadConfig
from gebd.heads.predict import pick_boundaries
from gebd.metric.f1 import evaluate
from gebd.metric.tracks import Track

_THRESHOLDS = tuple(n / 100 for n in range(5, 100, 5))


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold, and the F1 of the criterion at it."""

    threshold: float
    f1: float


def choose_threshold(tracks: dict[str, Track], truth: Annotations, config: HeadConfig) -> Choice:
    """Return the threshold of the highest F1 by `config.criterion`, on ties the nearest to 0.5.

    Only thresholds count at which a video has at most `config.most_marks` times the boundaries that a rater marks;
    where there is none, the one of the fewest boundaries. F1 at a small tolerance rewards marking more: eight evenly
    spaced boundaries a video beat five, where people mark 4.5.
    """
    people = [len(boundaries) for video in truth.values() for boundaries in video.rater_seconds]
    limit = config.most_marks * float(np.mean(people)) * len(tracks)
    tolerances = TOLERANCES if config.criterion == AVERAGE else (float(config.criterion),)
    choices: list[tuple[int, Choice]] = []  # each behind its number of boundaries
    for threshold in _THRESHOLDS:
        found = pick_boundaries(tracks, config.picker(threshold))
        f1 = evaluate(found, truth, tolerances).average_f1
        choices.append((sum(map(len, found.values())), Choice(threshold, f1)))
    allowed = [choice for marks, choice in choices if marks <= limit]
    if not allowed:
        return min(choices, key=lambda one: one[0])[1]
    return max(allowed, key=lambda one: (one.f1, -abs(one.threshold - 0.5)))
