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
from extractor.models.backbones.layers import ConvNorm
from extractor.models.backbones.timeline import Timeline

_LOWER_FEATURES = 7  # the MS module sits after features[6]: stride 8, 32 channels


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
    """The backbone in two halves: `lower` ends where the MS module sits, after features[6] at stride 8."""

    def __init__(self, shifted: Collection[str] = ()) -> None:
        super().__init__()
        _, self.out_channels, self.motion_channels = backbone_numbers("mobilenetv2")
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
        return self._run(0, _LOWER_FEATURES, x, timeline)

    def upper(self, x: Tensor, timeline: Timeline) -> Tensor:
        """Map (N, 32, h, w) to (M, 1280, ceil(h / 4), ceil(w / 4))."""
        return self._run(_LOWER_FEATURES, len(self.features), x, timeline)

    def lower_modules(self) -> list[nn.Module]:
        """The modules that `lower` runs."""
        return list(self.features[:_LOWER_FEATURES])

    def _run(self, start: int, stop: int, x: Tensor, timeline: Timeline) -> Tensor:
        for feature in self.features[start:stop]:
            x = feature(x, timeline) if isinstance(feature, InvertedResidual) else feature(x)
        return x
