"""Local correlation of two feature maps over a square search window, as banded matrix products.

Gathering the window of every cell copies the second map P * P times. Instead, one matrix product multiplies a tile of
cells of the first map with the part of the second that their windows cover. The window of a cell is then a diagonal
band of that product, which a strided view reads without a copy. Plain PyTorch on purpose: the reference's compiled
correlation fails to build, or returns wrong values, on newer tool chains.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NORM_EPSILON = 1e-6  # inside the root, as in the reference
# For 28 x 28 cells and P = 15 a tile's product has 2.0 times the entries that its bands use; whole rows have 2.8.
_TILE_ROWS = 2
_TILE_COLUMNS = 14


class Tiling(NamedTuple):
    """How a map of height x width cells is cut into tiles of rows x columns; the last tiles may overhang."""

    height: int
    width: int
    rows: int
    columns: int

    @classmethod
    def of(cls, height: int, width: int) -> Tiling:
        """The tiling of a map, with tiles as equal in width as possible, so that little overhangs."""
        across = -(-width // _TILE_COLUMNS)
        return cls(height, width, min(_TILE_ROWS, height), -(-width // across))

    @property
    def down(self) -> int:
        """Number of tiles from top to bottom."""
        return -(-self.height // self.rows)

    @property
    def across(self) -> int:
        """Number of tiles from left to right."""
        return -(-self.width // self.columns)

    @property
    def overhang(self) -> tuple[int, int]:
        """Rows and columns of the last tiles that lie outside the map."""
        return self.down * self.rows - self.height, self.across * self.columns - self.width

    def join(self, tiles: Tensor) -> Tensor:
        """Join tiles (across * down, N, rows, columns, K) to (N, K, height, width)."""
        count, last = tiles.shape[1], tiles.shape[-1]
        grid = tiles.view(self.across, self.down, count, self.rows, self.columns, last).permute(2, 5, 1, 3, 0, 4)
        whole = grid.reshape(count, last, self.down * self.rows, self.across * self.columns)
        return whole[:, :, : self.height, : self.width]


def normalize_cells(x: Tensor, epsilon: float = NORM_EPSILON) -> Tensor:
    """Divide each cell's feature of (N, C, h, w) by sqrt(sum of squares + epsilon); float32, channels last."""
    cells = x.float().permute(0, 2, 3, 1)  # (N, h, w, C)
    norm: Tensor = torch.linalg.vecdot(cells, cells).add(epsilon).sqrt()  # (N, h, w)
    return (cells / norm.unsqueeze(-1)).permute(0, 3, 1, 2)


def correlate(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """max(0, <first(x), second(x + p)>) for every p in [-radius, radius]^2, zero where x + p leaves the map.

    `first` and `second` are (N, C, h, w) of one dtype; the result is (N, P * P, h, w) with P = 2 * radius + 1, the
    vertical offset before the horizontal one. Differentiable; correct for any h and w, also smaller than the window.
    """
    tiles, tiling = correlate_tiles(first, second, radius)
    return tiling.join(tiles)


def correlate_tiles(first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tiling]:
    """`correlate` as contiguous tiles (across * down, N, rows, columns, P * P), for work on each cell's candidates.

    Cells of a tile outside the map have scores of zero. `Tiling.join` joins the results of that work to a map.
    """
    count, channels, height, width = first.shape
    tiling = Tiling.of(height, width)
    below, right = tiling.overhang
    rows, columns, window = tiling.rows, tiling.columns, 2 * radius + 1
    cells = F.pad(first.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))  # (N, h, w, C)
    around = F.pad(second.permute(0, 2, 3, 1), (0, 0, radius, radius + right, radius, radius + below))
    seen_rows, seen_columns = rows + 2 * radius, columns + 2 * radius
    seen = seen_rows * seen_columns  # cells of the second map that the windows of a tile cover
    strides = (rows * columns * seen, columns * seen + seen_columns, seen + 1, seen_columns, 1)
    bands = []
    for x in range(0, tiling.across * columns, columns):
        strip = around[:, :, x : x + seen_columns].contiguous()
        for y in range(0, tiling.down * rows, rows):
            tile = cells[:, y : y + rows, x : x + columns].reshape(count, rows * columns, channels)
            covered = strip[:, y : y + seen_rows].reshape(count, seen, channels)
            product = torch.bmm(tile, covered.transpose(1, 2))  # (N, rows * columns, seen)
            # element (i, j, dy, dx) of the band is product[i * columns + j, (i + dy) * seen_columns + j + dx]
            bands.append(product.as_strided((count, rows, columns, window, window), strides))
    return torch.relu_(torch.stack(bands).flatten(4)), tiling
