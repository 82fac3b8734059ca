"""The numbers of the backbones, without torch: their blocks, how wide they are, which can shift."""

from __future__ import annotations

from typing import NamedTuple

FEATURE_STRIDE_PX = 8  # side of a cell of the motion features, in pixels of the network's input

RESNET_LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STAGE_WIDTHS = (64, 128, 256, 512)

MOBILENET_STEM_CHANNELS = 32
MOBILENET_FEATURES = 1280
_MOBILENET_STAGE_CHANNELS = (32, 96, MOBILENET_FEATURES)
# expand ratio, width, repeats, stride of the first: table 2 of the paper
_MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class BackboneNumbers(NamedTuple):
    """Names of the blocks that can shift, and widths of stages 2, 3 and 4 (strides 8, 16 and 32).

    The MS module sits after stage 2. Features are means over the last stage.
    """

    blocks: tuple[str, ...]
    stage_channels: tuple[int, int, int]


class InvertedResidualNumbers(NamedTuple):
    """One inverted residual of MobileNetV2."""

    in_channels: int
    out_channels: int
    stride: int
    ratio: int

    @property
    def has_skip(self) -> bool:
        """Whether it keeps size and width, and so has a skip path and can shift."""
        return self.stride == 1 and self.in_channels == self.out_channels


def resnet_expansion(depth: int) -> int:
    """Output width over nominal width of a block of ResNet-`depth`: 1 for basic blocks, 4 for bottlenecks."""
    return 1 if depth < 50 else 4


def mobilenet_plan() -> list[InvertedResidualNumbers]:
    """features[1] to features[17] of MobileNetV2."""
    plan = []
    in_channels = MOBILENET_STEM_CHANNELS
    for ratio, width, repeats, stride in _MOBILENET_STAGES:
        for i in range(repeats):
            plan.append(InvertedResidualNumbers(in_channels, width, stride if i == 0 else 1, ratio))
            in_channels = width
    return plan


def backbone_numbers(backbone: str) -> BackboneNumbers:
    """Numbers of "resnet18", "resnet34", "resnet50", "resnet101" or "mobilenetv2"."""
    if backbone == "mobilenetv2":
        blocks = tuple(f"features.{i}" for i, numbers in enumerate(mobilenet_plan(), start=1) if numbers.has_skip)
        return BackboneNumbers(blocks, _MOBILENET_STAGE_CHANNELS)
    depth = int(backbone.removeprefix("resnet"))
    blocks = tuple(f"layer{stage}.{i}" for stage, n in enumerate(RESNET_LAYERS[depth], start=1) for i in range(n))
    stage2, stage3, stage4 = (width * resnet_expansion(depth) for width in STAGE_WIDTHS[1:])
    return BackboneNumbers(blocks, (stage2, stage3, stage4))
