"""Parts: files of many videos each, which are written once. What is exported later becomes further parts.

The record of a part, `parts/features-00000.json`, is written last, and a part without one does not exist. It names the
part's videos, so a call that finds it exports none of them again, whatever the store has got since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

from extractor.store.disk.atomic import entries, read_bounded, write_bytes
from extractor.store.reader import FeatureStore
from jobs.stores.exporting.names import Names, OwnIds
from schemas.errors import StoreError, UsageError

RECORDS = "parts"
_RECORD = re.compile(r"features-(\d{5,})\.json")
_MAX_RECORD_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is complete: its name, its files with their sizes, and its videos with their names in them."""

    name: str
    files: Mapping[str, int]
    videos: Mapping[str, str]


class PartFormat(Protocol):
    """How a part is written."""

    def files(self, part: str) -> Sequence[str]:
        """Paths of a part's files, relative to the export."""

    def write(self, out: Path, part: str, videos: Mapping[str, str], done: Callable[[], None]) -> None:
        """Write the files of a part, each whole or not at all. videos: names by id. Calls `done` after each."""


def part_name(number: int) -> str:
    """Name of the part with this number: 7 -> "features-00007"."""
    return f"features-{number:05d}"


def read_parts(out: Path, form: PartFormat) -> list[Part]:
    """The parts of an export, in order. Leaves out those of which a file is gone: their videos are exported again."""
    numbers = sorted(int(match[1]) for path in entries(out / RECORDS) if (match := _RECORD.fullmatch(path.name)))
    found = [_read(out / RECORDS / f"{part_name(number)}.json", part_name(number)) for number in numbers]
    return [part for part in found if _is_whole(out, part, form)]


def _read(path: Path, name: str) -> Part:
    try:
        document = json.loads(read_bounded(path, _MAX_RECORD_BYTES))
        files, videos = document["files"], document["videos"]
        if not all(type(value) is int for value in files.values()) or not all(map(_is_text, videos.values())):
            raise ValueError("expected sizes and names")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError) as error:
        raise UsageError(f"{path} is not the record of a part: export to another folder") from error
    return Part(name, files, videos)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(out: Path, part: Part, form: PartFormat) -> bool:
    if list(part.files) != list(form.files(part.name)):
        return False
    try:
        return all((out / file).stat().st_size == size for file, size in part.files.items())
    except OSError:
        return False


def write_parts(
    store: FeatureStore,
    out: Path,
    form: PartFormat,
    names: Names | OwnIds,
    tensors: Sequence[str],
    part_bytes: int,
    done: Callable[[int], None],
) -> tuple[list[Part], int]:
    """Write all videos of which no part exists; returns all parts, and the number of those there before.

    A part ends with the video that fills it. done: called with the number of videos, first of those already there.
    """
    parts = read_parts(out, form)
    before, count = len(parts), 0
    for part in parts:
        names.keep(part.videos, out / RECORDS / f"{part.name}.json")
        count += len(part.videos)
    done(count)
    next_number = _next_number(out)
    new = [video_id for video_id in store.video_ids if video_id not in names]
    for number, video_ids in enumerate(_filled(store, new, tensors, part_bytes), start=next_number):
        name, videos = part_name(number), {video_id: names[video_id] for video_id in video_ids}
        form.write(out, name, videos, lambda: done(1))
        part = Part(name, {file: (out / file).stat().st_size for file in form.files(name)}, videos)
        (out / RECORDS).mkdir(exist_ok=True)
        record = {"files": part.files, "videos": part.videos}
        write_bytes(out / RECORDS / f"{name}.json", json.dumps(record, indent=1).encode() + b"\n")
        parts.append(part)
    return parts, before


def _next_number(out: Path) -> int:
    taken = [int(match[1]) for path in entries(out / RECORDS) if (match := _RECORD.fullmatch(path.name))]
    return max(taken, default=-1) + 1


def _filled(
    store: FeatureStore, video_ids: Sequence[str], tensors: Sequence[str], part_bytes: int
) -> Iterator[list[str]]:
    """Split videos, in their order, where `part_bytes` are reached."""
    row_bytes = {name: store.dtype(name).itemsize * prod(store.row_shape(name)) for name in tensors}
    group: list[str] = []
    size = 0
    for video_id in video_ids:
        clips = store.video_clips(video_id)
        size += sum(store.shape(name, clips)[0] * each for name, each in row_bytes.items())
        group.append(video_id)
        if size >= part_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group
