"""Checks a store to the last bit: shards against their commit records, all other files by their seals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from extractor.store.commits.records import decode_record, read_record
from extractor.store.commits.run import Run, has_seals
from extractor.store.commits.snapshot import Commits, is_among
from extractor.store.commits.staged_rows import damages
from extractor.store.commits.staging import RECORDS
from extractor.store.disk.atomic import is_temporary
from extractor.store.disk.sealed import Kind, is_sound, is_sound_table, read_whole, require_plain_file, with_copies
from extractor.store.disk.shard import ShardReader
from extractor.store.index.blocks import is_sound_index
from extractor.store.manifest import read_fragment
from extractor.store.planning import damaged_lines
from schemas.errors import DamagedShardError, StoreError
from schemas.layout import StorePaths
from schemas.records import CommitRecord, StoredFile
from schemas.tensors import LEVELS
from schemas.wording import HOW_TO_MEND, counted


@dataclass(frozen=True, slots=True)
class Damage:
    """One fault: shard ("" for a file of the store itself), file, dataset if it lies in one, and a message."""

    shard: str
    file: str
    dataset: str | None
    message: str


def check_shard(paths: StorePaths, run: Run, shard: str, *, deep: bool) -> list[Damage]:
    """Everything wrong with a committed shard.

    Quick: record, sizes, manifest fragment in full, structure and row counts of the data. Deep: also the SHA-256 of
    the data and every row with its checksum. Raises StorageError if the machine is to blame, not the file.
    """
    try:
        record = read_record(paths, shard)
    except StoreError as error:
        return [Damage(shard, paths.commit(shard).relative_to(paths.root).as_posix(), None, _message(error))]
    if record is None:
        return []
    if record.digest != run.digest:
        return [Damage(shard, record.data.path, None, "it was made with another configuration")]
    found = _check_fragment(paths, record)
    found += _check_file(paths, record, record.data, deep)
    found += _check_data(paths, run, record, deep)
    return _most_telling(found)


def _message(error: StoreError) -> str:
    """The message of an error without its advice to verify the store, which is what happens here."""
    return str(error).removesuffix(HOW_TO_MEND)


def _most_telling(found: list[Damage]) -> list[Damage]:
    """Drop entries for a whole file that only repeat what another says about one of its datasets."""
    explained = {damage.file for damage in found if damage.dataset is not None}
    kept = [damage for damage in found if damage.dataset is not None or damage.file not in explained]
    return list({(damage.file, damage.dataset): damage for damage in reversed(kept)}.values())[::-1]


def _check_file(paths: StorePaths, record: CommitRecord, stored: StoredFile, deep: bool) -> list[Damage]:
    path = paths.root / stored.path
    try:
        size = path.stat().st_size
        if size != stored.bytes:
            return [Damage(record.shard, stored.path, None, f"it has {size} bytes, the record says {stored.bytes}")]
        if deep:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != stored.sha256:
                return [Damage(record.shard, stored.path, None, "its SHA-256 is not the recorded one")]
    except FileNotFoundError:
        return [Damage(record.shard, stored.path, None, "it is missing")]
    return []


def _check_fragment(paths: StorePaths, record: CommitRecord) -> list[Damage]:
    try:
        table = read_fragment(paths, record)
        counts = {
            "clips": len(table),
            "frames": int(table["frame_stop"].max()) if len(table) else 0,
            "pairs": int(table["pair_stop"].max()) if len(table) else 0,
        }
        if counts == record.rows and np.array_equal(table["clip_row"], np.arange(len(table))):
            return []
        message = "its rows do not agree with the commit record"
    except DamagedShardError as error:
        message = _message(error)
    return [Damage(record.shard, record.fragment.path, None, message)]


def _check_data(paths: StorePaths, run: Run, record: CommitRecord, deep: bool) -> list[Damage]:
    """What is wrong inside the HDF5 file, dataset by dataset."""
    found: list[Damage] = []
    try:
        reader = ShardReader(paths.root / record.data.path, (), shard=record.shard)
    except FileNotFoundError:
        return [Damage(record.shard, record.data.path, None, "it is missing")]
    except DamagedShardError as error:
        return [Damage(record.shard, record.data.path, None, _message(error))]
    with reader:
        for spec in run.datasets:
            try:
                reader.open(spec)
                if deep and reader.checksum(spec.path) != record.checksums.get(spec.path):
                    found.append(Damage(record.shard, record.data.path, spec.path, "its rows are not those written"))
            except DamagedShardError as error:
                found.append(Damage(record.shard, record.data.path, spec.path, _message(error)))
        levels = {spec.level for spec in run.datasets}
        wrong = [level for level in LEVELS if level in levels and reader.rows[level] != record.rows.get(level)]
        if wrong and not found:
            found.append(Damage(record.shard, record.data.path, None, f"row counts of {wrong} are not as recorded"))
        try:
            if reader.attributes.get("attempt") != record.attempt or reader.attributes.get("digest") != record.digest:
                found.append(Damage(record.shard, record.data.path, None, "its attributes are not the record's"))
        except DamagedShardError as error:
            found.append(Damage(record.shard, record.data.path, None, _message(error)))
    return found


def check_store_files(paths: StorePaths, run: Run, *, deep: bool) -> list[Damage]:
    """Everything wrong with files that belong to no committed shard.

    Quick: seals of the store's own tables and documents, and of what an unfinished run left. Deep: also every staged
    row. A missing file is damage only if its copy exists.
    """
    found = []
    for path, kind in _sealed_files(paths) if has_seals(paths) else ():
        try:
            if not _is_sound(path, kind):
                found.append((path, "it is not as it was written"))
        except FileNotFoundError:
            if paths.copy(path).exists():
                found.append((path, "it is missing"))
        except StoreError as error:
            found.append((path, str(error)))
    found += [(paths.planning, message) for message in damaged_lines(paths)]
    for path in _files(paths.retired, "*.json"):
        shard, _, attempt = path.stem.split(".", 2)
        if attempt != "damaged" and not _is_record(path, shard):
            found.append((path, "it is not as it was written"))
    for log in _files(paths.staging, f"*/*/*{RECORDS}"):
        found += damages(log, run, deep=deep)
    return [Damage("", path.relative_to(paths.root).as_posix(), None, message) for path, message in found]


def _is_sound(path: Path, kind: Kind) -> bool:
    """Whether a sealed file is as it was written; raises FileNotFoundError and StoreError."""
    require_plain_file(path)
    if kind is Kind.INDEX:
        return is_sound_index(path)
    if kind is not Kind.MANIFEST:
        return is_sound(read_whole(path), kind)
    with path.open("rb") as file:
        return is_sound_table(file, kind)


def _sealed_files(paths: StorePaths) -> Iterator[tuple[Path, Kind]]:
    """Every file that carries a seal, whether it exists or not, with its kind."""
    for path, kind in with_copies(paths):
        yield from ((path, kind), (paths.copy(path), kind))
    yield from ((paths.manifest, Kind.MANIFEST), (paths.failures, Kind.FAILURES))
    yield from ((paths.index, Kind.INDEX), (paths.commits_cache, Kind.COMMITS))
    yield from ((path, Kind.CRASHES) for path in _files(paths.ledger, "*.json"))
    yield from ((path, Kind.LEASE) for path in _files(paths.leases, "*.json"))


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if not is_temporary(path)]


def _is_record(path: Path, shard: str) -> bool:
    try:
        decode_record(path.read_bytes(), shard)
    except (OSError, StoreError):
        return False
    return True


def check_inventory(paths: StorePaths, inventory: pd.DataFrame, commits: Commits) -> list[Damage]:
    """Compare the inventory with the items that shards name, both ways."""
    file = paths.inventory.relative_to(paths.root).as_posix()
    found = []
    named = _named(commits)
    if unknown := named[~is_among(named, inventory["video_id"])].nunique():
        found.append(f"it lacks {counted(unknown, 'video')} that shards have")
    if forgot := forgotten(inventory, commits):
        found.append(f"it plans {counted(len(forgot), 'video')} into shards whose records do not name them")
    return [Damage("", file, None, message) for message in found]


def forgotten(inventory: pd.DataFrame, commits: Commits) -> set[str]:
    """Videos planned only into committed shards that do not name them: no run would extract them."""
    settled, ids = is_among(inventory["shard"], list(commits)), inventory["video_id"]
    lost = ids[settled & ~is_among(ids, _named(commits))]
    return set(lost[~is_among(lost, ids[~settled])]) if len(lost) else set()


def _named(commits: Commits) -> pd.Series[Any]:
    """Videos that commit records name, with features or as failed."""
    named = [table["video_id"].to_pandas() for table in (commits.done, commits.failed)]
    return pd.Series(pd.concat(named, ignore_index=True), dtype="str")
