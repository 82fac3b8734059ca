"""MSNet written plainly: separate batch norm, NCHW memory, all-pairs correlation as one batched product.

The baseline of the tuned networks. It computes the same function from the same weights, by canonical names (see
`extractor.models.checkpoints.names`), and counts its floating-point operations.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from extractor import MSNet
from extractor.models.backbones.architecture import RESNET_LAYERS
from extractor.models.checkpoints.names import canonical_name

__all__ = ["PlainResNet"]

RADIUS = 7
SIDE = 2 * RADIUS + 1


class PlainResNet:
    """The ResNet of an unfolded `network`, with or without MS module, on one clip (T, 3, H, W)."""

    def __init__(self, network: MSNet) -> None:
        self.depth = int(network.spec.backbone.removeprefix("resnet"))
        self.has_motion = network.spec.has_motion
        self.flops = 0
        named = ((canonical_name(name), tensor) for name, tensor in network.state_dict().items())
        self.weights: Mapping[str, Tensor] = {name: tensor for name, tensor in named if name is not None}

    def __call__(self, frames: Tensor) -> Tensor:
        """Return frame features (T, D), and set `flops`, two for each multiply-add."""
        self.flops = 0
        x = F.max_pool2d(torch.relu(self._conv_norm(frames, "conv1", "bn1", 2)), 3, 2, 1)
        for stage, blocks in enumerate(RESNET_LAYERS[self.depth], start=1):
            for i in range(blocks):
                x = self._block(x, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
            if stage == 2 and self.has_motion:
                x = x + self._motion(x)
        return x.mean((2, 3))

    def _conv_norm(self, x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.weights[f"{conv}.weight"]
        y = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=groups)
        self.flops += 2 * y.numel() * weight[0].numel()
        mean, var = self.weights[f"{norm}.running_mean"], self.weights[f"{norm}.running_var"]
        return F.batch_norm(y, mean, var, self.weights[f"{norm}.weight"], self.weights[f"{norm}.bias"])

    def _block(self, x: Tensor, name: str, stride: int) -> Tensor:
        branch = _shift(x)
        strides = (1, stride, 1) if self.depth >= 50 else (stride, 1)
        for i, step in enumerate(strides, start=1):
            branch = self._conv_norm(branch, f"{name}.conv{i}", f"{name}.bn{i}", step)
            if i < len(strides):
                branch = torch.relu(branch)
        if f"{name}.downsample.0.weight" in self.weights:
            x = self._conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return torch.relu(branch + x)

    def _motion(self, x: Tensor) -> Tensor:
        reduced = torch.relu(self._conv_norm(x, "chnl_reduction.0", "chnl_reduction.1"))
        unit = reduced / torch.sqrt(reduced.square().sum(1, keepdim=True) + 1e-6)
        scores = self._all_pairs(unit[:-1], unit[1:])
        y = torch.cat((_soft_argmax(scores) / RADIUS, scores.amax(1, keepdim=True)), 1)
        y = torch.cat((y, y[-1:]))
        for block in ("conv1", "conv2", "conv3", "conv4"):
            name = f"flow_refinement.{block}"
            y = torch.relu(self._conv_norm(y, f"{name}.0", f"{name}.1", groups=y.shape[1]))
            y = torch.relu(self._conv_norm(y, f"{name}.3", f"{name}.4"))
        return y

    def _all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (N, P * P, h, w): every cell with every cell, then each cell's window."""
        count, channels, height, width = first.shape
        self.flops += 2 * count * height * width * SIDE * SIDE * channels  # those of the window, not of all pairs
        volume = torch.bmm(first.flatten(2).transpose(1, 2), second.flatten(2)).relu()
        padded = F.pad(volume.view(-1, height * width, height, width), (RADIUS,) * 4)
        rows = torch.arange(height).view(-1, 1, 1, 1) + torch.arange(SIDE).view(1, 1, -1, 1)
        columns = torch.arange(width).view(1, -1, 1, 1) + torch.arange(SIDE).view(1, 1, 1, -1)
        index = (rows * (width + 2 * RADIUS) + columns).view(1, height * width, SIDE * SIDE)
        window = padded.flatten(2).gather(2, index.expand(count, -1, -1))
        return window.transpose(1, 2).reshape(count, SIDE * SIDE, height, width)


def _shift(x: Tensor) -> Tensor:
    eighth = x.shape[1] // 8
    out = torch.zeros_like(x)
    out[:-1, :eighth] = x[1:, :eighth]
    out[1:, eighth : 2 * eighth] = x[:-1, eighth : 2 * eighth]
    out[:, 2 * eighth :] = x[:, 2 * eighth :]
    return out


def _soft_argmax(scores: Tensor) -> Tensor:
    side = torch.arange(-RADIUS, RADIUS + 1, dtype=scores.dtype)
    dy, dx = (grid.reshape(1, -1, 1, 1) for grid in torch.meshgrid(side, side, indexing="ij"))
    best = scores.argmax(1, keepdim=True)
    peak_y, peak_x = best // SIDE - RADIUS, best % SIDE - RADIUS
    kernel = torch.exp(-((dy - peak_y) ** 2 + (dx - peak_x) ** 2) / (2 * 5.0**2))
    weights = torch.softmax(100 * kernel * scores, 1)
    return torch.cat(((weights * dx).sum(1, keepdim=True), (weights * dy).sum(1, keepdim=True)), 1)
