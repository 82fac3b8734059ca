"""Removing what no commit record names: files of lost and dead attempts, staging of committed shards."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extractor.store.commits.lease import Holder, other_holders
from extractor.store.commits.records import committed_names, read_record
from extractor.store.disk.atomic import is_temporary, remove_files
from schemas.errors import StoreError
from schemas.layout import StorePaths

__all__ = ["Swept", "remove_empty_staging", "sweep", "sweep_shard"]

_SHARD_FILE = re.compile(r"\.?(shard-\d{5,})\..+")


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files were removed, and the bytes they held."""

    files: int
    bytes: int


def sweep_shard(paths: StorePaths, shard: str, lease_token: str) -> Swept:
    """Remove what is left of a committed shard's other attempts and of its staging.

    Nothing is removed while the shard has no sound record, or while another process holds a lease on it.
    """
    files = [path for path in _entries(paths.shards) if _shard_of(path) == shard] + _staged(paths.staged(shard))
    return _remove(paths, shard, files, other_holders(paths, lease_token))


def sweep(paths: StorePaths, lease_token: str) -> Swept:
    """`sweep_shard` for every committed shard, and leftover temporaries of the store's own files.

    Called by the driver that holds the lease, at its start and its end.
    """
    files: dict[str, list[Path]] = {}
    for path in _entries(paths.shards):
        files.setdefault(_shard_of(path), []).append(path)
    for folder in _entries(paths.staging):
        files.setdefault(folder.name, []).extend(_staged(folder))
    temporaries = [path for folder in (paths.root, paths.commits) for path in _entries(folder) if is_temporary(path)]
    others = other_holders(paths, lease_token)
    swept = [_remove(paths, shard, files.get(shard, []), others) for shard in committed_names(paths)]
    if not others:
        for probe in (path for path in temporaries if path.is_dir()):
            shutil.rmtree(probe, ignore_errors=True)
        own = [path for path in temporaries if not path.is_dir()]
        swept.append(Swept(len(own), remove_files(own)))
    return Swept(sum(one.files for one in swept), sum(one.bytes for one in swept))


def _remove(paths: StorePaths, shard: str, files: list[Path], others: list[Holder]) -> Swept:
    """Remove those of a shard's `files` that its record does not name.

    They were listed before the other holders were asked for: what appears later belongs to someone at work.
    """
    try:
        record = read_record(paths, shard)
    except StoreError:
        return Swept(0, 0)
    if record is None or any(holder.covers(int(shard.split("-")[1])) for holder in others):
        return Swept(0, 0)
    keep = {paths.root / record.data.path, paths.root / record.fragment.path}
    doomed = [path for path in files if path not in keep]
    freed = remove_files(doomed)
    remove_empty_staging(paths, shard)
    return Swept(len(doomed), freed)


def remove_empty_staging(paths: StorePaths, shard: str) -> None:
    """Remove a shard's staging folders that are empty.

    One that was written into meanwhile stays for the next sweep; another process may be removing the same ones.
    """
    staged = paths.staged(shard)
    for folder in (*_entries(staged), staged):
        with suppress(OSError):
            folder.rmdir()


def _staged(folder: Path) -> list[Path]:
    """Files that attempts at a shard have staged."""
    return [path for attempt in _entries(folder) for path in _entries(attempt)]


def _shard_of(path: Path) -> str:
    """Shard that a file of shards/ belongs to, finished or temporary; "" for what is not ours."""
    match = _SHARD_FILE.fullmatch(path.name)
    return match[1] if match else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
