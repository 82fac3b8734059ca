"""Labelled videos: from a folder or a table, perhaps with a list beside it, to examples with numbered classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from extractor.video import list_videos
from extractor.video.listing import Listing
from schemas.errors import ConfigurationError, InventoryError
from schemas.escaping import escaped
from training.clips.records import Example
from training.labels.division import divide, is_split
from training.labels.joining import join_lists
from training.labels.numbering import number_classes
from training.labels.records import LabelledRow, is_number
from training.labels.report import ListReport


@dataclass(frozen=True, slots=True)
class LabelledVideos:
    """Videos with classes. A label is a place in `classes`; validation is empty where there is none."""

    classes: tuple[str, ...]
    training: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    report: ListReport = field(default_factory=ListReport)


def read_labelled_videos(
    videos: Path,
    labels: Path | None = None,
    *,
    validation: Path | None = None,
    class_names: Path | None = None,
    validation_share: float = 0.0,
    seed: int = 0,
    needs_labels: bool = True,
) -> LabelledVideos:
    """Read a folder with a folder for each class, a table with a column label, or a list of the videos of a folder.

    labels, validation: lists of `videos` in a form of the field (training.labels). A folder may have train and val
    (or test) above its classes, and a table or list a column split. validation_share: of each class, drawn by file,
    where there is no validation otherwise. class_names: file with the names of numbered classes. needs_labels: False
    takes all videos, without labels, and lists of labels are refused.

    Raises InventoryError or ConfigurationError where the videos cannot be used; what is left out is in the report.
    """
    if not needs_labels:
        if labels is not None or validation is not None or class_names is not None:
            raise ConfigurationError("expected no lists of labels, which are not used here; got some. Leave them out")
        return _without_labels(videos, validation_share, seed)
    if labels is None and validation is not None:
        raise ConfigurationError(f"expected a training list beside --validation {validation}; got none. Give --labels")
    if labels is None:
        rows, report = _from_listing(videos)
    else:
        rows, report = join_lists(videos, labels, validation, has_names=class_names is not None)
    return _numbered(rows, report, labels or videos, class_names, validation_share, seed)


def _rows_of(listing: Listing) -> list[LabelledRow]:
    """The videos of a listing, in its order, without labels; path is None where the file does not exist."""
    return [
        LabelledRow(
            item.video_id,
            "",
            None if job.size_bytes is None else job.path,
            item.start_seconds,
            item.end_seconds,
            job.fps,
        )
        for job in listing.jobs
        for item in job.items
    ]


def _without_labels(videos: Path, share: float, seed: int) -> LabelledVideos:
    """All videos; those of validation by the folders train and val, a column split, or a share."""
    listing = list_videos(videos)
    rows = _rows_of(listing)
    if all(row.path is None for row in rows):
        raise _none_exists(videos, listing)
    tops = {row.video_id.split("/")[0] for row in rows}
    if "split" in listing.columns.names:
        splits = _texts(listing, "split")
        rows = [row._replace(split=splits.get(row.video_id, "")) for row in rows]
    elif videos.is_dir() and all(map(is_split, tops)):
        rows = [row._replace(split=row.video_id.split("/")[0]) for row in rows]
    division = divide(rows, videos, share, seed)
    training, held_out = (
        tuple(_example(row, None) for row in side) for side in (division.training, division.validation)
    )
    report = ListReport(
        "videos without labels",
        len(rows),
        training=(len(training),),
        validation=(len(held_out),),
        missing=tuple(row.video_id for row in rows if row.path is None),
        test=division.test,
        odd_splits=dict(division.odd),
        skipped=listing.skipped_summary(),
    )
    return LabelledVideos((), training, held_out, report)


def _from_listing(videos: Path) -> tuple[list[LabelledRow], ListReport]:
    listing = list_videos(videos)
    if "label" in listing.columns.names:
        return _of_table(videos, listing)
    if not videos.is_dir():
        raise InventoryError(f"{videos}: expected a column label beside path; got none. Add it, or give --labels LIST")
    found = _rows_of(listing)
    parts = [row.video_id.split("/") for row in found]
    tops = {folders[0] for *folders, _ in parts if folders}
    divided = bool(tops) and all(map(is_split, tops))
    rows, outside = [], []
    for row, folders in zip(found, parts, strict=True):
        if len(folders) < 2 + divided:
            outside.append(row.video_id)
        else:
            rows.append(row._replace(label=folders[divided], split=folders[0] if divided else None))
    if not rows:
        raise InventoryError(
            f"{videos}: expected a folder for each class, or --labels LIST; got videos that lie in none, such as"
            f" {escaped(outside[0][:200])}. Sort them, or give a list"
        )
    form = "a folder for each class" + (f", within {' and '.join(sorted(tops))}" if divided else "")
    return rows, ListReport(form, len(found), outside=tuple(outside), skipped=listing.skipped_summary())


def _of_table(videos: Path, listing: Listing) -> tuple[list[LabelledRow], ListReport]:
    values, names = listing.columns.values, listing.columns.names
    labels, splits = (_texts(listing, name) for name in ("label", "split"))
    rows = [
        row._replace(label=labels.get(row.video_id, ""), split=splits.get(row.video_id)) for row in _rows_of(listing)
    ]
    if "split" in names:
        rows = [row if row.split is not None else row._replace(split="") for row in rows]
    if len(labels) < len(values):
        place = next(place for place, name in enumerate(values.index, start=1) if name not in labels)
        raise InventoryError(
            f"{videos}: expected a label for each video; got none for {escaped(values.index[place - 1][:200])}, the"
            f" {place}. video. Add it, or remove the row"
        )
    if all(row.path is None for row in rows):
        raise _none_exists(videos, listing)
    return rows, ListReport("a table with path and label", len(rows))


def _texts(listing: Listing, name: str) -> dict[str, str]:
    """A column of a table as text, by video_id, without missing and empty cells; nothing where there is no column."""
    if name not in listing.columns.names:
        return {}
    column = listing.columns.values[listing.columns.names[name]].dropna()
    texts = ((video_id, str(value).strip()) for video_id, value in zip(column.index, column.tolist(), strict=True))
    return {video_id: text for video_id, text in texts if text}


def _none_exists(videos: Path, listing: Listing) -> InventoryError:
    path = min(listing.jobs, key=lambda job: job.items[0].video_id).path
    return InventoryError(
        f"{videos}: expected paths of videos, relative to {listing.root}; none of {len(listing.jobs)} exists, such as"
        f" {escaped(path[:300])}. Correct the paths, or move the table"
    )


def _numbered(
    rows: Sequence[LabelledRow],
    report: ListReport,
    source: Path,
    class_names: Path | None,
    share: float,
    seed: int,
) -> LabelledVideos:
    """Divide the rows, number their classes, and complete the report."""
    division = divide(rows, source, share, seed)
    kept = {row.label for side in (division.training, division.validation) for row in side}
    classes, numbers = number_classes(kept, class_names)
    repeated: list[str] = []
    relabelled: list[str] = []
    training = _once(division.training, numbers, repeated, relabelled)
    held_out = _once(division.validation, numbers, repeated, relabelled)
    if len({example.label for example in training}) < 2:
        raise InventoryError(
            f"{source}: expected labels of at least two classes for training; got"
            f" {escaped(division.training[0].label[:80])} alone. Give videos of another class"
        )
    paths = {example.path for example in training}
    report = replace(
        report,
        classes=classes,
        training=_counts(training, len(classes)),
        validation=_counts(held_out, len(classes)),
        unnamed=class_names is None and all(map(is_number, kept)),
        absent=tuple(sorted({row.label for row in rows if row.path is None} - {row.label for row in rows if row.path})),
        missing=tuple(row.video_id for row in rows if row.path is None),
        repeated=tuple(repeated),
        relabelled=tuple(relabelled),
        in_both=tuple(example.video_id for example in held_out if example.path in paths),
        test=division.test,
        odd_splits=dict(division.odd),
    )
    return LabelledVideos(classes, training, held_out, report)


def _once(
    rows: Sequence[LabelledRow], numbers: Mapping[str, int], repeated: list[str], relabelled: list[str]
) -> tuple[Example, ...]:
    """Examples of the first row of each video; what the others are is added to the lists."""
    found: dict[str, Example] = {}
    for row in rows:
        label = numbers[row.label]
        if row.video_id not in found:
            found[row.video_id] = _example(row, label)
            continue
        repeated.append(row.video_id)
        if found[row.video_id].label != label:
            relabelled.append(row.video_id)
    return tuple(found.values())


def _example(row: LabelledRow, label: int | None) -> Example:
    assert row.path is not None
    return Example(row.video_id, row.path, row.start_seconds, row.end_seconds, row.fps, label)


def _counts(examples: Sequence[Example], classes: int) -> tuple[int, ...]:
    counts = Counter(example.label for example in examples)
    return tuple(counts[label] for label in range(classes))
