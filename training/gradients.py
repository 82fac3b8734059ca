"""The gradients of a step: share by share, added up over shares and processes.

A step's clips are divided into shares. The norms of a network compute their statistics over one share, and the
gradients and running statistics of a step are the means over its shares. So the result depends on the shares, not on
how many processes compute them, nor on how much fits into a device at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from extractor.models.msnet import MSNet
from training.config import Share
from training.group import Group
from training.tasks.task import Task


def compute_gradients(
    network: MSNet, task: Task, step: int, group: Group, scaler: torch.amp.GradScaler
) -> dict[str, float]:
    """Leave the gradients of step number `step`, scaled by `scaler`, in the parameters; return its losses by name.

    The running statistics of the norms become those after the step.
    """
    task.prepare(network, step)
    parameters = [*network.parameters(), *task.parameters()]
    for parameter in parameters:
        parameter.grad = None
    statistics = _RunningStatistics(network)
    totals: dict[str, Tensor] = {}
    mine = range(group.rank, task.shares, group.count)
    task.expect(step, mine)
    device = network.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for index in mine:
            torch.manual_seed(_seed(task.config.seed, step, index))  # of dropout
            losses = task.losses(network, step, Share(index, task.shares))
            statistics.collect()  # before the way back: with gradient checkpointing, it runs the norms again
            total = torch.stack(list(losses.values())).sum() / task.shares
            scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach().float() / task.shares
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    group.sum([*totals.values(), *statistics.sums, *gradients])
    statistics.finish(task.shares)
    return {name: float(total) for name, total in totals.items()}


class _RunningStatistics:
    """Means and variances that norms keep, which each share of a step starts from and which are averaged over them."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self._first = [buffer.clone() for buffer in self._buffers]
        self.sums = [torch.zeros_like(buffer) for buffer in self._buffers]

    def collect(self) -> None:
        """Add the statistics that a share has left, and go back to those before the step."""
        for buffer, first, total in zip(self._buffers, self._first, self.sums, strict=True):
            total.add_(buffer)
            buffer.copy_(first)

    def finish(self, shares: int) -> None:
        for buffer, total in zip(self._buffers, self.sums, strict=True):
            buffer.copy_(total / shares)


def finite(losses: Mapping[str, float]) -> bool:
    """Whether all losses are finite."""
    return all(value - value == 0 for value in losses.values())


def _seed(seed: int, step: int, share: int) -> int:
    """A seed of its own for each share of each step."""
    return (seed * 1_000_003 + step) * 1_009 + share
