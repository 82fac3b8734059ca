"""The devices and how workers are placed on them. No other module names a kind of GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import ConfigurationError, ResourceError
from schemas.wording import counted

_CORES_AN_EXTRACTOR = 4  # without a GPU: more threads gain little, and fewer extractors waste cores
_MOST_DECODERS = 16  # more do not speed up an extractor on a GPU


@dataclass(frozen=True, slots=True)
class Workers:
    """How many extractors, and what each has: a share of a GPU (0 for none), `threads` of its own, and `decoders`.

    batch_frames: frames in a batch of the network; None leaves it to the device. decoders_fixed: the user said how
    many; else there are more or fewer later, as the device needs them and the node has cores.
    """

    extractors: int
    decoders: int
    threads: int
    gpus: float
    batch_frames: int | None = None
    decoders_fixed: bool = False

    @property
    def gpu(self) -> bool:
        """Whether an extractor computes on a GPU."""
        return self.gpus > 0

    @property
    def cores_each(self) -> int:
        """Cores that an extractor reserves in Ray: its own, and those of its first decoder or of a fixed number."""
        return self.threads + (self.decoders if self.decoders_fixed else 1)

    def __str__(self) -> str:
        what = counted(self.threads, "core")
        if self.gpu:
            what = "GPU" if self.gpus == 1 else f"{self.gpus:.3g} of a GPU"
        return f"{counted(self.extractors, 'extractor')} ({what} each) with {counted(self.decoders, 'decoder')} each"


def count_gpus() -> int:
    """GPUs that torch can use on this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def torch_device(gpu: bool) -> str:
    """Torch's name of an extractor's device; Ray shows an extractor one GPU only."""
    return "cuda:0" if gpu else "cpu"


def choose_device(device: str) -> str:
    """Torch's name of "auto", "cpu" or "gpu", for work on one device. Raises what `plan_workers` raises."""
    return torch_device(plan_workers(device, cores=1, gpus=count_gpus(), extractors=1).gpu)


def plan_workers(
    device: str,
    *,
    cores: int,
    gpus: int,
    extractors: int | None = None,
    decoders: int | None = None,
    threads: int | None = None,
    batch_frames: int | None = None,
) -> Workers:
    """Place workers on `cores` and `gpus`. device: "auto", "cpu" or "gpu". A number that is None is chosen here.

    Raises ResourceError if there are fewer GPUs than asked for, ConfigurationError for an unknown device.
    """
    if _use_gpu(device, gpus):
        if not gpus:
            raise ResourceError("expected a GPU; got 0. Make one visible, or use --device cpu")
        wanted = extractors or gpus
        share = 1 / -(-wanted // gpus)  # each extractor's; several may share a GPU
        spare = (cores - wanted) // wanted
        return Workers(
            wanted, decoders or max(1, min(_MOST_DECODERS, spare)), threads or 1, share, batch_frames, bool(decoders)
        )
    wanted = extractors or max(1, cores // (threads or _CORES_AN_EXTRACTOR))
    return Workers(wanted, decoders or 1, threads or max(1, cores // wanted), 0, batch_frames, bool(decoders))


def plan_cluster_workers(
    device: str,
    nodes: Sequence[tuple[int, int]],
    *,
    extractors: int | None = None,
    decoders: int | None = None,
    threads: int | None = None,
    batch_frames: int | None = None,
) -> Workers:
    """Place workers on the nodes of a cluster, given as (cores, gpus); an extractor and its decoders share a node.

    A local Ray is given as many cores as the workers ask for. A cluster's cores are fixed, so each worker must fit on
    its node. Raises what `plan_workers` raises.
    """
    gpu = _use_gpu(device, sum(gpus for _, gpus in nodes))
    # Cores that a worker may have: the smallest share of any node, ignoring nodes much smaller than the largest.
    shares = [cores // gpus if gpu else cores for cores, gpus in nodes if gpus or not gpu]
    share = min((cores for cores in shares if 2 * cores >= max(shares)), default=0)
    fixed = bool(decoders)
    if gpu:
        threads = threads or 1
        decoders = decoders or max(1, min(_MOST_DECODERS, share - threads))
    else:
        decoders = decoders or 1
        threads = threads or max(1, min(_CORES_AN_EXTRACTOR, share - decoders))
    fits = [cores // (threads + decoders) for cores, _ in nodes]
    room = sum(min(count, gpus) if gpu else count for count, (_, gpus) in zip(fits, nodes, strict=True))
    workers = Workers(extractors or max(1, room), decoders, threads, 1 if gpu else 0, batch_frames, fixed)
    if workers.extractors > room:
        raise ResourceError(
            f"expected room for {workers}; the cluster of {counted(len(nodes), 'node')} has room for {room}. "
            "Give fewer --extractors or --decoders"
        )
    return workers


def _use_gpu(device: str, gpus: int) -> bool:
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigurationError(f"expected a device of auto, cpu or gpu; got {device!r}. Choose one of these")
    return device == "gpu" or (device == "auto" and gpus > 0)
