"""A second version of the family in float64 numpy, written from the specification alone, for parity tests.

Nothing here uses the code under test, and nothing is clever: no folding, no banded products, batch norm as its
formula, one loop over the candidates of the search window, one over the cells. Arrays are NCHW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[np.float64]
Weights = Mapping[str, Array]

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# in, out, stride, expand of features[1] .. features[17]
INVERTED = (
    *((32, 16, 1, 1), (16, 24, 2, 6), (24, 24, 1, 6), (24, 32, 2, 6), (32, 32, 1, 6), (32, 32, 1, 6)),
    *((32, 64, 2, 6), (64, 64, 1, 6), (64, 64, 1, 6), (64, 64, 1, 6), (64, 96, 1, 6), (96, 96, 1, 6), (96, 96, 1, 6)),
    *((96, 160, 2, 6), (160, 160, 1, 6), (160, 160, 1, 6), (160, 320, 1, 6)),
)
RADIUS = 7


@dataclass
class Reference:
    """What the reference returns for one clip of T frames."""

    frame_features: Array  # (T, D)
    clip_features: Array  # (D,)
    logits: Array  # (classes,)
    motion: Array | None = None  # (T, C, h, w)
    displacement: Array | None = None  # (T - 1, 2, h, w), cells
    confidence: Array | None = None  # (T - 1, 1, h, w)
    tied: npt.NDArray[np.bool_] | None = None  # (T - 1, h, w)


def read_reference_checkpoint(path: Path) -> Weights:
    """Weights by name without prefixes."""
    state = torch.load(path, weights_only=True)["state_dict"]
    return {
        name.removeprefix("module.").removeprefix("base_model."): tensor.double().numpy()
        for name, tensor in state.items()
    }


def conv(x: Array, weight: Array, stride: int = 1, groups: int = 1) -> Array:
    """Convolution without bias, padding k // 2: a sum over the taps of the kernel."""
    k = weight.shape[2]
    n, _, height, width = x.shape
    out_h, out_w = (height - 1) // stride + 1, (width - 1) // stride + 1
    pad = k // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, weight.shape[0], out_h * out_w))
    for i in range(k):
        for j in range(k):
            tap = padded[:, :, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
            tap = tap[:, :, :out_h, :out_w].reshape(n, x.shape[1], -1)
            if groups == 1:
                out += np.matmul(weight[:, :, i, j], tap)
            else:
                assert groups == x.shape[1] == weight.shape[0]
                out += weight[:, 0, i, j][None, :, None] * tap
    return out.reshape(n, -1, out_h, out_w)


def norm(x: Array, weights: Weights, name: str) -> Array:
    """Batch norm at evaluation, eps 1e-5."""
    mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    column = (1, -1, 1, 1)
    normalised = (x - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
    return normalised * scale.reshape(column) + shift.reshape(column)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    return np.clip(x, 0, 6)


def max_pool(x: Array) -> Array:
    """3 x 3, stride 2, padding 1."""
    n, c, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    out = np.full((n, c, (height - 1) // 2 + 1, (width - 1) // 2 + 1), -np.inf)
    for i in range(3):
        for j in range(3):
            tap = padded[:, :, i : i + 2 * out.shape[2] : 2, j : j + 2 * out.shape[3] : 2]
            out = np.maximum(out, tap[:, :, : out.shape[2], : out.shape[3]])
    return out


def shift(x: Array, edges: str = "zeros") -> Array:
    """Temporal shift of one clip (T, C, h, w); beyond its ends are zeros, or with "repeat" the frame itself."""
    frames, channels = x.shape[:2]
    eighth = channels // 8
    out = np.zeros_like(x) if edges == "zeros" else x.copy()
    for t in range(frames):
        if t + 1 < frames:
            out[t, :eighth] = x[t + 1, :eighth]
        if t >= 1:
            out[t, eighth : 2 * eighth] = x[t - 1, eighth : 2 * eighth]
        out[t, 2 * eighth :] = x[t, 2 * eighth :]
    return out


def correlation(first: Array, second: Array, radius: int = RADIUS) -> Array:
    """(C, h, w) twice to (2 r + 1, 2 r + 1, h, w): vertical offset, horizontal offset, cell."""
    _, height, width = first.shape
    side = 2 * radius + 1
    out = np.zeros((side, side, height, width))
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            for y in range(max(0, -dy), min(height, height - dy)):
                for x in range(max(0, -dx), min(width, width - dx)):
                    out[dy + radius, dx + radius, y, x] = first[:, y, x] @ second[:, y + dy, x + dx]
    return np.maximum(out, 0)


def soft_argmax(scores: Array, kernel: bool = True) -> tuple[Array, float, bool]:
    """Displacement (x, y) in cells, confidence and tie of one cell from (2 r + 1, 2 r + 1) scores."""
    radius = scores.shape[0] // 2
    best = float(scores.max())
    candidates = [
        (dy * dy + dx * dx, dy, dx)
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if scores[dy + radius, dx + radius] >= best - 1e-6
    ]
    _, peak_y, peak_x = min(candidates)  # smallest |p|, then row-major
    offsets = np.arange(-radius, radius + 1)
    dy, dx = np.meshgrid(offsets, offsets, indexing="ij")
    gauss = np.exp(-((dy - peak_y) ** 2 + (dx - peak_x) ** 2) / (2 * 5.0**2)) if kernel else 1.0
    exponent = 100.0 * gauss * scores
    weight = np.exp(exponent - exponent.max())
    weight /= weight.sum()
    far = np.maximum(abs(dy - peak_y), abs(dx - peak_x)) > 1
    second = float(scores[far].max()) if far.any() else 0.0
    return np.array([(weight * dx).sum(), (weight * dy).sum()]), best, best - second < 1e-5


def motion_squeeze(
    x: Array, weights: Weights, at_ties: Array | None = None
) -> tuple[Array, Array, Array, npt.NDArray[np.bool_]]:
    """The MS module on one clip (T, C, h, w): motion features, displacement in cells, confidence, ties.

    `at_ties`, where given, is the displacement in tied cells from which motion features are computed: within a rounding
    error of the rule's 1e-6, float32 and float64 choose differently, and both are right.
    """
    reduced = relu(norm(conv(x, weights["chnl_reduction.0.weight"]), weights, "chnl_reduction.1"))
    unit = reduced / np.sqrt((reduced**2).sum(1, keepdims=True) + 1e-6)
    frames, _, height, width = x.shape
    displacement = np.zeros((frames - 1, 2, height, width))
    confidence = np.zeros((frames - 1, 1, height, width))
    tied = np.zeros((frames - 1, height, width), bool)
    for t in range(frames - 1):
        scores = correlation(unit[t], unit[t + 1])
        for i in range(height):
            for j in range(width):
                displacement[t, :, i, j], confidence[t, 0, i, j], tied[t, i, j] = soft_argmax(scores[:, :, i, j])
    used = displacement if at_ties is None else np.where(tied[:, None], at_ties, displacement)
    pairs = np.concatenate([used / RADIUS, confidence], 1)
    y = np.concatenate([pairs, pairs[-1:]])
    for block in ("conv1", "conv2", "conv3", "conv4"):
        name = f"flow_refinement.{block}"
        depthwise = conv(y, weights[f"{name}.0.weight"], groups=y.shape[1])
        y = relu(norm(depthwise, weights, f"{name}.1"))
        y = relu(norm(conv(y, weights[f"{name}.3.weight"]), weights, f"{name}.4"))
    return y, displacement, confidence, tied


def residual_block(
    x: Array, weights: Weights, name: str, stride: int, bottleneck: bool, shifted: bool, edges: str
) -> Array:
    branch = shift(x, edges) if shifted else x
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    for i, step in enumerate(strides, start=1):
        branch = norm(conv(branch, weights[f"{name}.conv{i}.weight"], step), weights, f"{name}.bn{i}")
        if i < len(strides):
            branch = relu(branch)
    if f"{name}.downsample.0.weight" in weights:
        x = norm(conv(x, weights[f"{name}.downsample.0.weight"], stride), weights, f"{name}.downsample.1")
    return relu(branch + x)


def inverted_residual(x: Array, weights: Weights, i: int, shifted: bool, edges: str) -> Array:
    into, out, stride, expand = INVERTED[i - 1]
    keeps = stride == 1 and into == out
    branch = shift(x, edges) if shifted and keeps else x
    name = f"features.{i}.conv"
    layer = 0
    if expand != 1:
        branch = relu6(norm(conv(branch, weights[f"{name}.0.0.weight"]), weights, f"{name}.0.1"))
        layer = 1
    depthwise = conv(branch, weights[f"{name}.{layer}.0.weight"], stride, groups=into * expand)
    branch = relu6(norm(depthwise, weights, f"{name}.{layer}.1"))
    branch = norm(conv(branch, weights[f"{name}.{layer + 1}.weight"]), weights, f"{name}.{layer + 2}")
    return branch + x if keeps else branch


def run_clip(
    frames: Array,
    weights: Weights,
    backbone: str,
    *,
    shifted: Callable[[str], bool] = lambda name: True,
    at_ties: Array | None = None,
    edges: str = "zeros",
) -> Reference:
    """One clip (T, 3, H, W), normalised, through `backbone`, with the MS module where there are weights for it."""
    has_motion = "chnl_reduction.0.weight" in weights
    squeezed = None
    if backbone == "mobilenetv2":
        x = relu6(norm(conv(frames, weights["features.0.0.weight"], 2), weights, "features.0.1"))
        for i in range(1, 18):
            x = inverted_residual(x, weights, i, shifted(f"features.{i}"), edges)
            if i == 6 and has_motion:
                squeezed = motion_squeeze(x, weights, at_ties)
                x = x + squeezed[0]
        x = relu6(norm(conv(x, weights["features.18.0.weight"]), weights, "features.18.1"))
    else:
        depth = int(backbone.removeprefix("resnet"))
        x = max_pool(relu(norm(conv(frames, weights["conv1.weight"], 2), weights, "bn1")))
        for stage, blocks in enumerate(LAYERS[depth], start=1):
            for i in range(blocks):
                name = f"layer{stage}.{i}"
                stride = 2 if stage > 1 and i == 0 else 1
                x = residual_block(x, weights, name, stride, depth >= 50, shifted(name), edges)
            if stage == 2 and has_motion:
                squeezed = motion_squeeze(x, weights, at_ties)
                x = x + squeezed[0]
    features = x.mean((2, 3))
    head, bias = weights["new_fc.weight"], weights["new_fc.bias"]
    scores = np.stack([head.reshape(head.shape[:2]) @ feature + bias for feature in features])
    result = Reference(features, features.mean(0), scores.mean(0))
    if squeezed is not None:
        result.motion, result.displacement, result.confidence, result.tied = squeezed
    return result
