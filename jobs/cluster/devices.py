"""The kinds of devices, and what an extractor has. No other module names a kind of GPU."""

from __future__ import annotations

import ctypes
import runpy
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import ConfigurationError, ResourceError
from schemas.wording import counted

_CUDA_DRIVER = "libcuda.so.1"


class DeviceChoice(StrEnum):
    """Where a network runs; `AUTO` is a GPU if there is one, `CUDA` another name of `GPU`."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: its id in Ray ("" for the only one), its name for the user, cores, and GPUs as Ray counts them.

    A slice of a GPU that Ray counts as a GPU is one; half a GPU is 0.5.
    """

    id: str = ""
    name: str = "this machine"
    cores: int = 1
    gpus: float = 0


@dataclass(frozen=True, slots=True)
class Workers:
    """Extractors of one kind on one node. Each has a share of a GPU (0 for none), `threads` of its own, and `decoders`.

    batch_frames: frames in a batch of the network; None leaves it to the device. decoders_fixed: the user said how
    many; else they are those at the start, and there are more or fewer later, as the device needs them. cores: the
    part of the node's cores that each extractor may use; 0 for as many as its threads and decoders.
    """

    extractors: int
    decoders: int
    threads: int
    gpus: float
    batch_frames: int | None = None
    decoders_fixed: bool = False
    cores: float = 0.0
    node: Node = Node()

    @property
    def gpu(self) -> bool:
        """Whether an extractor computes on a GPU."""
        return self.gpus > 0

    @property
    def most_decoders(self) -> int:
        """Decoders that an extractor may have: on a CPU they share its cores, beside a GPU they have all but its own.

        So one extractor never takes the cores of another, which would wait for them forever if it had to be replaced.
        """
        if self.decoders_fixed or not self.cores:
            return self.decoders
        return max(self.decoders, int(self.cores) - (self.threads if self.gpu else 0))

    @property
    def reserved_decoders(self) -> int:
        """Decoders that do not ask Ray for a core: their extractor has reserved it, or they share those it has."""
        return self.most_decoders if self.decoders_fixed or not self.gpu else 1

    @property
    def cores_each(self) -> int:
        """Cores that an extractor reserves in Ray: on a CPU its threads, else also those of `reserved_decoders`."""
        wanted = self.threads + (self.reserved_decoders if self.gpu else 0)
        return max(1, min(wanted, int(self.cores))) if self.cores else wanted

    def __str__(self) -> str:
        what = counted(self.threads, "core")
        if self.gpu:
            what = "GPU" if self.gpus == 1 else f"{self.gpus:.3g} of a GPU"
        return f"{counted(self.extractors, 'extractor')} ({what} each) with {counted(self.decoders, 'decoder')} each"


def count_gpus() -> int:
    """GPUs that torch can use on this machine. Asks torch, which takes seconds to import, where there may be any."""
    if not _may_have_gpus():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _may_have_gpus() -> bool:
    """Whether torch's build is for GPUs and, if for those of CUDA, the library of their driver is there."""
    if "torch" in sys.modules:
        return True
    spec = find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    try:
        built = runpy.run_path(str(version))
    except (OSError, SyntaxError):
        return True  # as torch will say
    if built.get("hip") or "cuda" not in built:
        return True
    if built["cuda"] is None:
        return False
    try:
        ctypes.CDLL(_CUDA_DRIVER)
    except OSError:
        return False
    return True


def torch_device(gpu: bool) -> str:
    """Torch's name of an extractor's device; Ray shows an extractor one GPU only."""
    return "cuda:0" if gpu else "cpu"


def choose_device(device: str) -> str:
    """Torch's name of "auto", "cpu" or "gpu", for work on one device. Raises what `use_gpu` raises."""
    return torch_device(use_gpu(device, count_gpus()))


def wants_gpu(device: str) -> bool | None:
    """Whether a device is a GPU; None for "auto". Raises ConfigurationError for an unknown one."""
    if device not in set(DeviceChoice):
        raise ConfigurationError(f"expected a device of auto, cpu or gpu; got {device!r}. Choose one of these")
    return None if device == DeviceChoice.AUTO else device != DeviceChoice.CPU


def use_gpu(device: str, gpus: float) -> bool:
    """Whether to compute on GPUs, of which there are `gpus`. Raises ResourceError if one is asked for in vain."""
    wanted = wants_gpu(device)
    if wanted and not gpus:
        raise ResourceError("expected a GPU; got 0. Make one visible, or use --device cpu")
    return gpus > 0 if wanted is None else wanted
