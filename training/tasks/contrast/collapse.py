"""Notices that a network makes the same of all videos, or learns nothing of what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ALIKE_BELOW = 0.03
"""Spread of embeddings that point to nearly one place; random weights have 0.1 and more."""

_AT_CHANCE = 0.98
"""Share of the loss of guessing at which nothing is learned."""


@dataclass(frozen=True, slots=True)
class LossAtChance:
    """A loss, and what guessing would cost."""

    loss: float
    chance: float


class CollapseWatch:
    """Counts the steps in a row in which something is wrong, and says so once in a training."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._counts: dict[str, int] = {}
        self.told: str | None = None

    def see(self, spreads: Mapping[str, float], losses: Mapping[str, LossAtChance]) -> str | None:
        """Look at a step: spreads of keys and losses by name. Returns a sentence for the user, or None."""
        alike = {name: spread for name, spread in spreads.items() if spread < _ALIKE_BELOW}
        idle = {name: of for name, of in losses.items() if of.chance > 0 and of.loss >= _AT_CHANCE * of.chance}
        self._counts = {name: self._counts.get(name, 0) + 1 for name in (*(f"keys {n}" for n in alike), *idle)}
        if self.told is not None:
            return None
        for name, spread in alike.items():
            if self._counts[f"keys {name}"] >= self._steps:
                self.told = (
                    f"the embeddings of all {name} have been nearly the same for {self._steps} steps (spread"
                    f" {spread:.3f}, of at most 1): the training has collapsed. Lower learning_rate or raise"
                    " key_momentum, or start from trained weights"
                )
                return self.told
        for name, of in idle.items():
            if self._counts[name] >= self._steps:
                self.told = (
                    f"the loss {name} has been that of guessing for {self._steps} steps ({of.loss:.3f} of"
                    f" {of.chance:.3f}): nothing is learned from it. Change learning_rate, take more videos, or start"
                    " from trained weights"
                )
                return self.told
        return None

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"counts": self._counts, "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state."""
        self._counts, self.told = dict(state["counts"]), state["told"]
