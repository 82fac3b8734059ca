"""MotionSqueeze: displacement and confidence between neighbouring frames, and motion features computed from them.

Kwon, Kim, Kwak, Cho, "MotionSqueeze: Neural Motion Feature Learning for Video Understanding", ECCV 2020
(arXiv 2007.09933), section 3, with the behaviour of the public reference implementation where the two differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractor.models.backbones.layers import Activation, ConvNorm
from extractor.models.correlation import NORM_EPSILON, correlate_tiles, normalize_cells
from extractor.models.precision import full_float32

SoftArgmaxKind = Literal["kernel", "plain"]

TEMPERATURE = 100.0  # tau of the paper
KERNEL_SIGMA_CELLS = 5.0
SAME_MAXIMUM = 1e-6  # candidates this close to the maximum count as the maximum
TIED_BELOW = 1e-5  # a second peak this close makes the match arbitrary
_LARGEST_EXPONENT = 24  # an embedding smaller than 2^-24 vanishes beside the epsilon: every score is zero


@dataclass(frozen=True, slots=True)
class MotionFeatures:
    """What `MotionSqueeze` returns. N frames in B clips have N - B pairs; B and T are folded.

    `features` (N, C, h, w) in the dtype of the input; `displacement` (N - B, 2, h, w) in cells, x to the right then y
    down, float32; `confidence` (N - B, 1, h, w) in [0, 1], float32; `tied` (N - B, h, w), bool: the two best
    non-adjacent candidates differ by less than 1e-5, so the displacement there is a convention, not a measurement.
    """

    features: Tensor
    displacement: Tensor
    confidence: Tensor
    tied: Tensor


class SoftArgmax(nn.Module):
    """Displacement, confidence and ties from correlation scores, without parameters.

    `kind` "kernel" weights the scores with a Gaussian around the best candidate before the softmax; "plain" is
    equation 2 of the paper, without it.
    """

    offsets: Tensor
    priority: Tensor
    by_priority: Tensor
    kernel: Tensor
    distant: Tensor

    def __init__(self, radius: int, kind: SoftArgmaxKind = "kernel") -> None:
        super().__init__()
        self.radius = radius
        self.kind: SoftArgmaxKind = kind
        with torch.device("cpu"):  # arithmetic on tensors without memory ("meta") loads torch's compiler, for seconds
            side = torch.arange(-radius, radius + 1)
            dy, dx = (grid.flatten() for grid in torch.meshgrid(side, side, indexing="ij"))  # vertical offset first
            squared = dx.square() + dy.square()
            order = torch.argsort(squared, stable=True)  # smallest |p| first, then row-major
            priority = torch.empty(len(order))
            priority[order] = torch.arange(len(order), 0, -1, dtype=torch.float32)
            between = (dx - dx.unsqueeze(1)).square() + (dy - dy.unsqueeze(1)).square()  # (P * P, P * P), exact
            adjacent = (between <= 2).float()  # Chebyshev distance at most 1: the candidate and its eight neighbours
            kernel = (TEMPERATURE * torch.exp(between.double() / (-2 * KERNEL_SIGMA_CELLS**2))).float()
        self._register("offsets", torch.stack((dx, dy)).float())
        self._register("priority", priority)
        self._register("by_priority", order.flip(0).unsqueeze(1))
        self._register("distant", 1 - adjacent)
        self._register("kernel", kernel)

    def _register(self, name: str, table: Tensor) -> None:
        self.register_buffer(name, table.to(torch.get_default_device()), persistent=False)

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map non-negative scores (..., P * P) of each cell's candidates to displacement, confidence and ties.

        Displacement (..., 2) is in cells, x then y; confidence is (..., 1); ties (...) are bool. A cell with NaN among
        its scores has displacement and confidence NaN, and is not tied.
        """
        confidence = scores.amax(-1, keepdim=True)
        best = self._best(scores.detach(), confidence.detach())
        second = (scores.detach() * F.embedding(best, self.distant)).amax(-1)
        tied = confidence.detach().squeeze(-1) - second < TIED_BELOW
        sharpened = scores * (F.embedding(best, self.kernel) if self.kind == "kernel" else TEMPERATURE)
        return F.linear(torch.softmax(sharpened, -1), self.offsets), confidence, tied

    def _best(self, scores: Tensor, maximum: Tensor) -> Tensor:
        """Index of the best candidate: of those within 1e-6 of the maximum, the one of highest priority.

        Not argmax: among scores that differ by rounding, the choice must not depend on the device or the batch.
        """
        # 1 for a candidate, else 0. Arithmetic, because masks cost ten times as much on a CPU. The difference comes
        # first: it is exact in float32, whereas `maximum - 1e-6` is rounded by up to 3e-8.
        candidates = (scores - maximum).add_(SAME_MAXIMUM).mul_(1e30).clamp_(0, 1)
        # NaN among the scores makes this NaN, whose integer may be any: it must not index beyond the table.
        highest = candidates.mul_(self.priority).amax(-1).long().clamp_(1, len(self.by_priority))
        return F.embedding(highest - 1, self.by_priority).squeeze(-1)


class MotionSqueeze(nn.Module):
    """The MS module: maps features (B*T, C, h, w) of any backbone to `MotionFeatures` of the same width.

    The three steps are separate methods so that a stream can run them as frames come: `embed` frames, `match` pairs of
    embedded frames, `transform` the displacement and confidence of pairs to motion features.
    """

    hidden_channels = 64
    transformation_channels = (16, 32, 64)
    transformation_kernels = (7, 3, 3, 3)

    def __init__(self, channels: int, *, radius: int = 7, soft_argmax: SoftArgmaxKind = "kernel") -> None:
        super().__init__()
        self.out_channels = channels
        self.radius = radius
        self.norm_epsilon = NORM_EPSILON  # training (training.embedding) and `enlarge_embedding` change it
        self.reduction = ConvNorm(channels, self.hidden_channels, 1)
        self.soft_argmax = SoftArgmax(radius, soft_argmax)
        widths = (3, *self.transformation_channels, channels)
        # the last may start at zero, where an ordinary ReLU would keep it for ever
        activations: tuple[Activation, ...] = ("relu", "relu", "relu", "open_relu")
        self.transformation = nn.Sequential(
            *(
                nn.Sequential(
                    ConvNorm(width, width, kernel, groups=width),
                    ConvNorm(width, next_width, 1, activation=activation),
                )
                for width, next_width, kernel, activation in zip(
                    widths, widths[1:], self.transformation_kernels, activations, strict=False
                )
            )
        )

    def forward(self, x: Tensor, num_segments: int) -> MotionFeatures:
        """Motion features of (B*T, C, h, w), T = `num_segments` >= 2 frames a clip; the last pair is repeated."""
        if num_segments < 2 or x.shape[0] % num_segments:
            raise ValueError(
                f"expected whole clips of at least 2 frames; got {x.shape[0]} frames in clips of {num_segments}"
            )
        embedded = torch.unflatten(self.embed(x), 0, (-1, num_segments))  # (B, T, 64, h, w)
        displacement, confidence, tied = self.match(embedded[:, :-1].flatten(0, 1), embedded[:, 1:].flatten(0, 1))
        pairs = torch.cat((displacement / self.radius, confidence), 1)  # (B*(T-1), 3, h, w)
        pairs = torch.unflatten(pairs, 0, (-1, num_segments - 1))
        pairs = torch.cat((pairs, pairs[:, -1:]), 1).flatten(0, 1)
        return MotionFeatures(self._transform(pairs, x.dtype), displacement, confidence, tied)

    @torch.no_grad()
    def start_at_zero(self) -> None:
        """Let the motion features be 0, in place: the map they are added to stays as it is, until they learn.

        The norm that ends the transformation gets weight and bias 0. Its weights learn from the first step on.
        """
        nn.init.zeros_(self._last_norm.weight)
        nn.init.zeros_(self._last_norm.bias)

    @property
    def is_zero(self) -> bool:
        """Whether the motion features are 0 whatever the module sees, as `start_at_zero` leaves them."""
        return not self._last_norm.weight.any() and not self._last_norm.bias.any()

    @property
    def _last_norm(self) -> nn.BatchNorm2d:
        pointwise = cast(nn.Sequential, self.transformation[-1])[-1]
        return cast(ConvNorm, pointwise).norm

    @torch.no_grad()
    def enlarge_embedding(self) -> None:
        """Scale a small embedding to the size of other activations, in place, so that float16 holds it.

        Trained embeddings may be small on purpose, 2^-12 and less, where float16 has a few bits left or none. A power
        of two in the reduction's batch norm passes through the ReLU, and its square in the epsilon takes it out again:
        in float32 the same network, bit for bit. The norm's scale and shift say how large its outputs are, whatever
        the convolution's weights are; the larger of them becomes 0.5 to 1, as in other layers. An embedding of that
        size or more, as random weights have, stays as it is.
        """
        norm = self.reduction.norm
        largest = max(float(norm.weight.abs().max()), float(norm.bias.abs().max()))
        exponent = min(max(-math.frexp(largest)[1], 0), _LARGEST_EXPONENT)
        norm.weight.mul_(2.0**exponent)
        norm.bias.mul_(2.0**exponent)
        self.norm_epsilon *= 4.0**exponent

    def embed(self, x: Tensor) -> Tensor:
        """Reduce (N, C, h, w) to 64 channels and normalise each cell: (N, 64, h, w), float32 even under autocast."""
        reduced = self.reduction(x)
        with full_float32(x.device.type):
            return normalize_cells(reduced, self.norm_epsilon)

    def match(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Match embedded frames, both (N, 64, h, w) float32; return displacement in cells, confidence and ties."""
        with full_float32(first.device.type):
            scores, tiling = correlate_tiles(first, second, self.radius)
            displacement, confidence, tied = self.soft_argmax(scores)
        return tiling.join(displacement), tiling.join(confidence), tiling.join(tied.unsqueeze(-1)).squeeze(1)

    def transform(self, displacement: Tensor, confidence: Tensor, dtype: torch.dtype) -> Tensor:
        """Motion features (N, C, h, w) of `dtype` for N pairs, from displacement in cells and confidence."""
        return self._transform(torch.cat((displacement / self.radius, confidence), 1), dtype)

    def _transform(self, pairs: Tensor, dtype: torch.dtype) -> Tensor:
        features: Tensor = self.transformation(pairs.to(dtype, memory_format=torch.channels_last))
        return features
