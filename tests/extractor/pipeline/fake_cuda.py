"""A GPU without a GPU: tensors on "cuda" that have shapes, dtypes and no values, and a watch over what would wait.

Tensors on the CPU are real. What is on "cuda" is fake (torch's FakeTensorMode), so every line runs as on a GPU but for
the arithmetic; what is downloaded is zero. Two kinds of faults end a test: a tensor on the wrong device, and a call for
which the host would wait for the device.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from extractor.models.loading import _pixel_statistics

aten = torch.ops.aten
_VALUES_NEEDED = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class WaitedError(Exception):
    """The host would wait for the device."""


class WrongDeviceError(Exception):
    """A tensor on the CPU meets one on the device."""


class FakeCuda(TorchDispatchMode):
    """Within it, "cuda" is a fake device. `waiting` allows what waits for it, as loading a network does."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = FakeTensorMode()
        self._pinned: dict[int, StorageWeakRef] = {}  # by address
        self._may_wait = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What waits for the device is no fault here."""
        before, self._may_wait = self._may_wait, True
        try:
            yield
        finally:
            self._may_wait = before

    def wait(self, what: str) -> None:
        """Note that the host waits for the device; raises `WaitedError` where it must not."""
        if not self._may_wait:
            raise WaitedError(what)

    def is_pinned(self, tensor: Tensor) -> bool:
        found = self._pinned.get(tensor.untyped_storage().data_ptr())
        return found is not None and not found.expired()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        to_device = torch.device(kwargs.get("device") or "cpu").type == "cuda"
        if not to_device and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return self._on_host(func, args, kwargs)
        if func in (aten._to_copy.default, aten.copy_.default):
            return self._copy(func, args, kwargs)
        self._refuse_waiting(func, args)
        for tensor in tensors:
            if not isinstance(tensor, FakeTensor) and (
                tensor.ndim or func in (aten.index.Tensor, aten.index_put_.default)
            ):
                raise WrongDeviceError(f"{func} takes {tensor.dtype} {tuple(tensor.shape)} from the CPU")
        return self._on_device(func, args, kwargs)

    def _on_host(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is aten.is_pinned.default:
            return self.is_pinned(args[0])
        if func is aten._pin_memory.default:
            return self._pin(args[0].clone())
        pin = kwargs.pop("pin_memory", False)
        made = func(*args, **kwargs)
        return self._pin(made) if pin else made

    def _pin(self, tensor: Tensor) -> Tensor:
        self._pinned[tensor.untyped_storage().data_ptr()] = StorageWeakRef(tensor.untyped_storage())
        return tensor

    def _on_device(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        with self._fake:
            args, kwargs = tree_map(_without_values, (args, kwargs))
            return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """`to` and `copy_`, within the device, up or down: without waiting only to and from pinned memory."""
        into = args[0] if func is aten.copy_.default else None
        source = args[0] if into is None else args[1]
        non_blocking = kwargs.get("non_blocking", False) or (into is not None and len(args) > 2 and args[2])
        down = isinstance(source, FakeTensor) and (_goes_to_cpu(kwargs) if into is None else into.device.type == "cpu")
        if down:
            host = torch.empty(source.shape, dtype=kwargs.get("dtype") or source.dtype) if into is None else into
            if not non_blocking or (into is not None and not self.is_pinned(into)):
                self.wait(f"a download of {tuple(source.shape)} to memory that is not pinned, or that waits")
            return host.zero_()
        if not isinstance(source, FakeTensor) and not (non_blocking and self.is_pinned(source)):
            self.wait(f"an upload of {tuple(source.shape)} from memory that is not pinned, or that waits")
        return self._on_device(func, args, kwargs)

    def _refuse_waiting(self, func: Any, args: Any) -> None:
        if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            if masks:
                self.wait(f"{func} with a mask: the number of rows is on the device")
        elif any(tag in func.tags for tag in _VALUES_NEEDED):
            self.wait(f"{func}: the result depends on values on the device")


def _goes_to_cpu(kwargs: Mapping[str, Any]) -> bool:
    return kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"


def _without_values(leaf: Any) -> Any:
    """A fake tensor on the CPU for a real one. To be called within the fake mode."""
    if not isinstance(leaf, Tensor) or isinstance(leaf, FakeTensor):
        return leaf
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype)


class FakeStream:
    """Stands for torch.cuda.Stream; the current one is a class attribute."""

    current: FakeStream | None = None

    def __init__(self, *arguments: Any) -> None:
        self.waited_for: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        self.waited_for.append(other)


class FakeEvent:
    """Stands for torch.cuda.Event. Each is done after it was asked a few times, or waited for."""

    random = np.random.default_rng(0)

    def __init__(self, enable_timing: bool = False) -> None:
        self.stream: Any = None
        self._asks_left = int(self.random.integers(0, 4))

    def record(self, stream: Any = None) -> None:
        self.stream = stream

    def query(self) -> bool:
        self._asks_left -= 1
        return self._asks_left < 0

    def synchronize(self) -> None:
        assert self.stream is not None, "expected an event that was recorded"
        self._asks_left = 0

    def elapsed_time(self, end: FakeEvent) -> float:
        assert self.stream is end.stream is not None
        assert end._asks_left <= 0, "expected an event that has happened"
        return 1.0


@contextmanager
def _current(stream: FakeStream) -> Iterator[None]:
    before, FakeStream.current = FakeStream.current, stream
    try:
        yield
    finally:
        FakeStream.current = before


def _wait(mode: FakeCuda, what: str) -> None:
    """Wait for the device: a fault while a batch is launched, which is when its stream is the current one."""
    if FakeStream.current is not None:
        mode.wait(what)


@contextmanager
def fake_cuda(folder: Path) -> Iterator[FakeCuda]:
    """Make "cuda" a fake device. folder: where a compiler may write. Skips the test where that cannot be."""
    if torch.version.cuda is None:  # a build for CUDA brings what it needs
        torch.ops.load_library(compiled(folder))
    mode = FakeCuda()
    default = FakeStream()
    cuda: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "Stream": FakeStream,
        "Event": FakeEvent,
        "stream": _current,
        "current_stream": lambda device=None: FakeStream.current or default,
        "mem_get_info": lambda device=None: (10**9, 10**10),
        "synchronize": lambda device=None: _wait(mode, "torch.cuda.synchronize"),
        "empty_cache": lambda: None,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        _pixel_statistics.cache_clear()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device="cuda")` is made on the CPU, then copied
        try:
            with mode:
                yield mode
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            _pixel_statistics.cache_clear()


def compiled(folder: Path) -> Path:
    """The library of `no_device.cpp`."""
    from torch.utils.cpp_extension import include_paths

    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    if not (Path(include_paths()[0]) / "c10/core/impl/DeviceGuardImplInterface.h").exists():
        pytest.skip("needs torch's C++ headers")
    library = folder / "no_device.so"
    source = Path(__file__).with_name("no_device.cpp")
    command: Sequence[str | Path] = [
        *(compiler, "-shared", "-fPIC", "-std=c++20", "-O0", source, "-o", library),
        *(f"-I{path}" for path in include_paths()),
        *(f"-L{Path(torch.__file__).parent / 'lib'}", "-lc10"),
    ]
    subprocess.run(command, check=True)
    return library
