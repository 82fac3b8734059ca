"""Forward passes: clips in small batches, long sequences as streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from extractor.models.streaming import DenseStream

_CLIPS_AT_A_TIME = 8  # limits the memory of a pass to some 60 frames of 224 x 224
_FRAMES_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class PassOutput:
    """The outputs of a network that evaluation uses; float32, on the CPU. Sequences have no leading B.

    `frame_features` is (B, T, D), `displacement` (B, T - 1, 2, h, w) in cells, `confidence` (B, T - 1, h, w). The last
    two are None without an MS module.
    """

    frame_features: Tensor
    displacement: Tensor | None
    confidence: Tensor | None


@torch.no_grad()
def run_clips(network: MSNet, pixels: Tensor) -> PassOutput:
    """Run clips (B, T, H, W, 3), uint8 RGB, in evaluation mode."""
    with evaluating(network):
        outputs = [network(_prepared(network, part)) for part in torch.split(pixels, _CLIPS_AT_A_TIME)]
    return PassOutput(
        torch.cat([output.frame_features for output in outputs]).cpu(),
        _join([output.displacement for output in outputs]),
        _join([output.confidence for output in outputs], lambda confidence: confidence.squeeze(2)),
    )


def run_sequence(network: MSNet, pixels: Tensor) -> PassOutput:
    """Run one sequence (T, H, W, 3), uint8 RGB, as dense extraction does; `network` must be in evaluation mode."""
    stream = DenseStream(network)
    outputs = [stream.push(_prepared(network, part)) for part in torch.split(pixels, _FRAMES_AT_A_TIME)]
    outputs.append(stream.finish())
    return PassOutput(
        torch.cat([output.frame_features for output in outputs]).cpu(),
        _join([output.displacement for output in outputs]),
        _join([output.confidence for output in outputs], lambda confidence: confidence.squeeze(1)),
    )


def to_pixels(frames: Tensor) -> Tensor:
    """Convert frames (..., 3, H, W) in [0, 1] to the format of a decoder: uint8 (..., H, W, 3)."""
    return (frames * 255).round().to(torch.uint8).movedim(-3, -1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; afterwards every module returns to its previous mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _prepared(network: MSNet, pixels: Tensor) -> Tensor:
    return normalize(pixels.to(network.device))


def _join(parts: Sequence[Tensor | None], change: Callable[[Tensor], Tensor] = lambda part: part) -> Tensor | None:
    known = [change(part) for part in parts if part is not None]
    return torch.cat(known).cpu() if known else None
