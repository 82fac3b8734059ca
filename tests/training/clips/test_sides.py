"""Which classes name a side, and what their mirror image is."""

from __future__ import annotations

from training.clips.sides import mirrored_labels, sided_classes

_CLASSES = ("Pulling from left to right", "Pulling from right to left", "upright", "turn_left", "Left", "right", "wave")


def test_sided_classes_name_left_or_right_as_words() -> None:
    assert sided_classes(_CLASSES) == {0, 1, 3, 4, 5}


def test_mirrored_labels_are_the_classes_of_the_other_side() -> None:
    assert mirrored_labels(_CLASSES) == {0: 1, 1: 0, 4: 5, 5: 4}
    assert mirrored_labels(("left and right", "x")) == {}
