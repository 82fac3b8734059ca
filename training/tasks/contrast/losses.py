"""The losses that tell videos apart, on embeddings of length 1; each a mean over the queries it covers.

Rai et al. take their four pretext tasks from VCLR (Kuang et al., ICCVW 2021), which has the two on frames from SeCo
(Yao et al., AAAI 2021); all rest on InfoNCE, as MoCo computes it (He et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.tasks.contrast.queue import Negatives


def losses_of(
    queries: Mapping[str, Tensor],
    keys: Mapping[str, Tensor],
    negatives: Mapping[str, Negatives],
    shuffled: Tensor,
    temperature: float,
) -> dict[str, Tensor]:
    """The losses, by name, of what `networks.embed_queries` and `networks.embed_keys` have made of B videos.

    shuffled (B,) bool: of the segments.
    """
    found: dict[str, Tensor] = {}
    for name, query in queries.items():
        if name == "intra_frame":
            same, other = keys[name].unbind(1)
            found[name] = intra_frame_loss(query, same, other, temperature)
        elif name == "order":
            found[name] = order_loss(query, shuffled)
        else:
            each = [info_nce(query, key, negatives[name], temperature) for key in keys[name].unbind(1)]
            found[name] = torch.stack(each).mean()
    return found


def info_nce(query: Tensor, positive: Tensor, negatives: Negatives, temperature: float) -> Tensor:
    """Cross-entropy of finding the positive among it and the negatives, by similarity over temperature.

    query, positive: (B, D). negatives: keys (K, D) and which of them count for which query. 0 where there is none.
    """
    right = (query * positive).sum(1, keepdim=True)  # (B, 1)
    wrong = (query @ negatives.keys.T).masked_fill(~negatives.counted, -torch.inf)  # (B, K)
    return _first_of(torch.cat((right, wrong), 1) / temperature)


def intra_frame_loss(query: Tensor, same_frame: Tensor, other_frame: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of telling another view of the query's frame from another frame of its video; all are (B, D)."""
    similar = torch.stack(((query * same_frame).sum(1), (query * other_frame).sum(1)), 1)  # (B, 2)
    return _first_of(similar / temperature)


def order_loss(scores: Tensor, shuffled: Tensor) -> Tensor:
    """Cross-entropy of scores (B, 2) against whether the segments were shuffled (B,) bool."""
    return F.cross_entropy(scores, shuffled.long())


def shuffles(segments: int) -> Tensor:
    """Orders (P, segments) that are neither the one in time nor its reverse, which may look as natural.

    >>> shuffles(3).tolist()
    [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]]
    """
    forward = tuple(range(segments))
    few = min(segments, 6)  # of more segments the first six: their orders are many enough
    orders = [(*order, *forward[few:]) for order in permutations(range(few))]
    return torch.tensor([order for order in orders if order not in (forward, forward[::-1])])


def draw_orders(count: int, segments: int) -> tuple[Tensor, Tensor]:
    """For each of `count` videos an order (count, segments), and whether it is a shuffled one: half of them are.

    From torch's generator of the CPU, so that it is the same on every device.
    """
    shuffled = torch.rand(count) < 0.5
    choices = shuffles(segments)
    drawn = choices[torch.randint(len(choices), (count,))]
    return torch.where(shuffled[:, None], drawn, torch.arange(segments)), shuffled


def _first_of(scores: Tensor) -> Tensor:
    """Mean cross-entropy of the first among scores (B, N)."""
    return -scores.log_softmax(1)[:, 0].mean()
