"""A world in motion: procedural clips whose displacement, visibility, boundaries and motion classes are known."""

from training.world.config import IGNORE, Boundary, Motion, WorldConfig
from training.world.scene import Clips, World

__all__ = ["IGNORE", "Boundary", "Clips", "Motion", "World", "WorldConfig"]
