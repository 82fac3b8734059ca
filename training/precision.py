"""Mixed precision: convolutions in a shorter number format, the rest in float32."""

from __future__ import annotations

import torch

from training.config import TrainingPrecision

_DTYPES = {TrainingPrecision.BFLOAT16: torch.bfloat16, TrainingPrecision.FLOAT16: torch.float16}


def autocast(precision: TrainingPrecision, device: torch.device) -> torch.autocast:
    """The block in which a network computes in `precision`."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def loss_scaler(precision: TrainingPrecision, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses of float16, whose gradients would vanish otherwise; leaves others alone."""
    return torch.amp.GradScaler(device.type, enabled=precision is TrainingPrecision.FLOAT16)
