"""What limits the speed of an extraction, and the options that would help: pure functions over seconds and workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.workers.events import StageSeconds

LEAST_SECONDS = 30.0
"""Of an extraction that has a limit: a shorter one mostly waits for its start."""

_WAITING_SHARE = 0.25  # of the devices' time: above it, frames come too slowly
_WRITING_SHARE = 0.8  # of the writers' time: above it, they are what is waited for
_BUSY_SHARE = 0.4  # of the decoders' time: below it, they wait themselves


@dataclass(frozen=True, slots=True)
class LimitingStage:
    """The stage that limits the speed of a run, and the options that would help."""

    stage: str
    advice: str


def limit_of_run(
    seconds: StageSeconds, wall_seconds: float, device_seconds: float, decoders: int, workers: Placement
) -> LimitingStage:
    """What to change for more speed, by the seconds of every stage, summed over all workers.

    device_seconds: of all extractors together, at work or not. decoders: of all of them.
    """
    decoding = seconds.decode + seconds.transform
    if seconds.waiting > _WAITING_SHARE * device_seconds:
        busy = decoding > _BUSY_SHARE * wall_seconds * max(1, decoders)
        if not busy and seconds.waiting > seconds.network:  # nobody worked: neither decoders nor devices
            return LimitingStage("waiting", _FEW_FILES)
        if busy or decoding > seconds.network:
            return _decoding(seconds, workers)
    if seconds.write > _WRITING_SHARE * device_seconds:
        return LimitingStage("write", "fewer or smaller --outputs, --compression none, or faster storage would help")
    if _decoding_takes_the_cores(decoding, seconds.network, workers):
        return _decoding(seconds, workers)
    return _network(workers)


_FEW_FILES = (
    "neither decoders nor devices had work for most of the time, so files came slowly or were too few: faster storage, "
    "a --cache for addresses, or one command for more videos would help"
)


def limit_of_plan(decode_seconds: float | None, network_seconds: float, workers: Placement) -> LimitingStage:
    """What would limit an extraction: seconds of one decoder and of one extractor's network."""
    decode = StageSeconds(decode=decode_seconds or 0.0)
    if not workers.gpu:
        slow = _decoding_takes_the_cores(decode.decode, network_seconds, workers, shared=True)
    else:
        slow = workers.wall_seconds(decode.decode, 0.0) > workers.wall_seconds(0.0, network_seconds)
    return _decoding(decode, workers) if slow else _network(workers)


def _decoding_takes_the_cores(
    decoding: float, network: float, workers: Placement, *, shared: bool | None = None
) -> bool:
    """Whether decoding takes more of the cores than the network beside it, where both are on the same ones."""
    if workers.gpu:
        return False
    if shared is None:
        shared = any(0 < group.cores < group.threads + group.decoders for group in workers.groups)
    return shared and decoding > network * _threads(workers.groups)


def _threads(groups: Iterable[Workers]) -> int:
    return max((group.threads for group in groups), default=1)


def _decoding(seconds: StageSeconds, workers: Placement) -> LimitingStage:
    fixed = max((group.decoders for group in workers.groups if group.decoders_fixed), default=0)
    roomy = any(group.decoders_fixed and _free_cores(group) > group.decoders for group in workers.groups)
    more = f"more than --decoders {fixed}" if fixed and roomy else "more cores for decoders"
    if seconds.transform > seconds.decode:
        return LimitingStage("transform", f"{more} would help")
    return LimitingStage("decode", f"{more} would help, or --decoder sparse where videos are H.264")


def _free_cores(group: Workers) -> float:
    """Cores that decoders of an extractor may take; without bound where it is unknown."""
    return group.cores - (group.threads if group.gpu else 0) if group.cores else float("inf")


def _network(workers: Placement) -> LimitingStage:
    if workers.gpu:
        return LimitingStage(
            "network", "--dtype float16 where it is float32, more GPUs, or a smaller --model or --size would help"
        )
    return LimitingStage("network", "a GPU, more cores, or a smaller --model or --size would help")
