"""Lists with a header: the csv of Kinetics, and others that name a video and a label."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.errors import InventoryError
from schemas.escaping import escaped
from training.labels.records import ListRow

_VIDEO = ("path", "youtube_id", "video_id", "id", "video", "file", "filename")
_LABEL = ("label", "class")
_TIMES = (("time_start", "start_seconds"), ("time_end", "end_seconds"))
_MARKS = ",;\t"
_LONGEST_SECONDS = 1e6  # what six digits in the name of a cut file can say


def rows_of_table(path: Path, text: str) -> tuple[str, list[ListRow]] | None:
    """The form in words, and its rows; None where the first line is no header.

    A file of Kinetics is looked for as ID_000010_000020 first, which is cut to its segment. Raises InventoryError.
    """
    first = text.lstrip().partition("\n")[0]
    mark = max(_MARKS, key=first.count)
    header = [cell.strip().strip('"').lower() for cell in first.split(mark)]
    video, label = (next((name for name in names if name in header), None) for names in (_VIDEO, _LABEL))
    if video is None or label is None:
        return None
    columns = {name: place for place, name in reversed(list(enumerate(header)))}
    rows = []
    reader = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=mark, skipinitialspace=True)
    before = text[: len(text) - len(text.lstrip())].count("\n")
    try:
        next(reader)
        for cells in reader:
            if any(cells):
                rows.append(_row(path, before + reader.line_num, cells, columns, (video, label)))
    except csv.Error as error:
        raise InventoryError(f"{path}: expected a csv; got one that cannot be read ({error}). Correct it") from error
    return ("Kinetics csv" if video == "youtube_id" else f"csv with {video} and {label}"), rows


def _row(path: Path, number: int, cells: Sequence[str], columns: Mapping[str, int], names: tuple[str, str]) -> ListRow:
    if len(cells) != len(columns):
        raise InventoryError(
            f"{path}: row {number}: expected {len(columns)} cells, as in the header; got {len(cells)}. Quote text that"
            " contains the mark between cells"
        )
    video, label = (cells[columns[name]].strip() for name in names)
    start, end = (_seconds(path, number, cells, columns, alternatives) for alternatives in _TIMES)
    if end is not None and end <= (start or 0.0):
        raise InventoryError(
            f"{path}: row {number}: expected an end after the start at {start or 0.0:g} s; got {end:g} s. Correct them"
        )
    called: tuple[str, ...] = (video,)
    if names[0] != "path" and start is not None and end is not None:
        called = (f"{video}_{int(start):06d}_{int(end):06d}", video)
    split = cells[columns["split"]].strip() if "split" in columns else ""
    return ListRow(number, called, label, start, end, split or None)


def _seconds(
    path: Path, number: int, cells: Sequence[str], columns: Mapping[str, int], names: Sequence[str]
) -> float | None:
    name = next((name for name in names if name in columns), None)
    text = "" if name is None else cells[columns[name]].strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < _LONGEST_SECONDS:
        raise InventoryError(f"{path}: row {number}: expected seconds for {name}; got {escaped(text[:40])}. Correct it")
    return value
