"""OpenCV's DIS optical flow (dense inverse search), a strong baseline for displacement. Only evaluation needs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from schemas.errors import ConfigurationError
from training.cells import pool_to_cells

HOW_TO_GET_DIS = "get OpenCV with pip install 'msnet-features[evaluate]'"


class DisFlow:
    """Optical flow between neighbouring frames with the preset "medium", computed at full resolution.

    The preset itself stops at half the resolution and upsamples; full resolution makes the baseline a little stronger.
    Raises ConfigurationError where OpenCV is not installed.
    """

    def __init__(self) -> None:
        if not self.available():
            raise ConfigurationError(f"expected OpenCV for DIS optical flow; it is not installed: {HOW_TO_GET_DIS}")
        import cv2

        self._to_grey: Callable[[NDArray[np.uint8]], Any] = partial(cv2.cvtColor, code=cv2.COLOR_RGB2GRAY)
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._flow.setFinestScale(0)

    @staticmethod
    def available() -> bool:
        """Whether OpenCV is installed."""
        return find_spec("cv2") is not None

    def forward(self, pixels: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB to (T - 1, 2, H, W) float32, px, x right and y down, from each frame to the next."""
        return self._between(pixels, 1)

    def backward(self, pixels: Tensor) -> Tensor:
        """The same from each frame to the one before: entry i is the flow from frame i + 1 to frame i."""
        return self._between(pixels, -1)

    def _between(self, pixels: Tensor, direction: int) -> Tensor:
        grey = [self._to_grey(frame) for frame in pixels.cpu().numpy()]
        # No pair starts from the flow of the one before, so that pairs are independent.
        flows = [self._flow.calc(*pair[::direction], None) for pair in pairwise(grey)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)


def in_cells(flow: Tensor) -> Tensor:
    """Average flow in pixels (..., 2, H, W) over each cell: (..., 2, h, w), in cells."""
    return pool_to_cells(flow) / FEATURE_STRIDE_PX


def round_trip_px(forward: Tensor, backward: Tensor) -> Tensor:
    """Forward-backward error: how far from its start a pixel ends after both flows, (N, H, W), px.

    Both flows are (N, 2, H, W). The error is infinite where the forward flow leaves the frame.
    """
    height, width = forward.shape[-2:]
    x = torch.arange(width) + forward[:, 0]
    y = torch.arange(height).unsqueeze(1) + forward[:, 1]
    place = torch.stack((2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1), -1)  # (N, H, W, 2) in [-1, 1]
    back = F.grid_sample(backward, place, mode="bilinear", padding_mode="border", align_corners=True)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    distance: Tensor = (forward + back).norm(dim=1)
    return distance.masked_fill(~inside, torch.inf)
