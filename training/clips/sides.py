"""Classes that name a side, whose clips a flip would turn into another class."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def sided_classes(classes: Sequence[str]) -> frozenset[int]:
    """Numbers of the classes that name a side: "Pushing something from left to right", "turn_left", not "upright"."""
    return frozenset(number for number, name in enumerate(classes) if _SIDES.search(name))


def mirrored_labels(classes: Sequence[str]) -> dict[int, int]:
    """For each class that names a side the class of its mirror image, where that exists."""
    numbers = {name.lower(): number for number, name in enumerate(classes)}
    mirrored = {}
    for number in sided_classes(classes):
        mirror = _SIDES.sub(lambda side: _OTHER[side[0].lower()], classes[number]).lower()
        if mirror in numbers and numbers[mirror] != number:
            mirrored[number] = numbers[mirror]
    return mirrored
