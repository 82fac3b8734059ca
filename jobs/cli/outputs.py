"""Which files a command may write: new ones and its own; with --force others, too, but none that it reads.

Our own are recognised by their content: pictures, annotations and reports by the seal inside them (schemas.seals),
predictions and scores, whose forms have no room for one, by being laid out to the byte as this program does it. Pickles
and checkpoints are never recognised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from extractor.store.disk.atomic import read_bounded
from extractor.video import list_videos
from gebd.annotations.files import MAX_FILE_BYTES, json_bytes
from gebd.metric.predictions import checked_predictions
from gebd.metric.tracks import checked_tracks, tracks_content
from jobs.cli.display import notice
from schemas.errors import MSNetError, UsageError
from schemas.seals import is_sealed

__all__ = [
    "Force",
    "OutputFile",
    "check_outputs",
    "check_writable",
    "is_predictions",
    "is_scores",
    "never",
    "sealed_as",
    "with_listed_videos",
]


Force = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there, though this command did not write it.")
]


def never(data: bytes) -> bool:
    """Recognise nothing: of a form that cannot be told from a file of others."""
    return False


@dataclass(frozen=True)
class OutputFile:
    """A file to write. is_own: whether content is what the same command wrote; option: by which it was named."""

    path: Path
    is_own: Callable[[bytes], bool] = never
    option: str = "--out"


def check_outputs(
    outputs: Sequence[OutputFile], inputs: Iterable[Path | None], *, force: bool, tell: Callable[[str], None]
) -> None:
    """Refuse outputs that would destroy something; to be called before the work.

    `inputs` are files and folders that the command reads: none of them, and nothing that lies in one, is replaced,
    except earlier outputs that lie in a folder. `tell` hears what `force` will replace.

    Raises UsageError where an output is an input or another output, or no plain file, or lies in a folder that does
    not exist; without `force` also where it is a file that the command did not write.
    """
    _require_distinct(outputs)
    read = [path for path in inputs if path is not None]
    said = [sentence for output in outputs if (sentence := _check(output, read, force))]
    for sentence in said:
        tell(sentence)


def _check(output: OutputFile, inputs: Sequence[Path], force: bool) -> str | None:
    """What is going to be replaced by force, if anything."""
    path, option = output.path, output.option
    if not path.absolute().parent.is_dir():
        raise UsageError(f"a folder was expected for {option}, there is no {path.absolute().parent}: make it first")
    if not os.path.lexists(path):
        return None
    if path.exists() and not path.is_file():
        raise UsageError(f"a file was expected for {option}, {path} is a folder or a device: give another name")
    own = _is_own(output)
    for read in inputs:
        if _same(path, read) or (not own and _lies_in(path, read)):
            raise UsageError(
                f"a file that is not read was expected for {option}, {path} is one of {read}: give another name"
                if read.is_dir()
                else f"a file that is not read was expected for {option}, {path} is {read}: give another name"
            )
    if own:
        return None
    if not force:
        raise UsageError(
            f"a new file, or one that this command wrote, was expected for {option}, {path} exists and cannot be "
            "recognised as such: give another name, or --force to replace it"
        )
    return f"--force: {path} ({_described(path)}) is going to be replaced"


def _require_distinct(outputs: Sequence[OutputFile]) -> None:
    seen: dict[Path, str] = {}
    for output in outputs:
        place = output.path.absolute().parent.resolve() / output.path.name
        if place in seen:
            raise UsageError(
                f"two files were expected for {seen[place]} and {output.option}, both are {output.path}: "
                "give one of them another name"
            )
        seen[place] = output.option


def _is_own(output: OutputFile) -> bool:
    try:
        return output.is_own(read_bounded(output.path, MAX_FILE_BYTES))
    except (OSError, MSNetError):
        return False


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file, or what it links to, lies in a folder."""
    if not folder.is_dir():
        return False
    inside = folder.resolve()
    return any(place.is_relative_to(inside) for place in (path.resolve(), path.absolute().parent.resolve()))


def _described(path: Path) -> str:
    found = path.lstat()
    changed = datetime.fromtimestamp(found.st_mtime).astimezone()
    return f"{found.st_size} bytes, of {changed:%Y-%m-%d %H:%M}"


def sealed_as(kind: str) -> Callable[[bytes], bool]:
    """Recognise files with a seal of this kind."""
    return partial(is_sealed, kind=kind)


def is_predictions(data: bytes) -> bool:
    """Whether this is JSON as `write_predictions` lays it out."""
    return _is_laid_out(data, checked_predictions)


def is_scores(data: bytes) -> bool:
    """Whether this is JSON as `write_tracks` lays it out."""
    return _is_laid_out(data, lambda content: tracks_content(checked_tracks(content, "the scores")))


def _is_laid_out(data: bytes, content_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
    try:
        found = json.loads(data)
        return isinstance(found, dict) and json_bytes(content_of(found)) == data
    except (ValueError, RecursionError, MSNetError):
        return False


def with_listed_videos(source: Path | None) -> list[Path]:
    """A folder, table or file of videos, and the files that a table names."""
    if source is None or not source.is_file():
        return [] if source is None else [source]
    try:
        return [source, *(Path(job.path) for job in list_videos(source).jobs)]
    except MSNetError:  # which is for those to tell who read it
        return [source]


check_writable = partial(check_outputs, tell=notice)
