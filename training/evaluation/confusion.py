"""A picture of which classes are taken for which. Requires matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.escaping import as_title
from training.evaluation.picture import new_figure, write_figure

CONFUSION = "confusion"
"""The seal (schemas.seals) of a picture."""

_MOST_NAMED = 40  # classes; names of more would overlap
_MOST_COUNTED = 16
_LONGEST_NAME = 28


def draw_confusion(table: npt.NDArray[np.int64], classes: Sequence[str], path: Path, title: str) -> None:
    """Write a PNG of a confusion table (classes, classes), rows the truth, each as shares of its videos.

    Raises UsageError where matplotlib is missing, or the folder does not exist.
    """
    count = len(classes)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    inches = min(14.0, 3.5 + 0.33 * min(count, _MOST_NAMED))
    figure = new_figure()
    figure.set_size_inches(inches + 1.2, inches)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(as_title(title), fontsize=9)
    axes.set_xlabel("taken for", fontsize=8)
    axes.set_ylabel("class", fontsize=8)
    if count <= _MOST_NAMED:
        names = [as_title(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…") for name in classes]
        axes.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_yticks(range(count), names, fontsize=7)
    if count <= _MOST_COUNTED:
        for row, column in np.argwhere(table > 0):
            dark = shares[row, column] < 0.5
            text = str(table[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the class's videos")
    write_figure(figure, path, CONFUSION)
