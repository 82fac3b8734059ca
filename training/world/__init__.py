"""Procedural clips with known displacement, visibility, event boundaries and motion classes."""

from training.world.config import IGNORE, Boundary, Motion, WorldConfig
from training.world.scene import Clips, World

__all__ = ["IGNORE", "Boundary", "Clips", "Motion", "World", "WorldConfig"]
