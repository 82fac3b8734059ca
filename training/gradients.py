"""The gradients of a step: share by share, added up over shares and processes.

A step's clips are divided into shares. The norms of a network compute their statistics over one share, and the
gradients and running statistics of a step are the means over its shares. So the result depends on the shares, not on
how many processes compute them, nor on how much fits into a device at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extractor.models.msnet import MSNet
from training.config import Share
from training.group import Group
from training.tasks.task import Task


@dataclass(frozen=True)
class Gradients:
    """What a step found beside the gradients: its losses by name, and the statistics of norms after it."""

    losses: dict[str, float]
    statistics: _RunningStatistics
    shares: int

    def take_statistics(self) -> None:
        """Let the running statistics of the norms be those after the step, which is taken."""
        self.statistics.finish(self.shares)


def compute_gradients(network: MSNet, task: Task, step: int, group: Group, scaler: torch.amp.GradScaler) -> Gradients:
    """Leave the gradients of step number `step`, scaled by `scaler`, in the parameters.

    Nothing else of the network has changed, but how many batches its norms have counted, which nothing uses.
    """
    task.prepare(network, step)
    parameters = [*network.parameters(), *task.parameters()]
    for parameter in parameters:
        parameter.grad = None
    statistics = _RunningStatistics(network)
    totals: dict[str, Tensor] = {}
    shares = task.config.share_count
    mine = range(group.rank, shares, group.count)
    task.expect(step, mine)
    device = network.device
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        for index in mine:
            torch.manual_seed(_seed(task.config.seed, step, index))  # of dropout
            losses = task.losses(network, step, Share(index, shares))
            statistics.collect()
            total = torch.stack(list(losses.values())).sum() / shares
            scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            statistics.restore()  # with gradient checkpointing, the way back runs the norms again
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach().float() / shares
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    group.sum([*totals.values(), *statistics.sums, *gradients])
    return Gradients({name: float(total) for name, total in totals.items()}, statistics, shares)


class _RunningStatistics:
    """Means and variances that norms keep, which each share of a step starts from and which are averaged over them.

    Tensors are exchanged, not overwritten, since the way back may read the ones of the way forward.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        self._places = [(norm, name) for norm in norms for name in ("running_mean", "running_var")]
        self._first = [getattr(norm, name).clone() for norm, name in self._places]
        self.sums = [torch.zeros_like(first) for first in self._first]

    def collect(self) -> None:
        """Add the statistics that a share has left on its way forward."""
        for (norm, name), total in zip(self._places, self.sums, strict=True):
            total.add_(getattr(norm, name))

    def restore(self) -> None:
        """Go back to the statistics before the step."""
        for (norm, name), first in zip(self._places, self._first, strict=True):
            setattr(norm, name, first.clone())

    def finish(self, shares: int) -> None:
        """Take the mean over all shares."""
        for (norm, name), total in zip(self._places, self.sums, strict=True):
            setattr(norm, name, total / shares)


def _seed(seed: int, step: int, share: int) -> int:
    """A seed of its own for each share of each step."""
    return (seed * 1_000_003 + step) * 1_009 + share
