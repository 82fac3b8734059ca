"""Convolutions with weights packed once for oneDNN, with the addend added while the result is in cache.

On a CPU the public convolution packs its weights again at every call, and the addition reads and writes the whole
result again: together a tenth to a fifth of the network's time. The two operators used here are those that PyTorch's
own compiler emits. They are not documented, so `pack` first tries them on a small case. It returns None where they are
missing or differ, and the caller then uses the public convolution.

The activation is not fused, which would save 1 to 2 % more: oneDNN's ReLU turns NaN into 0, and a network that
overflowed would return ordinary features.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class PackedConv(NamedTuple):
    """A convolution on the CPU with weights in oneDNN's layout; channels-last in and out, no gradients."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int
    groups: int
    subsample: int

    def __call__(self, x: Tensor, addend: Tensor | None) -> Tensor:
        """conv(x) + bias + addend, a new tensor."""
        if self.subsample > 1:
            step = self.subsample
            x = x[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last)
        padding, stride = [self.padding] * 2, [self.stride] * 2
        conv: Any = torch.ops.mkldnn._convolution_pointwise
        y: Tensor
        if addend is None:
            y = conv(x, self.weight, self.bias, padding, stride, [1, 1], self.groups, "none", [], "")
        else:
            y = conv.binary(
                x, addend, self.weight, self.bias, padding, stride, [1, 1], self.groups, "add", None, None, [], ""
            )
        return y


def pack(weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> PackedConv | None:
    """Pack a weight (out, in / groups, k, k) for oneDNN; None unless it is float32, on a CPU, and packing works here.

    A 1 x 1 convolution with a stride is packed without it and its input is subsampled first: oneDNN's layout for a
    stride depends on the frame size, and a layout that does not fit costs more than the convolution.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not _available():
        return None
    subsample = stride if weight.shape[2:] == (1, 1) else 1
    return _pack(weight, bias, stride // subsample, padding, groups, subsample)


def _pack(weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int, subsample: int) -> PackedConv:
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    packed = reorder(weight.to_mkldnn(), [padding] * 2, [stride] * 2, [1, 1], groups, None)
    return PackedConv(packed, bias, stride, padding, groups, subsample)


@cache
def _available() -> bool:
    """Whether the operators exist and agree with the public convolution."""
    try:
        with torch.no_grad():
            x = torch.linspace(-1, 1, 2 * 16 * 9).view(2, 16, 3, 3).contiguous(memory_format=torch.channels_last)
            weight = torch.linspace(-1, 1, 16 * 16 * 9).view(16, 16, 3, 3)
            bias = torch.linspace(-1, 1, 16)
            expected = F.conv2d(x, weight, bias, padding=1) + x
            got = _pack(weight, bias, 1, 1, 1, 1)(x, x)
            return torch.allclose(got, expected, atol=1e-4)
    except (AttributeError, RuntimeError, TypeError):
        return False
