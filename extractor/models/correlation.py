"""Local correlation of two feature maps over a square search window, as banded matrix products.

Gathering the window of every cell copies the second map P * P times. Instead each row of the first map is multiplied
with the P rows around it of the second in one matrix product; the window of cell x is then a diagonal band of that
product, which a strided view reads without a copy. Plain PyTorch on purpose: the reference's compiled correlation
fails to build, or returns wrong values, on newer tool chains.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["correlate", "normalize_cells"]

NORM_EPSILON = 1e-6  # inside the root, as in the reference


def normalize_cells(x: Tensor) -> Tensor:
    """Divide each cell's feature of (N, C, h, w) by sqrt(sum of squares + 1e-6); float32, channels last in memory."""
    cells = x.float().permute(0, 2, 3, 1)  # (N, h, w, C)
    norm: Tensor = torch.linalg.vecdot(cells, cells).add(NORM_EPSILON).sqrt()  # (N, h, w)
    return (cells / norm.unsqueeze(-1)).permute(0, 3, 1, 2)


def correlate(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """max(0, <first(x), second(x + p)>) for every p in [-radius, radius]^2, zero where x + p leaves the map.

    `first` and `second` are (N, C, h, w) of one dtype; the result is (N, P * P, h, w) with P = 2 * radius + 1, the
    vertical offset before the horizontal one. In memory the candidates of a cell lie next to each other.
    Differentiable; correct for any h and w, also smaller than the window.
    """
    count, channels, height, width = first.shape
    window = 2 * radius + 1
    rows = first.permute(0, 2, 3, 1)  # (N, h, w, C)
    padded = F.pad(second.permute(0, 2, 3, 1), (0, 0, radius, radius, radius, radius)).contiguous()
    padded_width = width + 2 * radius
    bands = []
    for y in range(height):
        # (N, w, C) times (N, C, P * (w + 2 r)): row y against the P rows around it
        around = padded[:, y : y + window].reshape(count, window * padded_width, channels)
        product = torch.bmm(rows[:, y], around.transpose(1, 2))
        step = window * padded_width
        # element (x, dy, dx) of the band is product[x, dy, x + dx]
        bands.append(product.as_strided((count, width, window, window), (width * step, step + 1, padded_width, 1)))
    scores = torch.stack(bands, 1).flatten(3)  # (N, h, w, P * P)
    return torch.relu_(scores).permute(0, 3, 1, 2)
