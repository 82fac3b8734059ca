"""Clips a second of the networks, and of two streams with the time of their flow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import torch

from benchmarks.motion_classes.commands import Network
from benchmarks.motion_classes.motions import SAMPLED
from benchmarks.motion_classes.probe import NETWORK_SIZE_PX
from extractor.models.loading import load_model

_CLIPS = 8
_SEED = 0


def clips_a_second(networks: Sequence[Network], *, turns: int = 9) -> dict[str, float]:
    """Clips of 8 frames at 112 px that a network takes a second on the CPU, in batches of 8, by name.

    Medians of `turns` turns, in each of which every network is measured once, so that whatever else the machine does
    disturbs all alike. The classifier is not part of it: 512 x 12 products a frame.
    """
    loaded = {network.name: load_model(network.model, weights=network.weights) for network in networks}
    shape = (_CLIPS, SAMPLED, 3, NETWORK_SIZE_PX, NETWORK_SIZE_PX)
    frames = torch.randn(shape, generator=torch.Generator().manual_seed(_SEED))
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    with torch.inference_mode():
        for turn in range(turns + 1):
            for name, model in loaded.items():
                start = time.perf_counter()
                model(frames)
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: _CLIPS / statistics.median(taken) for name, taken in seconds.items()}


def with_flow(rates: Mapping[str, float], networks: Sequence[str], pair_milliseconds: float) -> float:
    """Clips a second where several networks see each clip and one of them the flow at its 8 frames.

    >>> round(with_flow({"rgb": 10.0, "flow": 10.0}, ("rgb", "flow"), 25.0), 3)
    2.5
    """
    return 1 / (sum(1 / rates[name] for name in networks) + SAMPLED * pair_milliseconds / 1000)
