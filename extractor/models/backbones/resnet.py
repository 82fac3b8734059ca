"""ResNet-18, 34, 50 and 101 whose residual branches may look one frame ahead and back.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, with the stride of a bottleneck on its
3 x 3 convolution as in torchvision, which the reference's weights were trained with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from torch import Tensor, nn

from extractor.models.backbones.architecture import RESNET_LAYERS, STAGE_WIDTHS
from extractor.models.backbones.layers import ConvNorm, run_block
from extractor.models.backbones.timeline import Timeline


class _ResidualBlock(nn.Module, ABC):
    """What both kinds of block share: the skip path, and the shift of the residual branch."""

    has_skip = True

    def __init__(self, in_channels: int, out_channels: int, stride: int, shifted: bool) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.shifted = shifted
        self.downsample: ConvNorm | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = ConvNorm(in_channels, out_channels, 1, stride=stride, activation="none")

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, C, h, w) to (M, out_channels, h', w'): M frames that the timeline has ready."""
        x, branch = timeline.shift(x) if self.shifted else (x, x)
        skip = x if self.downsample is None else self.downsample(x)
        return self.residual(branch, skip)

    @abstractmethod
    def residual(self, x: Tensor, skip: Tensor) -> Tensor:
        """Run the residual branch on `x` and add `skip`."""


class BasicBlock(_ResidualBlock):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shifted: bool) -> None:
        super().__init__(in_channels, width, stride, shifted)
        self.conv1 = ConvNorm(in_channels, width, 3, stride=stride)
        self.conv2 = ConvNorm(width, width, 3)

    def residual(self, x: Tensor, skip: Tensor) -> Tensor:
        """Run the residual branch on `x` and add `skip`."""
        y: Tensor = self.conv2(self.conv1(x), skip)
        return y

    @property
    def last(self) -> ConvNorm:
        """The last convolution of the residual branch."""
        return self.conv2


class Bottleneck(_ResidualBlock):
    """1 x 1 down, 3 x 3, 1 x 1 up."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shifted: bool) -> None:
        super().__init__(in_channels, width * self.expansion, stride, shifted)
        self.conv1 = ConvNorm(in_channels, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride=stride)
        self.conv3 = ConvNorm(width, width * self.expansion, 1)

    def residual(self, x: Tensor, skip: Tensor) -> Tensor:
        """Run the residual branch on `x` and add `skip`."""
        y: Tensor = self.conv3(self.conv2(self.conv1(x)), skip)
        return y

    @property
    def last(self) -> ConvNorm:
        """The last convolution of the residual branch."""
        return self.conv3


class ResNet(nn.Module):
    """The backbone in three parts: `lower` ends where the MS module sits, after layer2 at stride 8; layer3; layer4."""

    def __init__(self, depth: int, shifted: Collection[str] = ()) -> None:
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.checkpointing = False  # training keeps only what enters each block, and computes the rest again
        self.motion_channels = STAGE_WIDTHS[1] * block.expansion
        self.out_channels = STAGE_WIDTHS[3] * block.expansion
        self.conv1 = ConvNorm(3, 64, 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = 64
        for stage, (blocks, width) in enumerate(zip(RESNET_LAYERS[depth], STAGE_WIDTHS, strict=True), start=1):
            layer = nn.ModuleList()
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 1 else 1
                layer.append(block(in_channels, width, stride, f"layer{stage}.{i}" in shifted))
                in_channels = width * block.expansion
            self.add_module(f"layer{stage}", layer)

    def lower(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map frames (N, 3, H, W) to (M, motion_channels, ceil(H / 8), ceil(W / 8))."""
        x = self.maxpool(self.conv1(x))
        return self._run(("layer1", "layer2"), x, timeline)

    def stage3(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, motion_channels, h, w) to (M, 2 * motion_channels, ceil(h / 2), ceil(w / 2))."""
        return self._run(("layer3",), x, timeline)

    def stage4(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map the result of `stage3`, (N, C, h, w), to (M, out_channels, ceil(h / 2), ceil(w / 2))."""
        return self._run(("layer4",), x, timeline)

    def parts(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        """The modules that `lower`, `stage3` and `stage4` run."""
        layer1, layer2, layer3, layer4 = (self.get_submodule(f"layer{stage}") for stage in range(1, 5))
        return [self.conv1, layer1, layer2], [layer3], [layer4]

    def _run(self, stages: tuple[str, ...], x: Tensor, timeline: Timeline) -> Tensor:
        for stage in stages:
            for block in self.get_submodule(stage).children():
                x = run_block(block, x, timeline, checkpointing=self.checkpointing)
        return x
