"""Labelled videos: from a folder or a table, perhaps with a list beside it, to examples with numbered classes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from extractor.video import list_videos
from extractor.video.listing import Listing
from schemas.errors import ConfigurationError, InventoryError
from schemas.escaping import escaped
from training.clips.list_report import ListReport
from training.clips.lists import ClassList, ListRow, read_class_list, read_class_names
from training.clips.places import FileIndex
from training.clips.records import Example

_TRAINING, _VALIDATION = "train", "val"
_SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), _TRAINING),
    **dict.fromkeys(("val", "valid", "validate", "validation", "test", "testing", "dev", "eval"), _VALIDATION),
}
_HELD_OUT = ("val", "valid", "validation")  # a folder of the test beside one of these is left out


@dataclass(frozen=True, slots=True)
class LabelledVideos:
    """Videos with classes. A label is a place in `classes`; validation is empty where there is none."""

    classes: tuple[str, ...]
    training: tuple[Example, ...]
    validation: tuple[Example, ...] = ()
    report: ListReport = field(default_factory=ListReport)


class _Found(NamedTuple):
    """An example before its class has a number. label: None without one. split: as written; None without one."""

    example: Example
    label: str | None
    split: str | None


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

    labels, validation: lists of `videos` in a form of the field (training.clips.lists). A folder may have train and val
    (or test) above its classes, and a table or list a column split. validation_share: of each class, drawn by file,
    where there is no validation otherwise. class_names: file with the names of numbered classes. needs_labels: False
    takes all videos, without labels.

    Raises InventoryError or ConfigurationError where the videos cannot be used; what is left out is in the report.
    """
    if not needs_labels:
        jobs = list_videos(videos).jobs
        examples = [_example(job.path, item.video_id, item, job.fps) for job in jobs for item in job.items]
        return LabelledVideos((), tuple(examples), report=ListReport("videos without labels", len(examples)))
    if labels is None and validation is not None:
        raise ConfigurationError(f"expected a training list beside --validation {validation}; got none. Give --labels")
    if labels is None:
        found, report = _from_listing(videos)
    else:
        found, report = _from_lists(videos, labels, validation)
    return _numbered(found, report, videos, class_names, validation_share, seed)


def _example(path: str, video_id: str, segment: object, fps: float | None) -> Example:
    start, end = getattr(segment, "start_seconds", None), getattr(segment, "end_seconds", None)
    return Example(video_id, path, start, end, fps)


def _from_listing(videos: Path) -> tuple[list[_Found], ListReport]:
    listing = list_videos(videos)
    items = [(job, item) for job in listing.jobs for item in job.items]
    examples = [_example(job.path, item.video_id, item, job.fps) for job, item in items]
    if "label" in listing.columns.names:
        return _of_table(videos, listing, examples)
    if not videos.is_dir():
        raise InventoryError(f"{videos}: expected a column label beside path; got none. Add it, or give --labels LIST")
    tops = {example.video_id.split("/")[0].lower() for example in examples}
    divided = tops <= _SPLITS.keys()
    found, outside = [], []
    for example in examples:
        parts = example.video_id.split("/")
        if len(parts) < 2 + divided:
            outside.append(example.video_id)
            continue
        split = parts[0] if divided else None
        if split is not None and split.lower() in ("test", "testing") and tops & set(_HELD_OUT):
            split = "test beside val"
        found.append(_Found(example, parts[divided], split))
    if not found:
        raise InventoryError(
            f"{videos}: expected a folder for each class, or --labels LIST; got videos that lie in none. Sort them, or"
            " give a list"
        )
    form = "a folder for each class" + (f", within {' and '.join(sorted(tops))}" if divided else "")
    return found, ListReport(form, len(examples), unlisted=tuple(outside))


def _of_table(videos: Path, listing: Listing, examples: Sequence[Example]) -> tuple[list[_Found], ListReport]:
    values, names = listing.columns.values, listing.columns.names
    label, split = names["label"], names.get("split")
    found = []
    for example in examples:
        row = values.loc[example.video_id]
        written = row[label]
        if written is None or written != written or not str(written).strip():
            raise InventoryError(
                f"{videos}: expected a label for each video; got none for {escaped(example.video_id)}. Add it, or"
                " remove the row"
            )
        part = None if split is None or row[split] != row[split] else str(row[split])
        found.append(_Found(example, str(written).strip(), part))
    missing = [one.example.video_id for one in found if not Path(one.example.path).exists()]
    gone = set(missing)
    kept = [one for one in found if one.example.video_id not in gone]
    if not kept:
        raise InventoryError(
            f"{videos}: expected paths of videos; none of {len(missing)} exists, such as"
            f" {escaped(found[0].example.path)}. Paths are relative to the table's folder"
        )
    return kept, ListReport("a table with path and label", len(found), missing=tuple(missing))


def _from_lists(videos: Path, labels: Path, validation: Path | None) -> tuple[list[_Found], ListReport]:
    if not videos.is_dir():
        raise ConfigurationError(f"expected a folder of videos beside --labels; got {videos}. Give the folder")
    index = FileIndex(videos)
    lists: list[tuple[ClassList, str | None]] = [(read_class_list(labels), None)]
    if validation is not None:
        lists = [(lists[0][0], _TRAINING), (read_class_list(validation), _VALIDATION)]
    found: list[_Found] = []
    missing: list[str] = []
    ambiguous: list[str] = []
    for listed, split in lists:
        for row in listed.rows:
            example = _look_up(index, row, ambiguous)
            if example is None:
                missing.append(row.names[0])
            else:
                found.append(_Found(example, row.label, split or row.split))
    rows = sum(len(listed.rows) for listed, _ in lists)
    if not found:
        raise InventoryError(
            f"{labels}: expected names of videos in {videos}; found none of {len(missing)}, such as"
            f" {escaped(missing[0])}. Give the folder that the list's paths start from"
        )
    used = {one.example.path for one in found}
    unlisted = tuple(name for name, path in index.files.items() if path not in used)
    form = " and ".join(dict.fromkeys(listed.form for listed, _ in lists))
    return found, ListReport(form, rows, missing=tuple(missing), unlisted=unlisted, ambiguous=tuple(ambiguous))


def _look_up(index: FileIndex, row: ListRow, ambiguous: list[str]) -> Example | None:
    for place, name in enumerate(row.names):
        files = index.find(name)
        if not files:
            continue
        if len(files) > 1:
            ambiguous.append(name)
        whole = len(row.names) > 1 and place == 0  # a file that is cut to its segment
        start, end = (None, None) if whole else (row.start_seconds, row.end_seconds)
        video_id, path, fps = files[0]
        if start is not None or end is not None:
            video_id = f"{video_id}#{'' if start is None else f'{start:g}'}-{'' if end is None else f'{end:g}'}"
        return Example(video_id, path, start, end, fps)
    return None


def _numbered(
    found: Sequence[_Found], report: ListReport, videos: Path, class_names: Path | None, share: float, seed: int
) -> LabelledVideos:
    """Divide, number the classes, and complete the report."""
    classes = _classes([one.label or "" for one in found], class_names)
    numbers = {name: number for number, name in enumerate(classes)}
    parts: dict[str, dict[str, Example]] = {_TRAINING: {}, _VALIDATION: {}}
    odd: Counter[str] = Counter()
    repeated: list[str] = []
    for one in found:
        split = _TRAINING if one.split is None else _SPLITS.get(one.split.strip().lower())
        if split is None:
            odd[one.split or ""] += 1
            continue
        label = numbers[_spoken(one.label or "", classes, class_names)]
        if one.example.video_id in parts[split]:
            repeated.append(one.example.video_id)
            continue
        parts[split][one.example.video_id] = replace(one.example, label=label)
    training, held_out = list(parts[_TRAINING].values()), list(parts[_VALIDATION].values())
    if any(one.split for one in found) and not held_out:
        got = ", ".join(map(escaped, odd)) or "train"
        raise InventoryError(
            f"{videos}: expected a split with rows for validation (val or test); got {got} alone. Add them, or leave"
            " the split out"
        )
    if share and not held_out:
        training, held_out = _drawn(training, share, seed)
    if not training:
        raise InventoryError(f"{videos}: expected videos for training; got none. Check the split")
    if len({example.label for example in training}) < 2:
        raise InventoryError(
            f"{videos}: expected labels of at least two classes; got {escaped(classes[training[0].label or 0])} alone."
            " Give videos of another class"
        )
    both = {example.path for example in training} & {example.path for example in held_out}
    report = replace(
        report,
        classes=tuple(classes),
        training=tuple(_counts(training, len(classes))),
        validation=tuple(_counts(held_out, len(classes))),
        repeated=tuple(repeated),
        in_both=tuple(sorted(example.video_id for example in held_out if example.path in both)),
        odd_splits=dict(odd),
    )
    return LabelledVideos(tuple(classes), tuple(training), tuple(held_out), report)


def _classes(labels: Sequence[str], class_names: Path | None) -> list[str]:
    """Names of the classes: those of a file, else the labels themselves, numbers by their value."""
    written = set(labels)
    if class_names is None:
        if all(label.isdigit() for label in written):
            return sorted(written, key=int)
        return sorted(written)
    names = read_class_names(class_names)
    unknown = sorted(written - set(names))
    if unknown and not all(label.isdigit() for label in unknown):
        raise InventoryError(
            f"{class_names}: expected the names of all classes; {escaped(unknown[0])} is not among them"
        )
    if unknown and max(map(int, unknown)) >= len(names):
        raise InventoryError(
            f"{class_names}: expected a name for each class, of which the largest is {max(map(int, unknown))}, from 0;"
            f" got {len(names)} names. Add the others"
        )
    return names


def _spoken(label: str, classes: Sequence[str], class_names: Path | None) -> str:
    """The name of a label, which may be its number."""
    return classes[int(label)] if class_names is not None and label.isdigit() and label not in classes else label


def _drawn(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation: of each class a share of its files, at least one if it has two; each on one side."""
    if not 0 < share < 1:
        raise ConfigurationError(f"expected a share between 0 and 1 for validation; got {share:g}. Change it")
    files: dict[int | None, dict[str, None]] = defaultdict(dict)
    owner: Mapping[str, int | None] = {example.path: example.label for example in reversed(examples)}
    for path, label in owner.items():
        files[label][path] = None
    draw, held = random.Random(seed), set[str]()
    for label in sorted(files, key=str):
        paths = sorted(files[label])
        draw.shuffle(paths)
        held.update(paths[: max(round(share * len(paths)), int(len(paths) > 1))])
    return [e for e in examples if e.path not in held], [e for e in examples if e.path in held]


def _counts(examples: Sequence[Example], classes: int) -> list[int]:
    counts = Counter(example.label for example in examples)
    return [counts[label] for label in range(classes)]
