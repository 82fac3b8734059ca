"""Checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import WeightsError

__all__ = ["BUNDLED_WEIGHTS", "bundled_checkpoint", "bundled_networks", "checkpoint_path"]

BUNDLED_WEIGHTS = "bundled"
"""What stands for them where weights are asked for; a store remembers this and not a path, which is another on every
machine."""

_FOLDER = Path(__file__).parents[1] / "weights"
_SUFFIX = ".safetensors"


def bundled_networks() -> tuple[str, ...]:
    """Networks that have a checkpoint here: their default weights."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}")))


def bundled_checkpoint(name: str) -> Path:
    """The checkpoint of the network `name`; WeightsError where none comes with the package."""
    if name not in bundled_networks():
        known = ", ".join(bundled_networks()) or "none at all"
        raise WeightsError(
            f"a checkpoint for {name} was expected, and none comes with this package (it has {known}): give the path of"
            ' one (of two, A,B, for an ensemble), or "random", which is for a try-out whose features mean nothing'
        )
    return _FOLDER / f"{name}{_SUFFIX}"


def checkpoint_path(weights: str | Path, name: str) -> Path:
    """Where `weights` lies, which is a path, or "bundled" for that of the network `name`; WeightsError as above."""
    return bundled_checkpoint(name) if str(weights) == BUNDLED_WEIGHTS else Path(weights)
