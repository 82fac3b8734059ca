"""The building block of every network: a convolution, its batch norm, an optional addend, an activation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Activation = Literal["relu", "relu6", "open_relu", "none"]


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply `activation` in place; nothing else may read `x`.

    "open_relu" is the ReLU, but lets the gradient pass at exactly 0, so that a norm of weight and bias 0 can learn.
    """
    if activation == "open_relu" and x.requires_grad:
        return x.clamp_min(0)
    if activation in ("relu", "open_relu"):
        return torch.relu_(x)
    if activation == "relu6":
        return nn.functional.relu6(x, inplace=True)
    return x


def run_block(block: nn.Module, x: Tensor, timeline: object, *, checkpointing: bool) -> Tensor:
    """A block's output; with `checkpointing`, autograd keeps `x` alone and computes the block again on its way back."""
    if checkpointing and torch.is_grad_enabled():
        y: Tensor = checkpoint(block, x, timeline, use_reentrant=False)
        return y
    return block(x, timeline)  # type: ignore[no-any-return]


class ConvNorm(nn.Module):
    """activation(norm(conv(x)) + addend): the unit that `fusion.fuse` folds into one convolution with a bias.

    A residual block passes its skip path as `addend`, so that the folded form can add it while the result of the
    convolution is still in registers. Padding keeps the size at stride 1; the convolution has no bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.activation: Activation = activation
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, out_channels, h', w'); `addend`, where given, has the shape of the result."""
        y = self.norm(self.conv(x))
        if addend is not None:
            y = y + addend
        return activate(y, self.activation)
