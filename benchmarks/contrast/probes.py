"""Linear probes of networks on the same clips, and how much one is ahead of another, with paired intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from schemas.intervals import Interval, interval_of, resample_sums
from training.evaluation.passes import evaluating
from training.evaluation.probe import STRENGTHS, fit_probe, out_of_fold

_AT_A_TIME = 16
_RESAMPLES, _CONFIDENCE = 2000, 0.95


@dataclass(frozen=True, slots=True)
class Split:
    """Clips (N, T, S, S, 3) uint8 with classes (N,), to fit on and to test on."""

    fitting: Tensor
    fitting_labels: Tensor
    test: Tensor
    test_labels: Tensor


def probe(network: MSNet, split: Split, report: Callable[[int], None] = lambda done: None) -> Tensor:
    """Whether a probe of the network's clip features is right, for each test clip, (N,) bool.

    The penalty is chosen by folds of the fitting part.
    """
    known, unknown = (clip_features(network, clips) for clips in (split.fitting, split.test))
    labels, classes = split.fitting_labels, int(split.fitting_labels.max()) + 1
    folds = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    right = [
        int((out_of_fold(known, labels, folds, classes, strength).argmax(1) == labels).sum()) for strength in STRENGTHS
    ]
    fitted = fit_probe(known, labels, classes, STRENGTHS[right.index(max(right))])
    return fitted(unknown).argmax(1) == split.test_labels


@torch.no_grad()
def clip_features(network: MSNet, clips: Tensor) -> Tensor:
    """Clip features (N, D) float32 of clips (N, T, S, S, 3) uint8."""
    with evaluating(network):
        return torch.cat([network(normalize(part)).clip_features for part in torch.split(clips, _AT_A_TIME)])


def accuracy(right: Tensor) -> tuple[float, Interval]:
    """Share of right answers (N,) bool, with its interval over clips."""
    drawn = _resampled(right[:, None].double())
    return float(right.double().mean()), interval_of(drawn, _CONFIDENCE)


def lead(right: Tensor, other: Tensor) -> tuple[float, Interval]:
    """By how much the first is right more often than the other on the same clips, with the paired interval."""
    difference = right.double() - other.double()
    return float(difference.mean()), interval_of(_resampled(difference[:, None]), _CONFIDENCE)


def _resampled(rows: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    sums: np.ndarray[tuple[int], np.dtype[np.float64]] = resample_sums(rows.numpy(), resamples=_RESAMPLES, seed=0)[:, 0]
    return sums / len(rows)
