"""Linear probe: multinomial logistic regression on standardised features, with the penalty chosen by folds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STRENGTHS = (0.03, 0.3, 3.0)
"""Candidate weights of the squared penalty; folds of the fitting part choose one."""

_FOLDS = 3
_MOST_ITERATIONS = 200
_FLAT_BELOW = 1e-4  # a fit ends when no component of the gradient exceeds this


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """`weight` (D, classes) and `bias` (classes,), for features minus `mean` over `scale`, both (D,)."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, classes) float64 of features (N, D)."""
        return (features.double() - self.mean) / self.scale @ self.weight + self.bias


def fit_probe(features: Tensor, labels: Tensor, classes: int, strength: float) -> LinearProbe:
    """Minimise the mean cross-entropy of features (N, D), labels (N,) in [0, classes), plus strength / 2 * |weight|^2.

    Constant features are ignored. Deterministic: L-BFGS from zero weights.
    """
    x = features.double()
    mean, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 1e-8, scale, torch.inf)
    x = ((x - mean) / scale).float()
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS(
        (weight, bias),
        max_iter=_MOST_ITERATIONS,
        history_size=10,
        tolerance_grad=_FLAT_BELOW,
        tolerance_change=0.01 * _FLAT_BELOW,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(x @ weight + bias, labels) + strength / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(mean, scale, weight.detach().double(), bias.detach().double())


def out_of_fold(features: Tensor, labels: Tensor, groups: Tensor, classes: int, strength: float) -> Tensor:
    """Logits (N, classes) of every sample from a probe fitted without its group; `groups` (N,) count from 0."""
    folds = groups % _FOLDS
    logits = torch.empty(len(features), classes, dtype=torch.float64)
    for fold in sorted(set(folds.tolist())):
        held_out = folds == fold
        logits[held_out] = fit_probe(features[~held_out], labels[~held_out], classes, strength)(features[held_out])
    return logits
