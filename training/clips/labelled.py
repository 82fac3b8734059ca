"""Labelled videos, from a folder with a sub-folder for each class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extractor.video import list_videos
from schemas.errors import InventoryError
from training.clips.records import Example

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "val"}
_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LabelledVideos:
    """Videos with classes. A label is a place in `classes`; validation is empty where there is none."""

    classes: tuple[str, ...]
    training: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    report: object = field(default=None, compare=False)


def read_labelled_videos(videos: Path) -> LabelledVideos:
    """The videos of a folder by class, perhaps within train/ and val/."""
    found: list[tuple[str, str, Example]] = []
    for job in list_videos(videos).jobs:
        parts = job.items[0].video_id.split("/")
        split = _SPLITS.get(parts[0].lower(), "") if len(parts) > 2 else ""
        if len(parts) < 2:
            raise InventoryError(f"{videos}: expected a folder for each class; got {parts[0]} outside one")
        found.append((split or "train", parts[1] if split else parts[0], Example(job.items[0].video_id, job.path)))
    classes = tuple(sorted({name for _, name, _ in found}))
    labels = {name: label for label, name in enumerate(classes)}

    def of(wanted: str) -> tuple[Example, ...]:
        return tuple(Example(e.video_id, e.path, label=labels[name]) for split, name, e in found if split == wanted)

    return LabelledVideos(classes, of("train"), of("val"))


def sided_classes(classes: Sequence[str]) -> frozenset[int]:
    """Numbers of the classes that name a side: their clips are not flipped."""
    return frozenset(n for n, name in enumerate(classes) if _SIDES.search(name))


def mirrored_labels(classes: Sequence[str]) -> dict[int, int]:
    """For each class that names a side, the class of its mirror image, where there is one."""
    places = {name: n for n, name in enumerate(classes)}
    other = {"left": "right", "right": "left"}
    mirrored = {
        n: places.get(_SIDES.sub(lambda side: other[side[0].lower()], name), -1) for n, name in enumerate(classes)
    }
    return {n: mirror for n, mirror in mirrored.items() if mirror >= 0 and mirror != n}
