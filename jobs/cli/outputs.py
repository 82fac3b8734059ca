"""Which files a command may write: new ones and its own; with --force others, too, but never one that it reads.

A command recognises its own files by their content: pictures, annotations and reports by the seal inside them
(schemas.seals); predictions and scores, whose formats have no room for one, by a layout that is ours to the byte.
Pickles and checkpoints are never recognised.
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

from jobs.cli.display import notice
from schemas.errors import MSNetError, UsageError
from schemas.records import is_address
from schemas.seals import is_sealed

Force = Annotated[bool, typer.Option("--force", help="Replace an existing file even if this command did not write it.")]


@dataclass(frozen=True)
class OutputFile:
    """A file to write, named by `option`. is_own: whether the same command wrote some content; None: never known."""

    path: Path
    is_own: Callable[[bytes], bool] | None = None
    option: str = "--out"


def check_outputs(
    outputs: Sequence[OutputFile], inputs: Iterable[Path | None], *, force: bool, notify: Callable[[str], None]
) -> None:
    """Refuse outputs that would destroy something. Call it before the work.

    inputs: files and folders that the command reads. None of them is replaced, nor anything in a folder, except earlier
    outputs of the command. notify: called with what `force` will replace.

    Raises UsageError if an output is an input, another output, not a plain file, or in a folder that does not exist;
    without `force` also if it is a file that the command did not write.
    """
    _require_distinct(outputs)
    read = [path for path in inputs if path is not None]
    said = [sentence for output in outputs if (sentence := _check(output, read, force))]
    for sentence in said:
        notify(sentence)


def _check(output: OutputFile, inputs: Sequence[Path], force: bool) -> str | None:
    """A sentence on what force will replace, if anything."""
    path, option = output.path, output.option
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"expected an existing folder for {option}; there is no {path.absolute().parent}. Make it first"
        )
    if not os.path.lexists(path):
        return None
    if path.exists() and not path.is_file():
        raise UsageError(f"expected a file for {option}; {path} is a folder or a device. Give another name")
    own = _is_own(output)
    for read in inputs:
        if _same(path, read) or (not own and _lies_in(path, read)):
            raise UsageError(
                f"expected a file that is not read for {option}; {path} is {'one of ' if read.is_dir() else ''}{read}. "
                "Give another name"
            )
    if own:
        return None
    if not force:
        raise UsageError(
            f"expected a new file, or one that this command wrote, for {option}; {path} exists and cannot be "
            "recognised as such. Give another name, or --force to replace it"
        )
    found = path.lstat()
    changed = datetime.fromtimestamp(found.st_mtime).astimezone()
    return f"--force: {path} ({found.st_size} bytes, of {changed:%Y-%m-%d %H:%M}) will be replaced"


def _require_distinct(outputs: Sequence[OutputFile]) -> None:
    seen: dict[Path, str] = {}
    for output in outputs:
        place = output.path.absolute().parent.resolve() / output.path.name
        if place in seen:
            raise UsageError(
                f"expected two files for {seen[place]} and {output.option}; both are {output.path}. "
                "Give one of them another name"
            )
        seen[place] = output.option


def _is_own(output: OutputFile) -> bool:
    from extractor.store.disk.atomic import read_bounded
    from gebd.annotations.files import MAX_FILE_BYTES

    try:
        return output.is_own is not None and output.is_own(read_bounded(output.path, MAX_FILE_BYTES))
    except (OSError, MSNetError):
        return False


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file, or what it links to, is in a folder."""
    if not folder.is_dir():
        return False
    inside = folder.resolve()
    return any(place.is_relative_to(inside) for place in (path.resolve(), path.absolute().parent.resolve()))


def sealed_as(kind: str) -> Callable[[bytes], bool]:
    """A function that recognises files with a seal of this kind."""
    return partial(is_sealed, kind=kind)


def is_predictions(data: bytes) -> bool:
    """Whether this is JSON as `write_predictions` lays it out."""
    from gebd.metric.predictions import checked_predictions

    return _is_laid_out(data, checked_predictions)


def is_scores(data: bytes) -> bool:
    """Whether this is JSON as `write_tracks` lays it out."""
    from gebd.metric.tracks import checked_tracks, tracks_content

    return _is_laid_out(data, lambda content: tracks_content(checked_tracks(content, "the scores")))


def _is_laid_out(data: bytes, content_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
    from gebd.annotations.files import json_bytes

    try:
        found = json.loads(data)
        return isinstance(found, dict) and json_bytes(content_of(found)) == data
    except (ValueError, RecursionError, MSNetError):
        return False


def with_listed_videos(source: Path | str | None) -> list[Path]:
    """A folder, table or file of videos, and the files that a table names."""
    from extractor.video import list_videos

    if source is None or is_address(str(source)):
        return []
    source = Path(source)
    if not source.is_file():
        return [source]
    try:
        return [source, *(Path(job.path) for job in list_videos(source).jobs if not is_address(job.path))]
    except MSNetError:  # reported by the code that reads the table
        return [source]


check_writable = partial(check_outputs, notify=notice)
