"""Which devices there are and how workers are laid over them. The only place that names a kind of GPU."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import ConfigurationError, ResourceError

__all__ = ["Workers", "count_gpus", "plan_workers", "torch_device"]

_CORES_AN_EXTRACTOR = 4  # on a CPU: more threads than that gain little, fewer extractors waste cores
_MOST_DECODERS = 16  # an extractor on a GPU has no use for more


@dataclass(frozen=True, slots=True)
class Workers:
    """How many extractors, and what each has: a GPU or not, `threads` of its own, `decoders` beside it.

    batch_frames: frames that go through the network at once.
    """

    extractors: int
    decoders: int
    threads: int
    gpu: bool
    batch_frames: int

    @property
    def cores_each(self) -> int:
        """Cores that an extractor asks of Ray for itself and its decoders."""
        return self.threads + self.decoders

    def __str__(self) -> str:
        what = "GPU" if self.gpu else f"{self.threads} core{'s' * (self.threads > 1)}"
        return (
            f"{self.extractors} extractor{'s' * (self.extractors > 1)} ({what} each) with "
            f"{self.decoders} decoder{'s' * (self.decoders > 1)} each"
        )


def count_gpus() -> int:
    """GPUs that torch can use on this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def torch_device(gpu: bool) -> str:
    """Name of the device an extractor uses; Ray shows it one GPU only."""
    return "cuda:0" if gpu else "cpu"


def plan_workers(
    device: str,
    *,
    cores: int,
    gpus: int,
    extractors: int | None = None,
    decoders: int | None = None,
    threads: int | None = None,
) -> Workers:
    """Lay workers over `cores` and `gpus`; `device` is "auto", "cpu" or "gpu". None leaves a number to us.

    Raises ResourceError where there are fewer GPUs than asked for, ConfigurationError for an unknown device.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigurationError(f"a device of auto, cpu or gpu was expected, not {device!r}")
    use_gpu = device == "gpu" or (device == "auto" and gpus > 0)
    if use_gpu:
        wanted = extractors or max(gpus, 1)
        if wanted > gpus:
            raise ResourceError(
                f"a GPU for each of {wanted} extractors was expected, {gpus} can be used here: "
                "give fewer --extractors, or use --device cpu"
            )
        spare = (cores - wanted) // wanted
        return Workers(wanted, decoders or max(1, min(_MOST_DECODERS, spare)), threads or 1, True, 256)
    wanted = extractors or max(1, cores // (threads or _CORES_AN_EXTRACTOR))
    return Workers(wanted, decoders or 1, threads or max(1, cores // wanted), False, 16)
