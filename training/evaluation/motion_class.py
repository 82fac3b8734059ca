"""How well a linear probe on frame features classifies the motion of the main actor and of the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.evaluation.probe import STRENGTHS, fit_probe, out_of_fold
from training.evaluation.sequences import LabelledSequence
from training.world import IGNORE, Motion

Mover = Literal["actor", "camera"]
MOVERS: tuple[Mover, ...] = ("actor", "camera")


@dataclass(frozen=True, slots=True)
class MotionAccuracy:
    """Accuracy over the test pairs; `majority` is the accuracy of always predicting the most common class.

    The most common class and the probe's `strength` are those of the fitting part. NaN without pairs.
    """

    pairs: int
    accuracy: float
    majority: float
    strength: float


def probe_motion(
    fitting: Sequence[LabelledSequence], test: Sequence[LabelledSequence], input_name: str, mover: Mover
) -> MotionAccuracy:
    """Fit on the pairs of some sequences, with the strength chosen there by folds, and test on those of others."""
    features, labels, groups = _pairs(fitting, input_name, mover)
    classes = len(Motion)
    right = [
        int((out_of_fold(features, labels, groups, classes, strength).argmax(1) == labels).sum())
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[right.index(max(right))]
    probe = fit_probe(features, labels, classes, strength)
    test_features, test_labels, _ = _pairs(test, input_name, mover)
    return MotionAccuracy(
        len(test_labels),
        float((probe(test_features).argmax(1) == test_labels).double().mean()),
        float((labels.mode().values == test_labels).double().mean()),
        strength,
    )


def _pairs(sequences: Sequence[LabelledSequence], input_name: str, mover: Mover) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, 3 D), labels (N,) and sequence numbers (N,) of all pairs that have a class.

    A pair's features are those of its two frames and their absolute difference.
    """
    features, labels, groups = [], [], []
    for i, sequence in enumerate(sequences):
        first, second = sequence.features[input_name][:-1], sequence.features[input_name][1:]
        label = sequence.actor_motion if mover == "actor" else sequence.camera_motion
        known = label != IGNORE
        features.append(torch.cat((first, second, (second - first).abs()), 1)[known])
        labels.append(label[known])
        groups.append(torch.full((int(known.sum()),), i))
    return torch.cat(features), torch.cat(labels), torch.cat(groups)
