"""Checkpoints in the reference's format with seeded random weights, made without the code under test."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from tests.extractor.models.reference import INVERTED, LAYERS

State = dict[str, Tensor]


def random_state(backbone: str, *, motion: bool = True, classes: int = 11, seed: int = 0) -> State:
    """Weights by the reference's names without prefixes, batch norm with statistics as training leaves them."""
    return {name: tensor.clone() for name, tensor in _random_state(backbone, motion, classes, seed).items()}


@lru_cache(maxsize=8)
def _random_state(backbone: str, motion: bool, classes: int, seed: int) -> State:
    maker = _Maker(seed)
    if backbone == "mobilenetv2":
        maker.mobilenet()
        width, motion_channels = 1280, 32
    else:
        depth = int(backbone.removeprefix("resnet"))
        maker.resnet(depth)
        expansion = 4 if depth >= 50 else 1
        width, motion_channels = 512 * expansion, 128 * expansion
    if motion:
        maker.motion(motion_channels)
    maker.state["new_fc.weight"] = maker.normal(classes, width) / width**0.5
    maker.state["new_fc.bias"] = maker.normal(classes) * 0.1
    return maker.state


def save_reference(path: Path, state: State, *, prefix: str = "module.") -> Path:
    """As the reference's training script saves it: nested, prefixed, its classifier a 1-d convolution, a stray norm."""
    named = {}
    for name, tensor in state.items():
        if name.startswith("new_fc"):
            named[prefix + name] = tensor.unsqueeze(-1) if tensor.ndim == 2 else tensor
        else:
            named[f"{prefix}base_model.{name}"] = tensor
    for part, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
        named[f"{prefix}base_model.bn2.{part}"] = torch.full((128,), value)
    content = {"epoch": 40, "arch": "resnet50", "state_dict": named, "best_prec1": torch.tensor(52.1)}
    torch.save(content, path)
    return path


def save_tsm(path: Path, state: State, shifted: set[str]) -> Path:
    """As TSM's releases: the shifted convolutions wrapped, a two-dimensional classifier."""
    named = {}
    for name, tensor in state.items():
        block, _, rest = name.partition(".conv1.")
        if block in shifted and rest:
            name = f"{block}.conv1.net.{rest}"
        named[f"module.{name}" if name.startswith("new_fc") else f"module.base_model.{name}"] = tensor
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": named, "best_prec1": 45.6}, path)
    return path


def blocks_of(state: State) -> list[str]:
    return sorted({name.partition(".conv1.")[0] for name in state if name.startswith("layer")} - {*state})


class _Maker:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def conv(self, name: str, into: int, out: int, k: int, *, groups: int = 1) -> None:
        fan_in = into // groups * k * k
        self.state[f"{name}.weight"] = self.normal(out, into // groups, k, k) * (2 / fan_in) ** 0.5

    def norm(self, name: str, channels: int, scale: float = 1.0) -> None:
        self.state[f"{name}.weight"] = self.uniform(0.5, 1.2, channels) * scale
        self.state[f"{name}.bias"] = self.normal(channels) * 0.2
        self.state[f"{name}.running_mean"] = self.normal(channels) * 0.3
        self.state[f"{name}.running_var"] = self.uniform(0.5, 2.0, channels)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    def resnet(self, depth: int) -> None:
        bottleneck = depth >= 50
        self.conv("conv1", 3, 64, 7)
        self.norm("bn1", 64)
        into = 64
        for stage, (blocks, width) in enumerate(zip(LAYERS[depth], (64, 128, 256, 512), strict=True), start=1):
            out = width * (4 if bottleneck else 1)
            for i in range(blocks):
                name = f"layer{stage}.{i}"
                shapes = [(into, width, 1), (width, width, 3), (width, out, 1)]
                if not bottleneck:
                    shapes = [(into, width, 3), (width, width, 3)]
                for j, (a, b, k) in enumerate(shapes, start=1):
                    self.conv(f"{name}.conv{j}", a, b, k)
                    self.norm(f"{name}.bn{j}", b, 0.3 if j == len(shapes) else 1.0)
                if i == 0 and (stage > 1 or into != out):
                    self.conv(f"{name}.downsample.0", into, out, 1)
                    self.norm(f"{name}.downsample.1", out)
                into = out

    def mobilenet(self) -> None:
        self.conv("features.0.0", 3, 32, 3)
        self.norm("features.0.1", 32)
        for i, (into, out, _, expand) in enumerate(INVERTED, start=1):
            name, wide, layer = f"features.{i}.conv", into * expand, 0
            if expand != 1:
                self.conv(f"{name}.0.0", into, wide, 1)
                self.norm(f"{name}.0.1", wide)
                layer = 1
            self.conv(f"{name}.{layer}.0", wide, wide, 3, groups=wide)
            self.norm(f"{name}.{layer}.1", wide)
            self.conv(f"{name}.{layer + 1}", wide, out, 1)
            self.norm(f"{name}.{layer + 2}", out)
        self.conv("features.18.0", 320, 1280, 1)
        self.norm("features.18.1", 1280)

    def motion(self, channels: int) -> None:
        self.conv("chnl_reduction.0", channels, 64, 1)
        self.norm("chnl_reduction.1", 64)
        widths = (3, 16, 32, 64, channels)
        for i, k in enumerate((7, 3, 3, 3)):
            name = f"flow_refinement.conv{i + 1}"
            self.conv(f"{name}.0", widths[i], widths[i], k, groups=widths[i])
            self.norm(f"{name}.1", widths[i])
            self.conv(f"{name}.3", widths[i], widths[i + 1], 1)
            self.norm(f"{name}.4", widths[i + 1])
