"""Checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

from extractor.models.public.cache import is_public_name
from schemas.errors import WeightsError

BUNDLED_WEIGHTS = "bundled"
"""The value of `--weights` that means them. A store records this word, not a path, which differs between machines."""

RANDOM_WEIGHTS = "random"
"""The value of `--weights` that means none: initial weights from a seed."""

_FOLDER = Path(__file__).parents[1] / "weights"
_SUFFIX = ".safetensors"


def bundled_networks() -> tuple[str, ...]:
    """Networks that have a bundled checkpoint, which is their default."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}")))


def bundled_checkpoint(name: str) -> Path:
    """Path of the checkpoint of the network `name`; WeightsError where none comes with the package."""
    if name not in bundled_networks():
        known = ", ".join(bundled_networks()) or "none at all"
        raise WeightsError(
            f"expected a checkpoint for {name}; none comes with this package (it has {known}). Give the path of one"
            ' (A,B for an ensemble), or "random" for a try-out whose features mean nothing'
        )
    return _FOLDER / f"{name}{_SUFFIX}"


def checkpoint_path(weights: str | Path, name: str) -> Path:
    """Path of `weights`: "bundled" is that of the network `name`, and anything else what `read_checkpoint` takes.

    WeightsError as above.
    """
    return bundled_checkpoint(name) if str(weights) == BUNDLED_WEIGHTS else Path(weights)


def from_any_folder(weights: Path) -> Path:
    """What means the same weights in a process that works in another folder: a name, or an absolute path."""
    is_name = str(weights) == BUNDLED_WEIGHTS or is_public_name(weights)
    return weights if is_name else weights.absolute()
