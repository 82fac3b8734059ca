"""What fits of a data set of labelled videos, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.escaping import escaped
from schemas.wording import counted
from training.clips.sides import mirrored_labels, sided_classes

_NAMED = 5


@dataclass(frozen=True, slots=True)
class ListReport:
    """Counts of a data set. form: how it was recognised. rows: of its lists or table, or videos of its folder.

    missing: names whose file is not there. unlisted: videos that no list names. ambiguous: names of several files, of
    which the first is taken. repeated: ids that occur twice. in_both: ids in training and in validation. training and
    validation: videos by class. odd_splits: rows by split that is neither.
    """

    form: str = ""
    rows: int = 0
    classes: tuple[str, ...] = ()
    training: tuple[int, ...] = ()
    validation: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    in_both: tuple[str, ...] = ()
    odd_splits: Mapping[str, int] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether every row has its file, once."""
        return not (self.missing or self.ambiguous or self.repeated or self.in_both or self.odd_splits)

    def lines(self) -> list[tuple[str, str]]:
        """The report as labels and sentences."""
        lines = [("recognised as", f"{self.form}: {counted(self.rows, 'row')}")]
        if self.classes:
            lines.append(("classes", f"{len(self.classes)}, {_range(self.training)} training videos each"))
        lines.append(("training", counted(sum(self.training), "video")))
        lines.append(("validation", counted(sum(self.validation), "video") if self.validation else "none"))
        for label, names, what in (
            ("missing", self.missing, "no such file"),
            ("not listed", self.unlisted, "videos that no list names"),
            ("ambiguous", self.ambiguous, "several files of that name; the first one is taken"),
            ("repeated", self.repeated, "rows for a video that has one already; left out"),
            ("on both sides", self.in_both, "files in training and in validation"),
        ):
            if names:
                lines.append((label, f"{len(names)}, {what}: {_named(names)}"))
        if self.odd_splits:
            parts = ", ".join(f"{escaped(name)} ({count})" for name, count in self.odd_splits.items())
            lines.append(("other splits", f"left out: {parts}"))
        lines += self._class_lines()
        return lines

    def _class_lines(self) -> list[tuple[str, str]]:
        lines = []
        only = [name for name, t, v in zip(self.classes, self.training, self.validation, strict=False) if v and not t]
        without = [
            name for name, t, v in zip(self.classes, self.training, self.validation, strict=False) if t and not v
        ]
        if only:
            lines.append(("validation only", f"{counted(len(only), 'class', 'classes')}: {_named(only)}"))
        if without and any(self.validation):
            lines.append(("training only", f"{counted(len(without), 'class', 'classes')}: {_named(without)}"))
        sided, mirrored = sided_classes(self.classes), mirrored_labels(self.classes)
        if sided:
            swapped = f"{len(mirrored)} become their mirror image, " if mirrored else ""
            names = [self.classes[number] for number in sorted(sided)]
            lines.append(("name a side", f"{len(sided)}; when flipped, {swapped}the others are not: {_named(names)}"))
        return lines


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(escaped(name[:80]) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
