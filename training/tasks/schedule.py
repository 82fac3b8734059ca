"""How learning rates rise and fall, whatever the task."""

from __future__ import annotations

import math


def warmed_cosine(step: int, *, steps: int, warmup: int, highest: float, lowest: float = 0.0) -> float:
    """The rate of a step, from 0: a linear rise over `warmup` steps, then a cosine down to `lowest` at `steps`."""
    if step < warmup:
        return highest * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * done))
