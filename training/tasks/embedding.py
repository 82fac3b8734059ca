"""The size of the MS module's embedding, which decides whether displacement has fractions of a cell.

The kernel soft-argmax takes from a candidate one cell off the best one 2 % of its score, times 100: a share of at most
0.12 is left to it where scores are near 1, so that displacement comes in nearly whole cells. Lower scores free it: at
0.3 its share reaches 0.36. A loss that asks for low scores ruins matching, since it is answered by features that change
at random. But the norm that each cell is divided by has 1e-6 under its root (spec of the reference, `normalize_cells`):
of an embedding so small that its square is near that, all scores fall alike, whatever they compare.

Numbers that small suit no optimizer. So training has the embedding 2^n times as large and 4^n times the epsilon, which
is the same network exactly; what is stored is the small one, for the epsilon of the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from extractor.models.correlation import NORM_EPSILON
from extractor.models.motion_squeeze import MotionSqueeze
from extractor.models.msnet import MSNet

__all__ = ["as_stored", "enlarge_embedding"]


def enlarge_embedding(network: MSNet, halvings: int) -> None:
    """Bring `network`, as it was built or restored, to the size that is trained, in place, where it has an MS module.

    A small embedding becomes 2^halvings times as large, together with its epsilon, and nothing changes. One of ordinary
    size, such as random weights have and checkpoints of others, stays, and meets the larger epsilon: its scores fall.
    """
    module = network.motion_squeeze
    if module is None:
        return
    module.norm_epsilon = NORM_EPSILON * 4.0**halvings
    if float(module.reduction.norm.weight.detach().square().mean().sqrt()) < 2.0 ** (-halvings / 2):
        _scale(module, 2.0**halvings)


@contextmanager
def as_stored(network: MSNet, halvings: int) -> Iterator[None]:
    """Within, `network` is the same with the small embedding and the reference's epsilon; exact in float32."""
    module = network.motion_squeeze
    if module is None:
        yield
        return
    epsilon, module.norm_epsilon = module.norm_epsilon, NORM_EPSILON
    _scale(module, 2.0**-halvings)
    try:
        yield
    finally:
        module.norm_epsilon = epsilon
        _scale(module, 2.0**halvings)


@torch.no_grad()
def _scale(module: MotionSqueeze, factor: float) -> None:
    """Scale the embedding; the ReLU before it passes any positive factor on."""
    module.reduction.norm.weight.mul_(factor)
    module.reduction.norm.bias.mul_(factor)
