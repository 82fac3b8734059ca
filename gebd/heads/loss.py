"""The loss of heads: binary cross-entropy with soft targets and balanced classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def balanced_loss(logits: Tensor, target: Tensor, counted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the losses of samples (B, T), and their number, at least 1, for the mean.

    target: soft labels (B, T) in [0, 1]. counted (B, T) bool: samples that count. weights (2,): of negative and of
    positive samples (`GEBDDataset.class_weights`).
    """
    negative, positive = weights.to(logits.device)
    losses = positive * target * F.softplus(-logits) + negative * (1 - target) * F.softplus(logits)
    return (losses * counted).sum(), counted.sum().clamp_min(1)
