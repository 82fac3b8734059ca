"""Where an image has texture to match: the magnitude of its gradient in a cell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.cells import pool_to_cells

TEXTURED_ABOVE = 4.0
"""Grey levels (of 255) per pixel: twice the gradient of noise with a standard deviation of 2 levels."""

_LUMA = (0.299, 0.587, 0.114)


def texture(pixels: Tensor) -> Tensor:
    """Root mean square of the brightness gradient over each cell, in grey levels per pixel.

    (..., H, W, 3) uint8 RGB to (..., h, w) float32. Central differences; the image is replicated beyond its border.
    """
    grey = pixels.float() @ torch.tensor(_LUMA, device=pixels.device)  # (..., H, W)
    flat = F.pad(grey.reshape(-1, 1, *grey.shape[-2:]), (1, 1, 1, 1), mode="replicate")  # (N, 1, H + 2, W + 2)
    across = (flat[..., 1:-1, 2:] - flat[..., 1:-1, :-2]) / 2
    down = (flat[..., 2:, 1:-1] - flat[..., :-2, 1:-1]) / 2
    root = pool_to_cells(across.square() + down.square()).sqrt()  # (N, 1, h, w)
    return root.reshape(*grey.shape[:-2], *root.shape[-2:])


def textured(pixels: Tensor) -> Tensor:
    """(..., H, W, 3) to (..., h, w) bool: texture exceeds TEXTURED_ABOVE."""
    return texture(pixels) > TEXTURED_ABOVE
