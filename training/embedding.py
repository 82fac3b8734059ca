"""The scale of the MS module's embedding, which decides whether displacement resolves fractions of a cell.

The kernel soft-argmax reduces the score of a candidate one cell from the best by 2 % and multiplies by 100. With scores
near 1, that candidate gets a weight of at most 0.12, so displacement comes in nearly whole cells. Lower scores relax
this: at 0.3 the weight reaches 0.36. A loss that asks for low scores ruins matching, because features that change at
random satisfy it. But the norm that divides each cell has 1e-6 under its root (as in the reference, `normalize_cells`):
for an embedding so small that its square is near this epsilon, all scores shrink alike, whatever they compare.

Values that small suit no optimizer. Training therefore uses an embedding 2^n times as large and an epsilon 4^n times
as large, which is exactly the same network; checkpoints store the small embedding, for the epsilon of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from extractor.models.correlation import NORM_EPSILON
from extractor.models.motion_squeeze import MotionSqueeze
from extractor.models.msnet import MSNet

_LEAST_HALVINGS = 5  # below, a norm's weight is of the size that others' trainings leave


def enlarge_embedding(network: MSNet, halvings: int) -> None:
    """Scale the embedding of a built or restored network to its training size, in place, where it has an MS module."""
    if network.motion_squeeze is not None:
        enlarge_module(network.motion_squeeze, halvings)


def enlarge_module(module: MotionSqueeze, halvings: int) -> None:
    """Scale the embedding of an MS module that is stored small, or new, to its training size, in place.

    A small embedding becomes 2^halvings times as large, and its epsilon grows with it: the module stays the same. An
    embedding of ordinary size, as in random weights and in others' checkpoints, keeps its size; the larger epsilon
    lowers its scores.
    """
    module.norm_epsilon = NORM_EPSILON * 4.0**halvings
    if float(module.reduction.norm.weight.detach().square().mean().sqrt()) < 2.0 ** (-halvings / 2):
        _scale(module, 2.0**halvings)


def halvings_of(network: MSNet) -> int:
    """By how many halvings the embedding of a network is small; 0 for one of ordinary size, or without an MS module."""
    module = network.motion_squeeze
    if module is None:
        return 0
    size = float(module.reduction.norm.weight.detach().square().mean().sqrt())
    halvings = round(-math.log2(size)) if size > 0 else 0
    return halvings if halvings >= _LEAST_HALVINGS else 0


def shrink_module(module: MotionSqueeze, halvings: int) -> None:
    """Scale the embedding of an MS module from its training size to the small one, for the reference's epsilon."""
    module.norm_epsilon = NORM_EPSILON
    _scale(module, 2.0**-halvings)


@contextmanager
def as_stored(network: MSNet, halvings: int) -> Iterator[None]:
    """Within the block, `network` has the small embedding and the reference's epsilon; equivalent, exact in float32."""
    module = network.motion_squeeze
    if module is None:
        yield
        return
    epsilon = module.norm_epsilon
    shrink_module(module, halvings)
    try:
        yield
    finally:
        module.norm_epsilon = epsilon
        _scale(module, 2.0**halvings)


@torch.no_grad()
def _scale(module: MotionSqueeze, factor: float) -> None:
    """Scale the embedding by a positive factor, which passes through the ReLU."""
    module.reduction.norm.weight.mul_(factor)
    module.reduction.norm.bias.mul_(factor)
