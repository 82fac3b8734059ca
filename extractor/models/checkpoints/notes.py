"""What a user should know about the weights of a checkpoint, in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from extractor.models.msnet import MSNet
from schemas.escaping import in_command

_NO_BETTER_SHARE = 0.9
_LEARN_FEATURES = "msnet weights train --task classify"


def graft_command(path: Path, model: str) -> str:
    """The command that trains an MS module on the backbone of a checkpoint that has none."""
    return f"msnet weights train --config graft --model {model} --weights {in_command(path)} --out RUN"


def saved_notes(metadata: Mapping[str, str]) -> list[str]:
    """The notes saved with our own files, so that a conversion does not hide them."""
    try:
        notes = json.loads(metadata.get("notes", "[]"))
    except (ValueError, RecursionError):
        return []
    return [str(note)[:400] for note in notes[:10]] if isinstance(notes, list) else []


def matching_note(metadata: Mapping[str, str]) -> str | None:
    """That displacement was hardly better than zero motion when one of our own files was last evaluated."""
    try:
        held_out = json.loads(metadata.get("recipe", "{}"))["held_out"]
        error, zero = float(held_out["error_cells"]), float(held_out["zero_error_cells"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    if not error >= _NO_BETTER_SHARE * zero > 0:
        return None
    return (
        f"its displacement was hardly better than none on held-out procedural clips: {error:.2f} cells off, against"
        f" {zero:.2f} for zero motion"
    )


def module_note(path: Path, kind: str, network: MSNet, *, is_new: bool, seed: int) -> str | None:
    """What the MS module of a network cannot do yet; None where nothing is to be said.

    is_new: it has random weights from `seed`, since the checkpoint at `path` has none of it.
    """
    module = network.motion_squeeze
    if module is None:
        return None
    if is_new:
        return (
            f"{path.name} ({kind}) has no MotionSqueeze module: the backbone is loaded, and the module keeps its random"
            f" initial weights (seed {seed}), so displacement means nothing before"
            f" `{graft_command(Path(path.name), network.spec.name)}` has trained it"
        )
    if module.is_zero:
        return (
            "its motion features are 0, and all other features those of the backbone alone: displacement is trained,"
            f" what is made of it is not. `{_LEARN_FEATURES}` trains that too"
        )
    return None
