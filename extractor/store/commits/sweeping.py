"""Removing what no commit record names: files of lost and dead attempts, staging of committed shards."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from extractor.store.commits.lease import Holder, other_holders
from extractor.store.commits.records import committed_names, read_record
from extractor.store.disk.atomic import entries, is_temporary, remove_files
from schemas.errors import StoreError
from schemas.layout import StorePaths

_SHARD_FILE = re.compile(r"\.?(shard-\d{5,})\..+")


def sweep_shard(paths: StorePaths, shard: str, lease_token: str) -> None:
    """Remove what other attempts at a committed shard left, and its staging.

    Removes nothing if the shard has no sound record, or if another process holds a lease on it.
    """
    files = [path for path in entries(paths.shards) if _shard_of(path) == shard] + _staged(paths.staged(shard))
    _remove(paths, shard, files, other_holders(paths, lease_token))


def sweep(paths: StorePaths, lease_token: str) -> None:
    """Sweep every committed shard, and remove leftover temporaries of the store's own files.

    The driver that holds the lease calls this at its start and its end.
    """
    files: dict[str, list[Path]] = {}
    for path in entries(paths.shards):
        files.setdefault(_shard_of(path), []).append(path)
    for folder in entries(paths.staging):
        files.setdefault(folder.name, []).extend(_staged(folder))
    temporaries = [path for folder in (paths.root, paths.commits) for path in entries(folder) if is_temporary(path)]
    others = other_holders(paths, lease_token)
    staged = {folder.name for folder in entries(paths.staging)}
    for shard in committed_names(paths):
        if shard in staged or not _is_one_attempt(files.get(shard, [])):
            _remove(paths, shard, files.get(shard, []), others)
    if not others:
        for probe in (path for path in temporaries if path.is_dir()):
            shutil.rmtree(probe, ignore_errors=True)
        remove_files(path for path in temporaries if not path.is_dir())


def _remove(paths: StorePaths, shard: str, files: list[Path], others: list[Holder]) -> None:
    """Remove those of a shard's `files` that its record does not name.

    The caller lists `files` before `others`: a file that appears later belongs to a living process.
    """
    try:
        record = read_record(paths, shard)
    except StoreError:
        return
    if record is None or any(holder.covers(int(shard.split("-")[1])) for holder in others):
        return
    keep = {paths.root / record.data.path, paths.root / record.fragment.path}
    remove_files(path for path in files if path not in keep)
    remove_empty_staging(paths, shard)


def remove_empty_staging(paths: StorePaths, shard: str) -> None:
    """Remove a shard's staging folders that are empty.

    A folder that got a file meanwhile stays for the next sweep. Another process may be removing the same ones.
    """
    staged = paths.staged(shard)
    for folder in (*entries(staged), staged):
        with suppress(OSError):
            folder.rmdir()


def _is_one_attempt(files: list[Path]) -> bool:
    """Whether files are those of one finished attempt, of which none is to be removed: nearly always so."""
    return len({path.stem for path in files}) <= 1 and not any(is_temporary(path) for path in files)


def _staged(folder: Path) -> list[Path]:
    """Files that attempts at a shard have staged."""
    return [path for attempt in entries(folder) for path in entries(attempt)]


def _shard_of(path: Path) -> str:
    """The shard that a file of shards/ belongs to, finished or temporary; "" for a file that is not ours."""
    match = _SHARD_FILE.fullmatch(path.name)
    return match[1] if match else ""
