"""What computes batches, in order: a CPU, a GPU, or a stand-in of a given speed that uses no CPU.

No other module of the pipeline knows what kind of device it feeds.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from extractor.pipeline.messages import Rows
from extractor.pipeline.rows import to_numpy

_CPU_FRAMES = 12  # of 224 px and less: with fewer, reading the weights for each batch takes a share
_CPU_PIXELS = 8 * 224 * 224
"""Pixels in a batch on a CPU: with more, activations leave its cache (ResNet-18: 19 ms a frame by 8, 29 by 256)."""
_GPU_PIXELS = 256 * 224 * 224
_BYTES_A_PIXEL = 256
"""Activations of ResNet-50 in float32: 12.3 GB for 256 frames of 448 px. Others need less."""
_SHARE_OF_MEMORY = 0.5
# What libraries below torch say when they find no memory, by other errors than torch's own.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN without a workspace, or without such a kernel
)


class Work(Protocol):
    """One batch: what a device does with it."""

    @property
    def frames(self) -> int:
        """Number of frames that it computes."""

    def run(self) -> Mapping[str, Tensor]:
        """Upload, network and rows in the store's formats, on the device. Changes nothing: it can be run again."""

    def pretend(self) -> Rows:
        """Rows as `run` would have made them, without running it."""


class Ticket(Protocol):
    """A batch that was launched."""

    def done(self) -> bool:
        """Whether `rows` would return at once."""

    def rows(self) -> Rows:
        """Wait for the batch and return its rows."""


class Device(ABC):
    """Computes batches one after another. busy_seconds: how long it computed, of the batches whose rows were taken."""

    def __init__(self) -> None:
        self.busy_seconds = 0.0

    @abstractmethod
    def launch(self, work: Work) -> Ticket:
        """Start a batch behind those launched before. Raises torch.OutOfMemoryError if there is no memory for it."""

    def buffer(self, frames: int, size: int) -> Tensor:
        """Host memory (frames, size, size, 3) uint8 from which frames are uploaded."""
        return torch.empty(frames, size, size, 3, dtype=torch.uint8)

    @abstractmethod
    def batch_frames(self, size: int) -> int:
        """Frames of size x size pixels in a batch that suits the device and its free memory."""

    def release(self) -> None:  # noqa: B027
        """Give back memory that is kept for reuse, after a batch did not fit."""


class _Finished:
    """A batch that was computed when it was launched."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def done(self) -> bool:
        return True

    def rows(self) -> Rows:
        return self._rows


class CPUDevice(Device):
    """Computes a batch while it is launched."""

    def launch(self, work: Work) -> Ticket:
        started = time.perf_counter()
        rows = to_numpy(work.run())
        self.busy_seconds += time.perf_counter() - started
        return _Finished(rows)

    def batch_frames(self, size: int) -> int:
        return max(1, _CPU_PIXELS // size**2, min(_CPU_FRAMES, _CPU_FRAMES * 224**2 // size**2))


class CUDADevice(Device):
    """A GPU with a stream of its own; downloads follow their batch, so that nothing waits for the next one."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._device = torch.device(name)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def launch(self, work: Work) -> Ticket:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        # What was done on the usual stream, like the last of loading a network, comes first. Only the device waits.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            begin.record(self._stream)
            host = {path: _to_host(tensor) for path, tensor in work.run().items()}
            end.record(self._stream)
        return _OnStream(self, host, begin, end)

    def buffer(self, frames: int, size: int) -> Tensor:
        return torch.empty(frames, size, size, 3, dtype=torch.uint8, pin_memory=True)

    def batch_frames(self, size: int) -> int:
        free, _ = torch.cuda.mem_get_info(self._device)
        fitting = int(free * _SHARE_OF_MEMORY) // (_BYTES_A_PIXEL * size**2)
        return max(1, min(_GPU_PIXELS // size**2, fitting))

    def release(self) -> None:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()


class _OnStream:
    def __init__(self, device: CUDADevice, host: Mapping[str, Tensor], begin: Any, end: Any) -> None:
        self._device, self._host, self._begin, self._end = device, host, begin, end

    def done(self) -> bool:
        return bool(self._end.query())

    def rows(self) -> Rows:
        self._end.synchronize()
        self._device.busy_seconds += self._begin.elapsed_time(self._end) / 1000
        return to_numpy(self._host)


def _to_host(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


class StandInDevice(Device):
    """Takes as long as a device of `frames_a_second` would, in the order of a stream, and uses no CPU meanwhile."""

    def __init__(self, frames_a_second: float, batch_frames: int = 256) -> None:
        super().__init__()
        self._rate = frames_a_second
        self._batch_frames = batch_frames
        self._free_at = time.perf_counter()

    def launch(self, work: Work) -> Ticket:
        seconds = work.frames / self._rate
        self._free_at = max(self._free_at, time.perf_counter()) + seconds
        self.busy_seconds += seconds
        return _Later(work.pretend(), self._free_at)

    def batch_frames(self, size: int) -> int:
        return self._batch_frames


class _Later:
    def __init__(self, rows: Rows, at: float) -> None:
        self._rows, self._at = rows, at

    def done(self) -> bool:
        return time.perf_counter() >= self._at

    def rows(self) -> Rows:
        time.sleep(max(0.0, self._at - time.perf_counter()))
        return self._rows


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a launch failed for lack of memory, so that a smaller batch may do."""
    return isinstance(error, torch.OutOfMemoryError) or any(said in str(error) for said in _NO_MEMORY)


def best_device() -> str:
    """The first GPU as torch calls it, or "cpu" if there is none."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def device_of(name: str) -> Device:
    """The device that torch calls `name`."""
    return CPUDevice() if torch.device(name).type == "cpu" else CUDADevice(name)
