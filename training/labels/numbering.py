"""Labels to numbers of classes."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from schemas.errors import InventoryError
from schemas.escaping import escaped
from training.labels.reading import read_class_names
from training.labels.records import is_number

_NOT_WORD = re.compile(r"[\W_]+")


def number_classes(labels: Collection[str], class_names: Path | None) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names of the classes, and by label the place of its class among them.

    Without a file of names the labels are sorted: as numbers where all are, so that 7 and 07 are one class. With one,
    a label is a number, or a name, which may differ in case and punctuation: "riding_a_bike" is "Riding a bike".
    Raises InventoryError where the file lacks a label.
    """
    if class_names is not None:
        return _named(labels, class_names)
    if not all(map(is_number, labels)):
        names = tuple(sorted(labels))
        return names, {name: place for place, name in enumerate(names)}
    numbers = {number: place for place, number in enumerate(sorted({int(label) for label in labels}))}
    return tuple(map(str, numbers)), {label: numbers[int(label)] for label in labels}


def _named(labels: Collection[str], class_names: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    named = read_class_names(class_names)
    places = {number: place for place, number in enumerate(named)}
    by_name = {name: place for place, name in enumerate(named.values())}
    loose: dict[str, set[int]] = {}
    for name, place in by_name.items():
        loose.setdefault(_plain(name), set()).add(place)
    found, unknown = {}, []
    for label in sorted(labels):
        alike = loose.get(_plain(label), set())
        if label in by_name:
            found[label] = by_name[label]
        elif is_number(label) and int(label) in places:
            found[label] = places[int(label)]
        elif len(alike) == 1:
            (found[label],) = alike
        else:
            unknown.append(label)
    if unknown and all(map(is_number, unknown)):
        raise InventoryError(
            f"{class_names}: expected a name for each label, of which the largest is {max(map(int, unknown))}; got"
            f" {len(named)} names, for {min(named)} to {max(named)}. Add the others, or give the names of this list"
        )
    if unknown:
        raise InventoryError(
            f"{class_names}: expected the names of all classes; got none for {escaped(unknown[0][:80])}. Add it, or"
            " give the names of this list"
        )
    return tuple(named.values()), found


def _plain(text: str) -> str:
    return _NOT_WORD.sub("", text).lower()
