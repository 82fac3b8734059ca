"""The banks of textures and shapes that a world draws from, created on first use and renewed over time."""

from __future__ import annotations

import torch

from training.world.config import WorldConfig
from training.world.draw import Draw, stream_seed
from training.world.looks.atlas import Atlas
from training.world.looks.shapes import shape_bank
from training.world.looks.textures import texture_bank


class Banks:
    """Textures and shapes of one world; they depend on `fields_of` the configuration, seed, step and device only."""

    def __init__(self, config: WorldConfig, seed: int, device: torch.device) -> None:
        self._config, self._seed, self._device = config, seed, device
        self._made: tuple[int, tuple[Atlas, Atlas]] | None = None

    @staticmethod
    def fields_of(config: WorldConfig) -> tuple[int, ...]:
        """The fields of a configuration that determine the banks."""
        return config.textures, config.texture_px, config.shapes, config.bank_lifetime_steps

    def at(self, step: int) -> tuple[Atlas, Atlas]:
        """Textures and shapes for a step."""
        generation = step // self._config.bank_lifetime_steps
        if self._made is None or self._made[0] != generation:
            draw = Draw(stream_seed(self._seed, 3, generation), self._device)
            textures = Atlas(texture_bank(self._config.textures, self._config.texture_px, draw), periodic=True)
            shapes = Atlas(shape_bank(self._config.shapes, draw), periodic=False)
            self._made = (generation, (textures, shapes))
        return self._made[1]
