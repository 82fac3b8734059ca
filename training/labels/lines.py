"""Lists without a header: a path, perhaps a number of frames, and a label a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from extractor.video.listing import VIDEO_SUFFIXES
from schemas.errors import InventoryError
from training.labels.records import ListRow, is_number

_SUFFIXES = "|".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES))
_ENDS_IN_SUFFIX = re.compile(rf"(.*\.(?:{_SUFFIXES}))(?=[\s,;\"]|$)", re.IGNORECASE)  # a path may hold any mark
_MARKS = {"\t": "tab-separated lines", ";": "lines with ;", ",": "comma-separated lines", " ": "lines"}


def rows_of_lines(path: Path, text: str) -> tuple[str, list[ListRow]]:
    """The form in words, and its rows.

    A path may contain the mark if it ends in a known suffix, or if the label is a number. Lines of paths alone (the
    test lists of UCF101) have their folder as label. Raises InventoryError where one of these has no folder.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    cut = [_at_suffix(line) for _, line in lines]
    mark = _mark(cut)
    cells = [_name_and_rest(head, tail, mark) for head, tail in cut]
    if cells and not any(rest for _, rest in cells):
        return "lines of paths, whose folder is the class", _by_folder(path, lines)
    counts = [_without_count(name, rest, mark) for name, rest in cells]
    with_counts = all(one is not None for one in counts)
    found = [one for one in counts if one is not None] if with_counts else cells
    rows = [
        ListRow(number, (name.strip().strip('"'),), label.strip().strip('"'))
        for (number, _), (name, label) in zip(lines, found, strict=True)
    ]
    return f"{_MARKS[mark]} of path, {'frames and ' if with_counts else ''}label", rows


def _at_suffix(line: str) -> tuple[str, str]:
    """A line cut behind the suffix of its path: "a b.mp4 30 1" is "a b.mp4" and " 30 1"; ("", line) without one."""
    found = _ENDS_IN_SUFFIX.match(line)
    return ("", line) if found is None else (found[1], line[found.end() :].lstrip('"'))


def _mark(cut: Sequence[tuple[str, str]]) -> str:
    """What separates path and label: the first mark that all lines have, else that of most lines."""
    had = {mark: sum(mark in tail for _, tail in cut) for mark in _MARKS}
    most = max(had.values())
    return next(mark for mark in _MARKS if had[mark] == most)


def _name_and_rest(head: str, tail: str, mark: str) -> tuple[str, str]:
    if head:
        return head, tail.strip(f"{mark} ")
    first, _, last = tail.rpartition(mark)
    if first and is_number(last.strip()):
        return first, last
    first, _, last = tail.partition(mark)
    return first, last


def _without_count(name: str, rest: str, mark: str) -> tuple[str, str] | None:
    """Path and label where a number of frames stands between them; None where there is none."""
    first, _, label = rest.strip().partition(mark)
    if label and is_number(first.strip()):
        return name, label
    before, _, count = name.strip().rpartition(mark)
    return (before, rest) if before and is_number(count.strip()) else None


def _by_folder(path: Path, lines: Sequence[tuple[int, str]]) -> list[ListRow]:
    rows = []
    for number, line in lines:
        name = line.replace("\\", "/").strip('"')
        folders = name.split("/")[:-1]
        if not folders or not folders[-1]:
            raise InventoryError(f"{path}: row {number}: expected a path and a label; got a path alone. Add the label")
        rows.append(ListRow(number, (name,), folders[-1]))
    return rows
