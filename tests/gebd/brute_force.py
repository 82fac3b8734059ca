"""The metric and its variants written down a second time, from their description and without the code under test.

Slow, with a list for everything; annotations are in the schema of the processed Kinetics-GEBD file.
"""

from __future__ import annotations

import math
from typing import Any


def walk(boundaries: list[float], detections: list[float], limit: float) -> int:
    free = list(detections)
    hits = 0
    for boundary in boundaries:
        if not free:
            break
        gaps = [abs(boundary - detection) for detection in free]
        nearest = gaps.index(min(gaps))
        if gaps[nearest] <= limit:
            hits += 1
            free.pop(nearest)
    return hits


def most(boundaries: list[float], detections: list[float], limit: float) -> int:
    """Largest matching, by augmenting paths."""
    partner: dict[int, int] = {}

    def place(n: int, tried: set[int]) -> bool:
        for m, detection in enumerate(detections):
            if abs(boundaries[n] - detection) <= limit and m not in tried:
                tried.add(m)
                if m not in partner or place(partner[m], tried):
                    partner[m] = n
                    return True
        return False

    return sum(place(n, set()) for n in range(len(boundaries)))


def f1(true_positives: int, detected: int, positives: int) -> tuple[float, float, float]:
    recall = 1 if positives == 0 else true_positives / positives
    precision = 0 if detected == 0 else true_positives / detected
    return precision, recall, 0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)


def score(
    truth: dict[str, Any],
    predictions: dict[str, Any],
    tolerance: float,
    *,
    skip: bool = False,
    frames: bool = False,
    optimal: bool = False,
    seconds: bool = False,
    least: float = 0.3,
) -> tuple[float, float, float]:
    """Precision, recall and F1 at one tolerance."""
    hits = detected = positives = 0
    for video_id, entry in truth.items():
        if entry["f1_consis_avg"] < least:
            continue
        if video_id not in predictions and skip:
            continue
        raters = entry["substages_myframeidx" if frames else "substages_timestamps"]
        whole = entry["num_frames"] if frames else entry["video_duration"]
        end = whole - 1 if frames else whole
        limit = tolerance * (entry["fps"] if frames else 1.0) if seconds else tolerance * whole
        inside = [t for t in predictions.get(video_id, []) if not (t < 0 or t > end or math.isnan(t))]
        if not inside:
            positives += len(raters[0])
            continue
        detected += len(inside)
        best = (-1.0, 0, 0)
        for rater in raters:
            found = (most if optimal else walk)(rater, inside, limit)
            value = f1(found, len(inside), len(rater))[2]
            if value > best[0]:
                best = (value, found, len(rater))
        hits += best[1]
        positives += best[2]
    return f1(hits, detected, positives)
