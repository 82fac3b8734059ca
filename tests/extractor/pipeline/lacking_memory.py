"""A device that has no memory for some operation of some batches, and a watch over what failed tries still hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from extractor.pipeline.devices import Device, Ticket, Work


class LackingMemory(TorchDispatchMode):
    """Raises torch.OutOfMemoryError at operation number `at` (never if it is None), and notes what was made before."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.operations = 0
        self.made: list[StorageWeakRef] = []
        self._at = at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if self.operations - 1 == self._at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        result = func(*args, **(kwargs or {}))
        known = {storage_of(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (found := storage_of(tensor)) is not None and found not in known:
                self.made.append(found)
        return result


def storage_of(tensor: Tensor) -> StorageWeakRef | None:
    """A weak reference to its memory; None for the weights that oneDNN has packed."""
    return None if tensor.is_mkldnn else StorageWeakRef(tensor.untyped_storage())


class LackingDevice(Device):
    """A device whose launches fail at operations that `failing` names, None for those that do not.

    Asserts that nothing of a failed try is left when memory is given back and when the next try begins.
    """

    def __init__(self, device: Device, failing: Iterator[int | None]) -> None:
        super().__init__()
        self.fails = 0
        self.operations: list[int] = []  # of launches that succeeded
        self._device, self._failing = device, failing
        self._failed: list[StorageWeakRef] = []

    def launch(self, work: Work) -> Ticket:
        self._require_nothing_left()
        mode = LackingMemory(next(self._failing))
        try:
            with mode:
                ticket = self._device.launch(work)
        except torch.OutOfMemoryError:
            self.fails += 1
            self._failed = mode.made
            raise
        self.operations.append(mode.operations)
        return ticket

    def buffer(self, frames: int, size: int) -> Tensor:
        return self._device.buffer(frames, size)

    def batch_frames(self, size: int) -> int:
        return self._device.batch_frames(size)

    def release(self) -> None:
        self._require_nothing_left()
        self._device.release()

    def _require_nothing_left(self) -> None:
        left = [made for made in self._failed if not made.expired()]
        assert not left, f"{len(left)} of {len(self._failed)} tensors of the failed try are still referenced"
