"""The head of the official baseline."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gebd.heads.networks.base import FlatHead
from gebd.heads.networks.spec import HeadSpec


class ContrastHead(FlatHead):
    """Linear classifier on the concatenated means of the frames before and after.

    The decision rule of the official baseline (Shou et al., ICCV 2021, "PC"), here for all frames of a window at once
    and on frozen features. The frame itself belongs to neither side.
    """

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__(spec)
        self.classifier = nn.Linear(2 * self.in_width, 1)

    def forward(self, tensors: Mapping[str, Tensor], valid: Tensor) -> Tensor:
        """Return (B, T) logits; see `Head`."""
        values = self.inputs(tensors, valid).transpose(1, 2)  # (B, C, T)
        count = valid[:, None].to(values.dtype)
        before, after = (
            self._sum(values, front=front) / self._sum(count, front=front).clamp_min(1) for front in (True, False)
        )
        logits: Tensor = self.classifier(torch.cat([before, after], 1).transpose(1, 2))[..., 0]
        return logits

    def _sum(self, values: Tensor, *, front: bool) -> Tensor:
        """Return (B, C, T) sums over the context frames before each frame, or after it."""
        context = self.spec.context_frames
        padding = (context, 0) if front else (0, context)
        sums = F.avg_pool1d(F.pad(values, padding), context, stride=1) * context  # (B, C, T + 1)
        # Entry t sums frames t - context ... t - 1 with padding in front, t ... t + context - 1 with padding behind.
        return sums[..., :-1] if front else sums[..., 1:]
