"""Removing what no commit record names: files of lost and dead attempts, staging of committed shards."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extractor.store.atomic import is_temporary, remove_files
from extractor.store.lease import held_by_another
from extractor.store.records import committed_names, read_record
from schemas.errors import StoreError
from schemas.layout import StorePaths

__all__ = ["Swept", "sweep", "sweep_shard"]

_SHARD_FILE = re.compile(r"\.?(shard-\d{5,})\..+")


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files were removed, and the bytes they held."""

    files: int
    bytes: int


def sweep_shard(paths: StorePaths, shard: str, lease_token: str, listing: list[Path] | None = None) -> Swept:
    """Remove what is left of a committed shard's other attempts and of its staging.

    Nothing is removed while the shard has no sound record, or while another process holds a lease on it. The list of
    files (`listing`, of shards/) is made before either is looked at: what appears later belongs to someone at work.
    """
    others = [path for path in (_entries(paths.shards) if listing is None else listing) if _shard_of(path) == shard]
    staged = [path for folder in _entries(paths.staged(shard)) for path in _entries(folder)]
    try:
        record = read_record(paths, shard)
    except StoreError:
        return Swept(0, 0)
    if record is None or held_by_another(paths, lease_token, int(shard.split("-")[1])):
        return Swept(0, 0)
    keep = {paths.root / record.data.path, paths.root / record.fragment.path}
    doomed = [path for path in others if path not in keep] + staged
    freed = remove_files(doomed)
    with suppress(OSError):  # a folder that was written into meanwhile stays for the next sweep
        for folder in _entries(paths.staged(shard)):
            folder.rmdir()
        paths.staged(shard).rmdir()
    return Swept(len(doomed), freed)


def sweep(paths: StorePaths, lease_token: str) -> Swept:
    """`sweep_shard` for every committed shard, and leftover temporaries of the store's own files.

    Called by the driver that holds the lease, at its start and its end.
    """
    listings: dict[str, list[Path]] = {}
    for path in _entries(paths.shards):
        listings.setdefault(_shard_of(path), []).append(path)
    names = committed_names(paths)
    swept = [sweep_shard(paths, shard, lease_token, listings.get(shard, [])) for shard in names]
    if not held_by_another(paths, lease_token):
        for folder in (paths.root, paths.commits):
            old = [path for path in _entries(folder) if is_temporary(path)]
            for probe in (path for path in old if path.is_dir()):
                shutil.rmtree(probe, ignore_errors=True)
            files = [path for path in old if not path.is_dir()]
            swept.append(Swept(len(files), remove_files(files)))
    return Swept(sum(one.files for one in swept), sum(one.bytes for one in swept))


def _shard_of(path: Path) -> str:
    """Shard that a file of shards/ belongs to, finished or temporary; "" for what is not ours."""
    match = _SHARD_FILE.fullmatch(path.name)
    return match[1] if match else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
