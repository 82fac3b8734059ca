"""The processes that train one network together, by torch.distributed where there are several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class PeersLostError(RuntimeError):
    """Others of the group are gone, so this process cannot go on: whatever ended them is the cause."""


class Group:
    """This process's place among those that train together. Alone, it is number 0 of 1, and nothing is exchanged.

    Made after the process group: Ray Train or torchrun make it, gloo for CPUs, nccl for GPUs.
    """

    def __init__(self, device: torch.device) -> None:
        several = dist.is_available() and dist.is_initialized()
        self.is_several = several
        self.rank = dist.get_rank() if several else 0
        self.count = dist.get_world_size() if several else 1
        self._device = device

    @property
    def leads(self) -> bool:
        """Whether it is the process that writes files and reports."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, which must pass tensors of the same shapes.

        As one tensor: a call for each of some hundred parameters costs more than copying them.
        """
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().to(self._device, torch.float32).flatten() for tensor in tensors])
        with _together():
            dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def gather(self, found: dict[str, T]) -> dict[str, T]:
        """The entries of all processes, in each of them."""
        if self.count == 1:
            return found
        parts: list[dict[str, T] | None] = [None] * self.count
        with _together():
            dist.all_gather_object(parts, found)
        return {name: value for part in parts if part is not None for name, value in part.items()}

    def agree(self, *wanted: bool) -> tuple[bool, ...]:
        """What process 0 wants, in all of them; the others' wishes count for nothing."""
        if self.count == 1:
            return wanted
        flags = torch.tensor([float(wish and self.leads) for wish in wanted], device=self._device)
        with _together():
            dist.all_reduce(flags)
        return tuple((flags > 0).tolist())


@contextmanager
def _together() -> Iterator[None]:
    """Tell a failure of what all processes do together from one's own."""
    try:
        yield
    except RuntimeError as error:
        raise PeersLostError(str(error)) from error
