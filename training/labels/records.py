"""What the parts of this package pass to one another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_NUMBER = re.compile(r"[0-9]{1,9}")


class ListRow(NamedTuple):
    """A row of a list. number: for the user, from 1. names: what its file may be called, the likeliest first.

    start_seconds, end_seconds: the segment, for a file of the last of `names`; one of an earlier name is cut to it.
    split: as written; None without one.
    """

    number: int
    names: tuple[str, ...]
    label: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class ClassList:
    """A list of labelled videos. form: in words."""

    path: Path
    form: str
    rows: tuple[ListRow, ...]


class LabelledRow(NamedTuple):
    """A video that a data set names, before its class has a number.

    path: of the file, absolute; None where there is none. fps: of a folder of images. split: as written, or None.
    """

    video_id: str
    label: str
    path: str | None
    start_seconds: float | None = None
    end_seconds: float | None = None
    fps: float | None = None
    split: str | None = None


def is_number(text: str) -> bool:
    """Whether a label is a number of a class: at most nine digits."""
    return _NUMBER.fullmatch(text) is not None
