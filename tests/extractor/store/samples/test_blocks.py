from __future__ import annotations

import numpy as np
import pytest

from extractor.store.samples.blocks import _starts


def one_by_one(start: int, stop: int, ranges: dict, weights: dict[str, int], most: int) -> list[int]:
    """The same by its definition: a sample begins a block if the block before it would become too large with it."""
    found = [start]
    for sample in range(start + 1, stop):
        here = slice(found[-1], sample + 1)
        size = sum(weights[level] * int(rows[here, 1].max() - rows[here, 0].min()) for level, rows in ranges.items())
        if size > most:
            found.append(sample)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_blocks_are_as_long_as_they_may_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 300))
    first = np.cumsum(rng.integers(0, 6, count)) + rng.integers(-3, 4, count)  # neighbours overlap, not in strict order
    ranges = {
        level: np.stack([first + shift, first + shift + rng.integers(1, 9, count)], axis=1)
        for level, shift in (("frames", 0), ("pairs", 50))
    }
    weights = {"frames": int(rng.integers(1, 20)), "pairs": int(rng.integers(0, 20))}
    start = int(rng.integers(0, count))
    for most in (0, 40, 400, 10**4, 10**7):
        assert _starts(start, count, ranges, weights, most) == one_by_one(start, count, ranges, weights, most)
