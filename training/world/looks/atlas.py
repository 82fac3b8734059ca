"""Many small images in one large image, so that every frame can sample its own.

`grid_sample` takes one image per batch element. With all images in one, a batch of clips needs no copies of its
textures, and one call samples them all.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Atlas:
    """`tiles` (N, C, S, S) that either repeat endlessly (`periodic`) or are extended by their border values."""

    def __init__(self, tiles: Tensor, *, periodic: bool) -> None:
        if tiles.dim() != 4 or tiles.shape[-1] != tiles.shape[-2]:
            raise ValueError(f"tiles: expected (N, C, S, S); got {tuple(tiles.shape)}")
        count, channels, size, _ = tiles.shape
        self.size, self._periodic = size, periodic
        # A square arrangement keeps normalised float32 coordinates exact to about 1e-4 of a texel.
        self._columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / self._columns)
        padded = F.pad(tiles, (0, 1, 0, 1), mode="circular") if periodic else tiles
        self._pitch = padded.shape[-1]
        sheet = padded.new_zeros(rows * self._columns, channels, self._pitch, self._pitch)
        sheet[:count] = padded
        sheet = sheet.view(rows, self._columns, channels, self._pitch, self._pitch)
        self._image = sheet.permute(2, 0, 3, 1, 4).reshape(1, channels, rows * self._pitch, -1).contiguous()

    @property
    def device(self) -> torch.device:
        """Device of the images, and of the coordinates that `sample` takes."""
        return self._image.device

    def sample(self, tile: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Sample the tiles `tile` (F,), int64, bilinearly at x, y (F, H, W): returns (C, F, H, W).

        Coordinate 0 is the centre of a tile's first texel. Coordinate 1 is where a periodic tile repeats, or the centre
        of the last texel of another tile.
        """
        column = (tile % self._columns * self._pitch).view(-1, 1, 1)
        row = (tile // self._columns * self._pitch).view(-1, 1, 1)
        height, width = self._image.shape[-2:]
        grid = torch.empty(*x.shape, 2, device=x.device)
        for axis, (place, corner, extent) in enumerate(((x, column, width), (y, row, height))):
            within = place - place.floor() if self._periodic else place.clamp(0.0, 1.0)
            to_unit = 2 / (extent - 1)
            span = (self.size if self._periodic else self.size - 1) * to_unit
            torch.add(corner * to_unit - 1, within, alpha=span, out=grid[..., axis])
        values = F.grid_sample(self._image, grid.view(1, -1, x.shape[-1], 2), padding_mode="border", align_corners=True)
        return values.view(-1, *x.shape)
