"""Random numbers from one explicit generator, and seeds of independent streams."""

from __future__ import annotations

import torch
from torch import Tensor


def stream_seed(seed: int, *indices: int) -> int:
    """A distinct seed in [0, 2^63) for every (seed, index, ...); streams of neighbouring seeds are unrelated."""
    state = seed & 0xFFFFFFFFFFFFFFFF
    for index in (*indices, 0x5EED):
        # The finaliser of splitmix64; without it, seed 0 step 1 could equal seed 1 step 0.
        state = (state + 0x9E3779B97F4A7C15 * (index + 1)) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


class Draw:
    """Random tensors on one device, all from one seeded generator."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high)."""
        return torch.rand(shape, generator=self._generator, device=self.device) * (high - low) + low

    def log_uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        """Log-uniform in [low, high)."""
        return low * (high / low) ** self.uniform(shape)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> Tensor:
        """int64 from low to high, both included."""
        return torch.randint(low, high + 1, shape, generator=self._generator, device=self.device)

    def sign(self, shape: tuple[int, ...]) -> Tensor:
        """-1.0 or 1.0, with equal probability."""
        return self.integers(shape, 0, 1) * 2.0 - 1.0

    def chance(self, shape: tuple[int, ...], probability: float) -> Tensor:
        """bool, True with the given probability."""
        return self.uniform(shape) < probability

    def choice(self, shape: tuple[int, ...], weights: tuple[float, ...]) -> Tensor:
        """int64 indices into `weights`, drawn in proportion to them."""
        bounds = torch.tensor(weights, device=self.device).cumsum(0)
        picked = torch.searchsorted(bounds, self.uniform(shape) * bounds[-1], right=True)
        return picked.clamp(max=len(weights) - 1)
