"""Match boundaries with detections in one video: pure functions over numbers of one unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Matcher = Callable[[Sequence[float], Sequence[float], Sequence[float]], list[int]]


def greedy_hits(boundaries: Sequence[float], detections: Sequence[float], limits: Sequence[float]) -> list[int]:
    """Return the hits at every limit (ascending), as the official evaluation counts.

    Boundaries are visited in stored order. Each takes the nearest free detection, the first on a tie; it is a hit if
    their distance is at most the limit, and only then is the detection used up.
    """
    nearest = [sorted((abs(boundary - found), n) for n, found in enumerate(detections)) for boundary in boundaries]
    hits: list[int] = []
    for limit in limits:
        if hits and hits[-1] == len(boundaries):
            hits.append(hits[-1])  # all were hits: a larger limit changes no choice
            continue
        used: set[int] = set()
        for candidates in nearest:
            for distance, n in candidates:
                if n not in used:
                    if distance <= limit:
                        used.add(n)
                    break
        hits.append(len(used))
    return hits


def optimal_hits(boundaries: Sequence[float], detections: Sequence[float], limits: Sequence[float]) -> list[int]:
    """Return the maximum number of pairs of a boundary and a detection, each used once, at most the limit apart."""
    left, right = sorted(boundaries), sorted(detections)
    hits = []
    for limit in limits:
        at = found = 0
        for boundary in left:
            # All tolerances have the same width, so the earliest detection in reach is always a best choice.
            while at < len(right) and right[at] < boundary and abs(boundary - right[at]) > limit:
                at += 1
            if at < len(right) and abs(boundary - right[at]) <= limit:
                found += 1
                at += 1
        hits.append(found)
    return hits


def f1_of(hits: int, detected: int, positives: int) -> tuple[float, float, float]:
    """Return precision, recall and F1 of counts: recall is 1 without positives, precision 0 without detections."""
    recall = hits / positives if positives else 1.0
    precision = hits / detected if detected else 0.0
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    return precision, recall, f1


def best_rater(
    raters: Sequence[Sequence[float]], detections: Sequence[float], limits: Sequence[float], matcher: Matcher
) -> list[tuple[int, int, int]]:
    """Return for every limit the first rater with the highest F1: (rater, hits, boundaries of that rater)."""
    best = [(0, 0, len(raters[0]))] * len(limits)
    highest = [-1.0] * len(limits)
    for rater, boundaries in enumerate(raters):
        for n, hits in enumerate(matcher(boundaries, detections, limits)):
            f1 = f1_of(hits, len(detections), len(boundaries))[2]
            if f1 > highest[n]:
                highest[n] = f1
                best[n] = (rater, hits, len(boundaries))
    return best
