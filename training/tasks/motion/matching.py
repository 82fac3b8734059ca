"""What the MS module's matching costs: its losses on clips whose displacement is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extractor.models.correlation import Tiling
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from training.cells import CellTruth
from training.tasks.motion.losses import confidence_loss, matching_loss, regression_loss


def squeeze_with_scores(module: MotionSqueeze, x: Tensor, num_segments: int) -> tuple[MotionFeatures, Tensor]:
    """What `module` returns for clips (B*T, C, h, w), and the correlation scores (B*(T-1), P * P, h, w) in between."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor]) -> None:
        kept.append(Tiling.of(x.shape[2], x.shape[3]).join(arguments[0]))

    hook = module.soft_argmax.register_forward_pre_hook(keep)
    try:
        return module(x, num_segments), kept[0]
    finally:
        hook.remove()


def matching_losses(
    motion: MotionFeatures, scores: Tensor, truth: CellTruth, temperature: float, sharpness: float = 1.0
) -> dict[str, Tensor]:
    """The losses "matching", "regression" and "confidence", not weighted; see `training.tasks.motion.losses`.

    motion, scores: what `squeeze_with_scores` returned for the clips of `truth`.
    """
    pairs = truth.defined.shape[:2]  # B, T - 1
    scores, displacement, confidence = (
        torch.unflatten(tensor, 0, pairs) for tensor in (scores, motion.displacement, motion.confidence)
    )
    return {
        "matching": matching_loss(scores, truth, temperature, sharpness),
        "regression": regression_loss(displacement, truth),
        "confidence": confidence_loss(confidence, displacement, truth),
    }
