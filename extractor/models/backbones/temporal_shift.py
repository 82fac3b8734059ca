"""Temporal shift: some channels look one frame ahead, others one frame back, without any arithmetic.

Lin, Gan, Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019 (arXiv 1811.08383).
"""

from __future__ import annotations

import torch
from torch import Tensor

from schemas.config import Edges

SHIFT_DIVISOR = 8  # an eighth of the channels comes from the future, the next eighth from the past


def future_slice(x: Tensor) -> Tensor:
    """The channels of (N, C, h, w) that the frame before reads: the first eighth, (N, C // 8, h, w), a view."""
    return x[:, : x.shape[1] // SHIFT_DIVISOR]


def past_slice(x: Tensor) -> Tensor:
    """The channels of (N, C, h, w) that the frame after reads: the second eighth, (N, C // 8, h, w), a view."""
    fold = x.shape[1] // SHIFT_DIVISOR
    return x[:, fold : 2 * fold]


def temporal_shift(
    x: Tensor, num_segments: int, edges: Edges, *, before: Tensor | None = None, after: Tensor | None = None
) -> Tensor:
    """Shift the first eighth of the channels from frame t + 1, the second from t - 1; the rest stays.

    `x` is (B*T, C, h, w) with T = `num_segments`, any float dtype; the result is a new tensor of the same shape and
    memory format. `before` is the `past_slice` of the frame before each clip and `after` the `future_slice` of the
    one after it, both (B, C // 8, h, w). None is the end of a sequence, where `edges` says what is read: zeros, or the
    frame itself.
    """
    if x.shape[0] == 0:
        return x
    fold = x.shape[1] // SHIFT_DIVISOR
    clips = torch.unflatten(x, 0, (-1, num_segments))  # (B, T, C, h, w)
    shifted = x.clone()  # all of it: copying only the unshifted channels takes 1.5 times as long
    out = torch.unflatten(shifted, 0, (-1, num_segments))
    future, past = slice(0, fold), slice(fold, 2 * fold)  # future first: the order the checkpoints were trained with
    out[:, :-1, future] = clips[:, 1:, future]
    if after is not None:
        out[:, -1, future] = after
    elif edges is Edges.ZEROS:  # for "repeat" the copy already holds the frame itself
        out[:, -1, future] = 0
    out[:, 1:, past] = clips[:, :-1, past]
    if before is not None:
        out[:, 0, past] = before
    elif edges is Edges.ZEROS:
        out[:, 0, past] = 0
    return shifted
