"""Queues of keys, and the keys of a step that are to enter them, from all its shares and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.config import Share
from training.group import Group
from training.tasks.contrast.config import ContrastConfig
from training.tasks.contrast.queue import KeyQueue, Negatives, among_one_another

KEYS_OF_VIDEO = {"inter_frame": 2, "clip": 1}
"""How many keys a video adds to the queue of each loss that has one: both frames, or the clip."""

_HALF = 1 << 16  # numbers of videos travel as two halves, which float32 holds exactly


class Memory(nn.Module):
    """A queue for each loss that has negatives.

    A queue holds the keys of `queue` videos, but of no more than there are besides those of a step, as far as possible:
    one that holds a video twice holds it with old and with new weights.
    """

    def __init__(self, config: ContrastConfig, videos: int, device: torch.device) -> None:
        super().__init__()
        self._clips, self._width, self._device = config.clips_per_step, config.projection, device
        self._others = config.clips_per_share - 1
        self._names = [name for name in KEYS_OF_VIDEO if getattr(config.losses, name)]
        size = min(config.queue, max(videos - config.clips_per_step, config.clips_per_step))
        self.queues = nn.ModuleDict(
            {name: KeyQueue(size * KEYS_OF_VIDEO[name], self._width, device) for name in self._names}
        )
        self._step: dict[str, Tensor] = {}
        self._videos = self._sums = torch.empty(0)

    def queue(self, name: str) -> KeyQueue:
        """The queue of a loss."""
        queue = self.queues[name]
        assert isinstance(queue, KeyQueue)
        return queue

    def negatives(self, videos: Tensor, keys: Mapping[str, Tensor]) -> dict[str, Negatives]:
        """The negatives of each loss that has some, for queries of a share's videos, (B,): the queue, and its own keys.

        Keys of the share are as new as the positive. In the queue are older ones, by a network that has changed since:
        alone, they are told from the positive by their age, which is what a network learns that changes fast.
        """
        videos = videos.to(self._device)
        return {
            name: self.queue(name).negatives(videos).and_others(among_one_another(keys[name], videos))
            for name in self._names
        }

    def begin(self) -> None:
        """Begin a step: no share has left its keys."""
        self._step = {
            name: torch.zeros(self._clips, KEYS_OF_VIDEO[name], self._width, device=self._device)
            for name in self._names
        }
        self._videos = torch.zeros(self._clips, 2, device=self._device)
        self._sums = torch.zeros(())

    def keep(self, share: Share, videos: Tensor, keys: Mapping[str, Tensor], sums: Tensor) -> None:
        """Keep the keys (B, keys of a video, width) of a share whose clips are of these videos (B,).

        sums: over the share's features, of any shape.
        """
        self._sums = self._sums.to(sums) + sums
        size = self._clips // share.count
        mine = slice(share.index * size, (share.index + 1) * size)
        self._videos[mine] = torch.stack((videos // _HALF, videos % _HALF), 1).to(self._videos)
        for name in self._names:
            self._step[name][mine] = keys[name].float()

    def finish(self, group: Group) -> Tensor:
        """Add the keys of all shares of a step to the queues, in the order of its clips; return mean sums."""
        group.sum([*self._step.values(), self._videos, self._sums])  # a share is zero in all processes but one
        high, low = self._videos.long().unbind(1)
        videos = high * _HALF + low
        for name, keys in self._step.items():
            self.queue(name).push(keys.flatten(0, 1), videos.repeat_interleave(keys.shape[1]))
        return self._sums / self._clips

    @property
    def is_full(self) -> bool:
        """Whether all queues are."""
        return all(self.queue(name).is_full for name in self._names)

    def spreads(self) -> dict[str, float]:
        """How much the keys of each queue differ: 0 for not at all, at most 1."""
        return {name: self.queue(name).spread() for name in self._names}

    def chances(self) -> dict[str, float]:
        """The loss of guessing the positive among the negatives, by loss."""
        others = self._others
        return {name: math.log1p(self.queue(name).count + others * KEYS_OF_VIDEO[name]) for name in self._names}
