"""Folding of batch norm into convolutions for inference."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractor.models.backbones.layers import Activation, ConvNorm, activate
from extractor.models.backbones.packing import PackedConv, pack
from extractor.models.motion_squeeze import MotionSqueeze

Network = TypeVar("Network", bound=nn.Module)


class FoldedConv(nn.Module):
    """activation(conv(x) + bias + addend): a `ConvNorm` in evaluation mode, with batch norm folded in float64."""

    weight: Tensor
    bias: Tensor

    def __init__(self, unit: ConvNorm, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        conv, norm = unit.conv, unit.norm
        assert norm.running_mean is not None and norm.running_var is not None  # ConvNorm always tracks them
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
        bias = norm.bias.double() - norm.running_mean.double() * scale
        self.out_channels = unit.out_channels
        self.activation: Activation = unit.activation
        self.stride, self.padding, self.groups = conv.stride[0], conv.kernel_size[0] // 2, conv.groups
        self.register_buffer("weight", weight.to(device, dtype).contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(device, dtype))
        self._packed = self._pack()

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """Map (N, C, h, w) to (N, out_channels, h', w'); `addend`, where given, has the shape of the result."""
        if self._packed is not None and x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad:
            y = self._packed(x, addend)
        else:
            y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
            if addend is not None:
                y += addend
        return activate(y, self.activation)

    def _pack(self) -> PackedConv | None:
        return pack(self.weight, self.bias, self.stride, self.padding, self.groups)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # packed weights can be neither copied nor pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._packed = self._pack()


def fuse(network: Network, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Network:
    """Copy `network` in evaluation mode with every `ConvNorm` folded; the original stays as it is.

    Folded convolutions hold weights of `dtype`; everything else stays float32. The MS module's embedding is brought to
    a size that float16 holds (`MotionSqueeze.enlarge_embedding`), which changes no bit in float32. The output equals
    the original's in evaluation mode up to rounding (about 1e-6 relative in float32). The copy tracks no gradients.
    """
    fused = copy.deepcopy(network).eval().requires_grad_(False)
    target = torch.device(device) if device is not None else next(fused.parameters()).device
    for module in list(fused.modules()):
        if isinstance(module, MotionSqueeze) and isinstance(module.reduction, ConvNorm):
            module.enlarge_embedding()
        for name, child in list(module.named_children()):
            if isinstance(child, ConvNorm):
                module.register_module(name, FoldedConv(child, dtype=dtype, device=target))
    return fused.to(target)
