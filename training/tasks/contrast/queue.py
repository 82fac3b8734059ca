"""The queue of keys of earlier steps, which are the negatives of this one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

_NOBODY = -1


class Negatives(NamedTuple):
    """keys (K, D), and which of them count for which query, (B, K) bool."""

    keys: Tensor
    counted: Tensor

    def and_others(self, other: Negatives) -> Negatives:
        """These and others."""
        return Negatives(torch.cat((self.keys, other.keys)), torch.cat((self.counted, other.counted), 1))


def among_one_another(keys: Tensor, videos: Tensor) -> Negatives:
    """For each of B videos the keys of all other ones; keys (B, keys of a video, D), videos (B,) their numbers."""
    return Negatives(keys.flatten(0, 1), videos[:, None] != videos.repeat_interleave(keys.shape[1]))


class KeyQueue(nn.Module):
    """The last `size` keys (D,) and the number of the video that each is of; the oldest make room.

    Keys of the query's own video are no negatives of it: in a small data set, the queue has most videos in it.
    """

    keys: Tensor
    videos: Tensor
    place: Tensor

    def __init__(self, size: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, width, device=device))
        self.register_buffer("videos", torch.full((size,), _NOBODY, dtype=torch.int64, device=device))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor, videos: Tensor) -> None:
        """Add keys (N, D) in their order; of more than there is room for, the last ones."""
        size = len(self.keys)
        places = (int(self.place) + torch.arange(len(keys))) % size
        last = slice(max(0, len(keys) - size), None)
        places = places[last].to(self.keys.device)
        self.keys[places] = keys[last].detach().to(self.keys)
        self.videos[places] = videos[last].to(self.videos)
        self.place.fill_((int(self.place) + len(keys)) % size)

    def negatives(self, videos: Tensor) -> Negatives:
        """The negatives of queries of these videos, (B,) int64."""
        known = self.videos != _NOBODY
        return Negatives(self.keys, known & (self.videos != videos.to(self.videos)[:, None]))

    @property
    def count(self) -> int:
        """How many keys there are."""
        return int((self.videos != _NOBODY).sum())

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return self.count == len(self.keys)

    def spread(self) -> float:
        """How much the keys differ, see `spread`."""
        return spread(self.keys[self.videos != _NOBODY])


def spread(embeddings: Tensor) -> float:
    """Root mean square distance of embeddings (N, D) of length 1 from their mean: 1 where they point everywhere, else
    less, and 0 where all are the same. NaN without any.

    >>> spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), spread(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    (1.0, 0.0)
    """
    if not len(embeddings):
        return float("nan")
    points = embeddings.double()
    return float((points - points.mean(0)).square().sum(1).mean().sqrt())
