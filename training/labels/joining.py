"""Lists of videos beside their folder: which files their rows mean."""

from __future__ import annotations

from pathlib import Path

from extractor.video.listing import with_segment
from schemas.errors import ConfigurationError, InventoryError
from schemas.escaping import escaped
from schemas.records import Item
from training.labels.division import TRAINING, VALIDATION
from training.labels.places import FileIndex
from training.labels.reading import read_class_list
from training.labels.records import ClassList, LabelledRow, ListRow, is_number
from training.labels.report import ListReport


def join_lists(
    videos: Path, labels: Path, validation: Path | None, *, has_names: bool
) -> tuple[list[LabelledRow], ListReport]:
    """Rows of lists with their files in the folder `videos`, and the report as far as it is known by now.

    labels: the list for training, or one with a column split. validation: that of the other side. Raises InventoryError
    where a list cannot be used or none of its files is there; ConfigurationError where `videos` is no folder.
    has_names: whether numbered classes have names elsewhere.
    """
    if not videos.is_dir():
        raise ConfigurationError(f"expected a folder of videos beside --labels; got {videos}. Give the folder")
    lists: list[tuple[ClassList, str | None]] = [(read_class_list(labels), None)]
    if validation is not None:
        lists = [(lists[0][0], TRAINING), (read_class_list(validation), VALIDATION)]
    if not has_names and len(lists) == 2:
        _check_kinds(lists[0][0], lists[1][0])
    index = FileIndex(videos, (name for row in lists[0][0].rows for name in row.names))
    rows: list[LabelledRow] = []
    ambiguous: list[str] = []
    by_name: list[str] = []
    for listed, split in lists:
        has_splits = split is None and any(row.split is not None for row in listed.rows)
        for row in listed.rows:
            found = _looked_up(index, row, ambiguous, by_name)
            if found is not None:
                rows.append(found._replace(split=split or (row.split or "" if has_splits else None)))
    if all(row.path is None for row in rows):
        missing = [row.video_id for row in rows] or ambiguous
        raise InventoryError(
            f"{labels}: expected names of videos in {videos}; found none of {len(missing)}, such as"
            f" {escaped(missing[0][:200])}. Give the folder that the list's paths start from"
        )
    used = {row.path for row in rows}
    return rows, ListReport(
        " and ".join(dict.fromkeys(listed.form for listed, _ in lists)),
        sum(len(listed.rows) for listed, _ in lists),
        ambiguous=tuple(ambiguous),
        by_name=tuple(by_name),
        unlisted=tuple(name for name, path in index.files.items() if path not in used),
        skipped=index.skipped,
    )


def _looked_up(index: FileIndex, row: ListRow, ambiguous: list[str], by_name: list[str]) -> LabelledRow | None:
    """A row with its file, if there is one; None for a name of several files."""
    for place, name in enumerate(row.names):
        files = index.find(name, row.label)
        if len(files) > 1:
            ambiguous.append(name)
            return None
        if files:
            (file,) = files
            if file.by_name:
                by_name.append(name)
            is_cut = place < len(row.names) - 1  # to its segment
            start, end = (None, None) if is_cut else (row.start_seconds, row.end_seconds)
            video_id = with_segment(file.video_id, Item("", start, end))
            return LabelledRow(video_id, row.label, file.path, start, end, file.fps)
    return LabelledRow(row.names[-1], row.label, None)


def _check_kinds(first: ClassList, second: ClassList) -> None:
    """Refuse one list with numbers as labels beside one with names: their classes would not meet."""
    for numbers, names in ((first, second), (second, first)):
        number, name = numbers.rows[0].label, names.rows[0].label
        if is_number(number) and not is_number(name):
            raise InventoryError(
                f"{names.path}: expected numbers as labels, as {escaped(number)} in {numbers.path}; got"
                f" {escaped(name[:80])}. Give the names of the numbers by --class-names"
            )
