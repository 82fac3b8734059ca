"""Which rows are for training, which for validation, and which for neither."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import ConfigurationError, InventoryError
from schemas.escaping import escaped
from training.labels.records import LabelledRow

TRAINING, VALIDATION = "train", "val"
_TEST = "test"
_WORDS = {
    **dict.fromkeys(("train", "training", "tr"), TRAINING),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), _TEST),
}


@dataclass(slots=True)
class Division:
    """Rows by side. test: how many were left out beside others for validation. odd: rows by unknown split."""

    training: list[LabelledRow] = field(default_factory=list)
    validation: list[LabelledRow] = field(default_factory=list)
    test: int = 0
    odd: Counter[str] = field(default_factory=Counter)


def is_split(name: str) -> bool:
    """Whether a name is one of a split, such as train or Validation."""
    return name.strip().lower() in _WORDS


def divide(rows: Sequence[LabelledRow], source: Path, share: float, seed: int) -> Division:
    """Divide rows that have a file by their split, or by drawing a share of each class for validation.

    A test split is for validation where there is none of that name. Raises InventoryError or ConfigurationError.
    """
    if not 0 <= share < 1:
        raise ConfigurationError(f"expected a share from 0 to below 1 for validation; got {share:g}. Change it")
    division = Division()
    written = {row.split for row in rows}
    spoken = {split: None if split is None else _WORDS.get(split.strip().lower()) for split in written}
    if written == {None}:
        spoken[None] = TRAINING
    held_out = VALIDATION if VALIDATION in spoken.values() else _TEST
    for row in rows:
        side = spoken[row.split]
        if side is None:
            division.odd[row.split or ""] += 1
        elif row.path is None:
            continue
        elif side == TRAINING:
            division.training.append(row)
        elif side == held_out:
            division.validation.append(row)
        else:
            division.test += 1
    if not division.training:
        got = ", ".join(escaped(split[:40]) for split in sorted(filter(None, written))) or "none"
        raise InventoryError(f"{source}: expected videos for training; got those of {got}. Check the split")
    if not division.validation and share:
        division.training, division.validation = _drawn(division.training, share, seed)
    elif not division.validation and written != {None}:
        raise _without_validation(rows, [row for row in rows if spoken[row.split] == held_out], source)
    return division


def _without_validation(rows: Sequence[LabelledRow], held_out: Sequence[LabelledRow], source: Path) -> InventoryError:
    if held_out:
        return InventoryError(
            f"{source}: expected files for the rows of validation; found none of {len(held_out)}, such as"
            f" {escaped(held_out[0].video_id[:200])}. Add them, or give another list"
        )
    got = ", ".join(dict.fromkeys(escaped((row.split or "")[:40]) or "none" for row in rows[:1000]))
    return InventoryError(
        f"{source}: expected rows for validation (split val or test); got {got}. Add some, or a share of each class by"
        " --validation-share"
    )


def _drawn(rows: Sequence[LabelledRow], share: float, seed: int) -> tuple[list[LabelledRow], list[LabelledRow]]:
    """Training and validation: of each class a share of its files, at least one of two or more, but never all.

    A file is of the class of its first row, and all its segments are on one side.
    """
    files: dict[str, list[str]] = {}
    seen: set[str | None] = set()
    for row in rows:
        if row.path is not None and row.path not in seen:
            seen.add(row.path)
            files.setdefault(row.label, []).append(row.path)
    draw, held = random.Random(seed), set[str | None]()
    for label in sorted(files):
        paths = sorted(files[label])
        draw.shuffle(paths)
        held.update(paths[: min(max(round(share * len(paths)), 1), len(paths) - 1)])
    return [row for row in rows if row.path not in held], [row for row in rows if row.path in held]
