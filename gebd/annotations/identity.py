"""Match annotations with the items of a store. Nothing is guessed: ambiguous matches are reported."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gebd.annotations.files import read_content
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.annotations.values import mapping, number, sequence, shown
from schemas.errors import UsageError

_Key = TypeVar("_Key")
_SEGMENT = re.compile(r"#[0-9.e+-]*-[0-9.e+-]*$")
_SUFFIX = re.compile(r"\.(?=[^.]*[A-Za-z])[A-Za-z0-9]{1,5}$")  # .mp4 and .3gp, but not the .931 of an instance's name
_KINETICS = re.compile(r"([A-Za-z0-9_-]{11})_\d{6}_\d{6}")
_INSTANCE = re.compile(r"s\d+_(\d+)_(\d+)_(\d+)_(\d+)$")
_YOUTUBE = re.compile(r"[A-Za-z0-9_-]{11}")
_PATTERNS, _LOOKED_AT = 5, 200  # how many are tried, and how many names are searched for one
_SLACK_SECONDS = 0.25  # a stretch may exceed its item by this much at either end


class JoinRule(StrEnum):
    """How an annotation matched its item. Rules are tried in this order; the first that matches any item decides."""

    ID = "video id"
    PATH = "path"  # one of the two paths, the annotation's or the item's, ends with the other
    STEM = "file stem"
    KINETICS = "Kinetics id"  # the 11 characters before _000000_000010
    STRETCH = "stretch"  # a stretch of a longer file, located by its start
    PATTERN = "pattern"  # the user's; then no other rule applies


@dataclass(frozen=True)
class Ambiguity:
    """Annotations and items that match in more than one way, so none of them is joined."""

    annotations: tuple[str, ...]
    items: tuple[str, ...]

    def __str__(self) -> str:
        return f"{listed(self.annotations)} fits {listed(self.items)}"


@dataclass(frozen=True)
class Spans:
    """Start and end of items, (n,) seconds from the first frame of their files."""

    start_seconds: npt.NDArray[np.float64]
    end_seconds: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Join:
    """Matches by annotation id: `items` holds the item, `rules` the rule that matched it.

    `starts_seconds` holds, for annotations joined as a stretch, their start in the file. `missing` are annotations
    without an item, `unused` items without an annotation, `ambiguous` matches that are not unique. `pattern` is the
    user's pattern, if any.
    """

    items: Mapping[str, str]
    rules: Mapping[str, JoinRule]
    starts_seconds: Mapping[str, float]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    ambiguous: tuple[Ambiguity, ...]
    pattern: str | None = None


def join_videos(
    item_ids: Sequence[str],
    annotations: Annotations,
    *,
    pattern: str | None = None,
    starts_seconds: Mapping[str, float] = MappingProxyType({}),
    spans: Spans | None = None,
) -> Join:
    """Join the items of a store (their `video_id`s) with annotations, by the rules of `JoinRule`.

    pattern: a regular expression searched in every item's id; its group (the one named `id`, else the first, else the
    whole match) is the id of the annotation. starts_seconds: by annotation id, the start of an annotated stretch in a
    longer file, in seconds from the file's first frame. The stretch is joined with the item of that file that contains
    all of it, according to `spans`, or else as if no start were known.

    Raises UsageError if the pattern is not a regular expression.
    """
    keys = _Keys(item_ids, pattern)
    found: dict[str, tuple[JoinRule, list[int]]] = {}
    starts: dict[str, float] = {}
    for annotation_id, annotation in annotations.items():
        candidates = _stretch(keys, annotation, starts_seconds.get(annotation_id), spans)
        if candidates:
            starts[annotation_id] = starts_seconds[annotation_id]
            found[annotation_id] = (JoinRule.STRETCH, candidates)
        else:
            found[annotation_id] = next(
                ((rule, items) for rule, items in keys.candidates(annotation) if items), (JoinRule.ID, [])
            )
    ambiguous, contested = _ambiguities(found, item_ids)
    joined = {name: items[0] for name, (_, items) in found.items() if len(items) == 1 and name not in contested}
    used = set(joined.values())
    return Join(
        items={name: item_ids[k] for name, k in joined.items()},
        rules={name: found[name][0] for name in joined},
        starts_seconds={name: starts[name] for name in joined if name in starts},
        missing=tuple(name for name, (_, items) in found.items() if not items),
        unused=tuple(item for k, item in enumerate(item_ids) if k not in used),
        ambiguous=tuple(ambiguous),
        pattern=pattern,
    )


def _ambiguities(
    found: Mapping[str, tuple[JoinRule, list[int]]], item_ids: Sequence[str]
) -> tuple[list[Ambiguity], set[str]]:
    """Return ambiguous matches, and the annotations left unjoined because others match the same item."""
    ambiguous = [
        Ambiguity((name,), tuple(item_ids[k] for k in items)) for name, (_, items) in found.items() if len(items) > 1
    ]
    claims: dict[int, list[str]] = defaultdict(list)
    for name, (rule, items) in found.items():
        if len(items) == 1 and rule is not JoinRule.STRETCH:  # stretches share an item
            claims[items[0]].append(name)
    contested: set[str] = set()
    for item, names in claims.items():
        if len(names) > 1:
            contested.update(name for name in names if found[name][0] is not JoinRule.ID)
            ambiguous.append(Ambiguity(tuple(names), (item_ids[item],)))
    return ambiguous, contested


def pattern_advice(join: Join, annotations: Annotations) -> str:
    """Return a worked example of a pattern, in a sentence: if one is found, a pattern that joins more of these videos.

    An id that stands in an item's id tells what surrounds it; the pattern is tried before it is recommended.
    """
    item_ids = [*join.items.values(), *join.unused]
    tried = dict(islice(_patterns(join), _PATTERNS))
    joined = {pattern: len(join_videos(item_ids, annotations, pattern=pattern).items) for pattern in tried}
    best = max(joined, key=lambda pattern: joined[pattern], default="")
    if not best or joined[best] <= len(join.items):
        return r"for example, --pattern 'clip_(\d+)' finds 17 in x/clip_17.mp4"
    name, item = tried[best]
    return (
        f"--pattern '{shown(best)}' finds {shown(name)} in {shown(item)} and joins {joined[best]} of {len(annotations)}"
    )


def _patterns(join: Join) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield patterns, each with the annotation and the item that suggest it."""
    for name in join.missing[:_LOOKED_AT]:
        for item in join.unused[:_LOOKED_AT]:
            before, there, after = item.rpartition(name)
            around = re.search(r"(?:^|/|\d)([^/\d]*?)(0*)$", before) if there else None
            if around is None:
                continue
            shape = "[A-Za-z0-9_-]{11}" if _YOUTUBE.fullmatch(name) else "[^/]+?"
            if name.isdecimal():
                shape = r"[1-9]\d*" if around[2] else r"\d+"
            left = _quoted(around[1]) or "(?:^|/)"
            yield f"{left}{'0*' * bool(around[2])}({shape}){_quoted(after[:1]) or '$'}", (name, item)


def _quoted(text: str) -> str:
    return re.escape(text).replace(r"\-", "-")


def tapos_starts(path: str | os.PathLike[str]) -> dict[str, float]:
    """Return the start of each instance of a TAPOS file in its video, in seconds by annotation id.

    An instance lies in a shot: the times in its name (s00004_0_100_7_931: from 0.100 s to 7.931 s) count from the start
    of the shot, which `raw` states as `shot_timestamps`. Instances without shot_timestamps are omitted.

    Raises UsageError if the file cannot be read.
    """
    starts = {}
    for annotation_id, entry in mapping(read_content(path), str(path)).items():
        what = f"{path}: {shown(annotation_id)}"
        fields = mapping(entry, what)
        shot = mapping(fields.get("raw", {}), what).get("shot_timestamps")
        name = _INSTANCE.search(str(fields.get("path", annotation_id)))
        if shot is not None and name is not None:
            begin = number(sequence(shot, what)[0], f"{what}: shot_timestamps")
            starts[annotation_id] = begin + float(f"{name[1]}.{name[2]}")
    return starts


class _Keys:
    """Items of a store, indexed by the names that annotations may use for them."""

    def __init__(self, item_ids: Sequence[str], pattern: str | None) -> None:
        self.by_id = {item: k for k, item in enumerate(item_ids)}
        self.paths = [_parts(_SEGMENT.sub("", item)) for item in item_ids]
        self.pattern = None if pattern is None else _grouped(map(_matcher(pattern), item_ids))
        self.by_stem = _grouped(parts[-1] for parts in self.paths)
        self.by_tail = _grouped(parts[-2:] for parts in self.paths)  # many folders can hold files of the same name
        matches = (_KINETICS.fullmatch(parts[-1]) for parts in self.paths)
        self.by_kinetics = _grouped(None if match is None else str(match[1]) for match in matches)

    def candidates(self, annotation: VideoAnnotation) -> Iterator[tuple[JoinRule, list[int]]]:
        """Yield the items that match an annotation, rule by rule."""
        name = annotation.video_id
        if self.pattern is not None:
            yield JoinRule.PATTERN, self.pattern.get(name, [])
            return
        yield JoinRule.ID, [self.by_id[name]] if name in self.by_id else []
        for path in (annotation.source_path, name if "/" in name else None):
            yield JoinRule.PATH, self.by_path(_parts(path)) if path else []
        yield JoinRule.STEM, self.by_stem.get(name, [])
        yield JoinRule.KINETICS, self.by_kinetics.get(name, [])

    def by_path(self, parts: tuple[str, ...]) -> list[int]:
        """Return items whose path ends with this one, or whose path this one ends with."""
        if len(parts) < 2:
            return self.by_stem.get(parts[-1], []) if parts else []
        candidates = self.by_tail.get(parts[-2:], []) + self.by_tail.get(parts[-1:], [])
        return [k for k in candidates if parts[-len(self.paths[k]) :] == self.paths[k][-len(parts) :]]


def _stretch(keys: _Keys, annotation: VideoAnnotation, start: float | None, spans: Spans | None) -> list[int]:
    """Return the items that contain a whole annotated stretch, by the file that it belongs to."""
    if start is None or spans is None or annotation.video_id in keys.by_id:
        return []
    named = [items for _, items in keys.candidates(annotation)]
    if keys.pattern is None and annotation.source_path:
        parents = _parts(str(PurePosixPath(annotation.source_path.replace("\\", "/")).parent))
        named.append(keys.by_path(parents))  # the folder of a TAPOS instance has the name of its video
    end = start + annotation.duration_seconds
    for items in named:
        holding = [
            k
            for k in items
            if spans.start_seconds[k] <= start + _SLACK_SECONDS and end <= spans.end_seconds[k] + _SLACK_SECONDS
        ]
        if holding:
            return holding
    return []


def _parts(path: str) -> tuple[str, ...]:
    """Split a path into components, without the file suffix."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return (*parts[:-1], _SUFFIX.sub("", parts[-1])) if parts else ()


def _grouped(names: Iterable[_Key | None]) -> dict[_Key, list[int]]:
    found: dict[_Key, list[int]] = defaultdict(list)
    for k, name in enumerate(names):
        if name is not None:
            found[name].append(k)
    return dict(found)


def _matcher(pattern: str) -> Callable[[str], str | None]:
    """Return a function that applies a user's pattern to an item's id."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"pattern (--pattern): expected a regular expression; got {pattern!r:.80} ({error}). Correct it"
        ) from None
    group: str | int = "id" if "id" in compiled.groupindex else min(1, compiled.groups)

    def find(item: str) -> str | None:
        found = compiled.search(item)
        return None if found is None else found[group]

    return find


def listed(names: Sequence[str], limit: int = 3, joint: str = ", ") -> str:
    """Join the first few names for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return joint.join(shown(name) for name in names[:limit]) + more
