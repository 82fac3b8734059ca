"""Event boundaries found by a linear probe on frame features, scored by a metric that the caller passes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.evaluation.probe import STRENGTHS, fit_probe, out_of_fold
from training.evaluation.sequences import RATE_HZ, LabelledSequence

CONTEXT_FRAMES = 5
_NEAR_FRAMES = 1  # frames this close to a boundary are labelled as boundaries when the probe is fitted
_APART_FRAMES = 4  # two predicted boundaries are farther apart than this
_THRESHOLDS = 40


@dataclass(frozen=True, slots=True)
class BoundaryTruth:
    """Duration and boundaries of a sequence, in seconds."""

    duration_seconds: float
    boundary_seconds: tuple[float, ...]


Predictions = Mapping[str, Sequence[float]]
F1 = Callable[[Predictions, Mapping[str, BoundaryTruth]], float]
"""The metric that chooses the threshold, from predicted seconds by the name of the sequence."""


@dataclass(frozen=True, slots=True)
class BoundaryProbe:
    """Boundaries on the test sequences, in seconds, and the probe's `strength`, chosen on the fitting part."""

    predictions: dict[str, list[float]]
    strength: float


def probe_boundaries(
    fitting: Sequence[LabelledSequence], test: Sequence[LabelledSequence], input_name: str, f1: F1
) -> BoundaryProbe:
    """Fit on some sequences, with strength and threshold chosen there by folds, and find the boundaries of others."""
    features = torch.cat([before_and_after(sequence.features[input_name]) for sequence in fitting])
    labels = torch.cat([_labels(sequence) for sequence in fitting])
    groups = torch.cat([torch.full((len(sequence),), i) for i, sequence in enumerate(fitting)])
    lengths = [len(sequence) for sequence in fitting]
    truth = name_truth(fitting)
    best = (-1.0, 0.0, 0.0)
    for strength in STRENGTHS:
        tracks = torch.split(_score(out_of_fold(features, labels, groups, 2, strength)), lengths)
        peaks = torch.cat([track[find_peaks(track, -torch.inf)] for track in tracks])
        # From the lowest peak to the highest, with the same number of peaks between neighbours.
        for threshold in torch.quantile(peaks, torch.linspace(0, 1, _THRESHOLDS, dtype=peaks.dtype)).tolist():
            reached = f1(_name_peaks(tracks, threshold), truth)
            if reached > best[0]:
                best = (reached, strength, threshold)
    _, strength, threshold = best
    probe = fit_probe(features, labels, 2, strength)
    found = [_score(probe(before_and_after(sequence.features[input_name]))) for sequence in test]
    return BoundaryProbe(_name_peaks(found, threshold), strength)


def before_and_after(features: Tensor) -> Tensor:
    """(T, D) to (T, 3 D): means of the 5 frames before and of the 5 from here on, and their absolute difference.

    Near the ends, the means cover the frames that exist; the first frame stands in for the frames before it.
    """
    count = len(features)
    sums = torch.cat((torch.zeros_like(features[:1]), features)).double().cumsum(0)
    here = torch.arange(count)
    first, last = (here - CONTEXT_FRAMES).clamp_min(0), (here + CONTEXT_FRAMES).clamp_max(count)
    before = (sums[here] - sums[first]) / (here - first).clamp_min(1).unsqueeze(1)
    before[0] = features[0]
    after = (sums[last] - sums[here]) / (last - here).unsqueeze(1)
    return torch.cat((before, after, (after - before).abs()), 1)


def find_peaks(scores: Tensor, threshold: float) -> list[int]:
    """Frames whose score (T,) reaches the threshold and is the first maximum within 4 frames before and after.

    >>> find_peaks(torch.tensor([9.0, 0, 3, 3, 0, 0, 0, 0, 0, 2]), 1.0)
    [0, 9]
    """
    frames = [frame for frame in range(len(scores)) if scores[frame] >= threshold]
    peaks = []
    for frame in frames:
        start = max(0, frame - _APART_FRAMES)
        if start + int(scores[start : frame + _APART_FRAMES + 1].argmax()) == frame:
            peaks.append(frame)
    return peaks


def name_truth(sequences: Sequence[LabelledSequence]) -> dict[str, BoundaryTruth]:
    """Ground truth of sequences, by the names that `BoundaryProbe.predictions` uses."""
    return {
        _name(i): BoundaryTruth(len(sequence) / RATE_HZ, tuple(frame / RATE_HZ for frame in sequence.boundary_frames))
        for i, sequence in enumerate(sequences)
    }


def _name(index: int) -> str:
    return f"sequence-{index:04d}"


def _name_peaks(tracks: Sequence[Tensor], threshold: float) -> dict[str, list[float]]:
    return {_name(i): [frame / RATE_HZ for frame in find_peaks(track, threshold)] for i, track in enumerate(tracks)}


def _score(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 0]


def _labels(sequence: LabelledSequence) -> Tensor:
    frames = torch.arange(len(sequence)).unsqueeze(1)
    distance = (frames - torch.tensor(sequence.boundary_frames)).abs()
    return (distance <= _NEAR_FRAMES).any(1).long()
