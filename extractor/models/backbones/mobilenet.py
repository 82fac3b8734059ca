"""MobileNetV2 whose width-keeping inverted residuals may look one frame ahead and back.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, with
torchvision's numbering of the features.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from extractor.models.backbones.architecture import (
    MOBILENET_FEATURES,
    MOBILENET_STEM_CHANNELS,
    InvertedResidualNumbers,
    backbone_numbers,
    mobilenet_plan,
)
from extractor.models.backbones.layers import ConvNorm, run_block
from extractor.models.backbones.timeline import Timeline

_STAGE2, _STAGE3 = 7, 14  # the MS module sits after features[6] (stride 8, 32 channels); stride 16 ends with [13]


class InvertedResidual(nn.Module):
    """1 x 1 expansion, 3 x 3 depthwise, linear 1 x 1 projection; a skip path where stride 1 and width are kept."""

    def __init__(self, numbers: InvertedResidualNumbers, shifted: bool) -> None:
        super().__init__()
        in_channels, out_channels, stride, ratio = numbers
        width = in_channels * ratio
        self.out_channels = out_channels
        self.has_skip = numbers.has_skip
        self.shifted = shifted
        self.expand = ConvNorm(in_channels, width, 1, activation="relu6") if ratio != 1 else None
        self.depthwise = ConvNorm(width, width, 3, stride=stride, groups=width, activation="relu6")
        self.project = ConvNorm(width, out_channels, 1, activation="none")

    def forward(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, C, h, w) to (M, out_channels, h', w'): M frames that the timeline has ready."""
        x, branch = timeline.shift(x) if self.shifted else (x, x)
        if self.expand is not None:
            branch = self.expand(branch)
        y: Tensor = self.project(self.depthwise(branch), x if self.has_skip else None)
        return y

    @property
    def last(self) -> ConvNorm:
        """The last convolution of the residual branch."""
        return self.project


class MobileNetV2(nn.Module):
    """The backbone in three parts, by stride: `lower` ends where the MS module sits, after features[6] at stride 8."""

    def __init__(self, shifted: Collection[str] = ()) -> None:
        super().__init__()
        self.checkpointing = False  # training keeps only what enters each block, and computes the rest again
        self.motion_channels, _, self.out_channels = backbone_numbers("mobilenetv2").stage_channels
        plan = mobilenet_plan()
        self.features = nn.ModuleList(
            [
                ConvNorm(3, MOBILENET_STEM_CHANNELS, 3, stride=2, activation="relu6"),
                *(InvertedResidual(n, f"features.{i}" in shifted) for i, n in enumerate(plan, start=1)),
                ConvNorm(plan[-1].out_channels, MOBILENET_FEATURES, 1, activation="relu6"),
            ]
        )

    def lower(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map frames (N, 3, H, W) to (M, 32, ceil(H / 8), ceil(W / 8))."""
        return self._run(0, x, timeline)

    def stage3(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, 32, h, w) to (M, 96, ceil(h / 2), ceil(w / 2)): the blocks at stride 16."""
        return self._run(1, x, timeline)

    def stage4(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, 96, h, w) to (M, 1280, ceil(h / 2), ceil(w / 2)): the blocks at stride 32, the last layer."""
        return self._run(2, x, timeline)

    def parts(self) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
        """The modules that `lower`, `stage3` and `stage4` run."""
        features = list(self.features)
        return features[:_STAGE2], features[_STAGE2:_STAGE3], features[_STAGE3:]

    def _run(self, part: int, x: Tensor, timeline: Timeline) -> Tensor:
        for feature in self.parts()[part]:
            if isinstance(feature, InvertedResidual):
                x = run_block(feature, x, timeline, checkpointing=self.checkpointing)
            else:
                x = feature(x)
        return x
