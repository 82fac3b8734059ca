"""Layers that join the frames of a window, each the same for any length of window and any padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HEADS = 4
_FARTHEST = 100  # frames apart that attention tells from one another: 10 s at 10 a second


def means_around(values: Tensor, valid: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means of values (B, T, ...) over the `reach` valid frames before each frame, and from it on, both (B, T, ...).

    Third, (B, T): 1 where there is a frame on either side, else 0; the mean of none is 0.
    """
    frames = valid.shape[1]
    count = valid.to(values.dtype)
    flat = values.flatten(2) * count[..., None]
    sums, counts = F.pad(flat.cumsum(1), (0, 0, 1, 0)), F.pad(count.cumsum(1), (1, 0))
    at = torch.arange(frames, device=valid.device)
    edges = (at - reach).clamp_min(0), at, (at + reach).clamp_max(frames)

    def mean(first: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        number = counts[:, stop] - counts[:, first]
        return ((sums[:, stop] - sums[:, first]) / number.clamp_min(1)[..., None]).view(values.shape), number > 0

    (before, any_before), (after, any_after) = mean(*edges[:2]), mean(*edges[1:])
    return before, after, (any_before & any_after).to(values.dtype)


class DilatedConvolution(nn.Module):
    """Dilated convolution over time with a shortcut; (B, T, C) to the same shape.

    Normalised frame by frame, so padding and the length of the window change no score.
    """

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values that are not valid (mask (B, T, 1)) stay 0, like those beyond the ends."""
        change = self.convolution((self.norm(values) * mask).transpose(1, 2)).transpose(1, 2)
        out: Tensor = values + self.dropout(F.gelu(change))
        return out * mask


class Attention(nn.Module):
    """Attention among all frames of a window, biased by how far they are apart, and a layer for each; same shape."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = _HEADS if width % _HEADS == 0 else 1
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.bias = nn.Parameter(torch.zeros(self.heads, 2 * _FARTHEST + 1))
        self.out = nn.Linear(width, width)
        self.layer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values that are not valid (mask (B, T, 1)) are not seen, and stay 0."""
        batch, frames, width = values.shape
        parts = self.query_key_value(self.norm(values)).view(batch, frames, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        at = torch.arange(frames, device=values.device)
        apart = (at - at[:, None]).clamp(-_FARTHEST, _FARTHEST) + _FARTHEST
        unseen = torch.where(mask[..., 0] > 0, 0.0, -1e4)[
            :, None, None
        ]  # -inf would make NaN of a window without frames
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias[:, apart] + unseen)
        values = values + self.dropout(self.out(found.transpose(1, 2).reshape(batch, frames, width)))
        out: Tensor = values + self.dropout(self.layer(values))
        return out * mask
