"""What fits of a data set of labelled videos, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.escaping import escaped
from schemas.wording import counted
from training.labels.sides import mirrored_labels, sided_classes

_NAMED = 5
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ListReport:
    """Counts of a data set. form: how it was recognised. rows: of its lists or table, or videos of its folder.

    training and validation: videos by class. unnamed: classes are numbers of a list, without names. absent: labels
    whose files are all missing. missing: names whose file is not there. ambiguous: names of several files, left out.
    by_name: names that were found in other folders than the list says. unlisted: videos that no list names. outside:
    videos in no folder of a class. repeated: ids that occur twice, of which the first counts; relabelled: those of them
    with another label. in_both: ids in training and in validation. test: videos of a test split beside one for
    validation, left out. odd_splits: rows by split that is none of these. skipped: other files, in words.
    """

    form: str = ""
    rows: int = 0
    classes: tuple[str, ...] = ()
    training: tuple[int, ...] = ()
    validation: tuple[int, ...] = ()
    unnamed: bool = False
    absent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()
    in_both: tuple[str, ...] = ()
    test: int = 0
    odd_splits: Mapping[str, int] = field(default_factory=dict)
    skipped: str = ""

    @property
    def fits(self) -> bool:
        """Whether every row has its file, once, on one side; videos that no list names may be others'."""
        wrong = (self.missing, self.ambiguous, self.outside, self.repeated, self.in_both, self.odd_splits)
        return not any(wrong)

    @property
    def fitting(self) -> int:
        """Number of examples."""
        return sum(self.training) + sum(self.validation)

    def lines(self) -> list[tuple[str, str]]:
        """The report as labels and sentences."""
        lines = [("recognised as", self.form), ("rows", f"{self.rows}, of which {self.fitting} fit")]
        if self.classes:
            lines.append(("classes", str(len(self.classes))))
            lines.append(("training", self._side(self.training)))
            lines.append(("validation", self._side(self.validation) if any(self.validation) else "none"))
        else:
            lines.append(("training", counted(sum(self.training), "video")))
            lines.append(("validation", counted(sum(self.validation), "video") if any(self.validation) else "none"))
        lines += self._misfits()
        return lines + self._class_lines() if self.classes else lines

    def _side(self, counts: Sequence[int]) -> str:
        """Videos and classes of a side: "40 videos of 2 classes, 10 (run) to 30 (walk) each"."""
        present = [(count, name) for count, name in zip(counts, self.classes, strict=True) if count]
        (low, fewest), (high, most) = min(present), max(present, key=lambda one: one[0])
        each = f"{low}" if low == high else f"{low} ({_short(fewest)}) to {high} ({_short(most)})"
        return f"{counted(sum(counts), 'video')} of {counted(len(present), 'class', 'classes')}, {each} each"

    def _misfits(self) -> list[tuple[str, str]]:
        lines = []
        for label, names, what in (
            ("missing", self.missing, "no such file"),
            ("ambiguous", self.ambiguous, "several files of that name; left out"),
            ("in other folders", self.by_name, "found by the name alone; check them"),
            ("not listed", self.unlisted, "videos that no list names"),
            ("in no class", self.outside, "videos outside the classes' folders; left out"),
            ("repeated", self.repeated, "the first row counts"),
            ("  with another label", self.relabelled, ""),
            ("on both sides", self.in_both, "their files are in training and in validation"),
        ):
            if names:
                lines.append((label, f"{len(names)}{', ' * bool(what)}{what}: {_named(names)}"))
        if self.test:
            lines.append(("test split", f"{counted(self.test, 'video')}, left out: there is one for validation"))
        if self.odd_splits:
            parts = _listed([f"{_short(name) or 'empty'} ({count})" for name, count in self.odd_splits.items()])
            lines.append(("other splits", f"left out, neither training nor validation: {parts}"))
        if self.skipped:
            lines.append(("other files", self.skipped))
        return lines

    def _class_lines(self) -> list[tuple[str, str]]:
        lines = []
        if self.unnamed:
            least, most = self.classes[0], self.classes[-1]
            numbers = f"none: {len(self.classes)} labels occur, {least} to {most}, and are taken in this order"
            lines.append(("names of classes", numbers))
        sides = list(zip(self.classes, self.training, self.validation, strict=True))
        for label, names in (
            ("validation only", [name for name, here, held in sides if held and not here]),
            ("training only", [name for name, here, held in sides if here and not held and any(self.validation)]),
            ("without any video", [name for name, here, held in sides if not here and not held]),
            ("all files missing", self.absent),
        ):
            if names:
                lines.append((label, f"{counted(len(names), 'class', 'classes')}: {_named(names)}"))
        sided, mirrored = sided_classes(self.classes), mirrored_labels(self.classes)
        if sided:
            fates = [
                f"a flip makes {len(mirrored)} their mirror image" * bool(mirrored),
                f"never flipped: {len(sided) - len(mirrored)}" * (len(sided) > len(mirrored)),
            ]
            names = [self.classes[number] for number in sorted(sided)]
            how = ", ".join(filter(None, fates))
            lines.append(("naming a side", f"{counted(len(sided), 'class', 'classes')} ({how}): {_named(names)}"))
        return lines


def _short(name: str) -> str:
    return escaped(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}...")


def _named(names: Sequence[str]) -> str:
    return _listed([_short(name) for name in names[: _NAMED + 1]], len(names))


def _listed(shown: Sequence[str], count: int | None = None) -> str:
    count = len(shown) if count is None else count
    text = ", ".join(shown[:_NAMED])
    return text if count <= _NAMED else f"{text} and {count - _NAMED} more"
