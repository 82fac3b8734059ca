"""Holding one committed shard against its record, down to the last bit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor.store.records import read_record
from extractor.store.run import Run
from extractor.store.shard import ShardReader
from extractor.store.tables import read_fragment
from schemas.errors import DamagedShardError, StoreError
from schemas.layout import LEVELS, StorePaths
from schemas.records import CommitRecord, StoredFile
from schemas.wording import HOW_TO_MEND

__all__ = ["ShardDamage", "check_shard"]


@dataclass(frozen=True, slots=True)
class ShardDamage:
    """One thing that is wrong with a shard: in which file of the store, in which dataset if in one, and what."""

    shard: str
    file: str
    dataset: str | None
    message: str


def check_shard(paths: StorePaths, run: Run, shard: str, *, deep: bool) -> list[ShardDamage]:
    """Everything that is found wrong with a committed shard.

    Quick: record, sizes, manifest fragment in full, structure and row counts of the data. Deep: also the SHA-256 of
    the data and every row with its checksum. Raises StorageError where the machine, not the file, is to blame.
    """
    try:
        record = read_record(paths, shard)
    except StoreError as error:
        return [ShardDamage(shard, paths.commit(shard).relative_to(paths.root).as_posix(), None, _told(error))]
    if record is None:
        return []
    if record.digest != run.digest:
        return [ShardDamage(shard, record.data.path, None, "it was made with another configuration")]
    found = _check_fragment(paths, record)
    found += _check_file(paths, record, record.data, deep)
    found += _check_data(paths, run, record, deep)
    return _most_telling(found)


def _told(error: StoreError) -> str:
    """What is wrong, without the advice to find out by what is being done here."""
    return str(error).removesuffix(HOW_TO_MEND)


def _most_telling(found: list[ShardDamage]) -> list[ShardDamage]:
    """Without the entries that only repeat, for a whole file, what another says about a dataset of it."""
    explained = {damage.file for damage in found if damage.dataset is not None}
    kept = [damage for damage in found if damage.dataset is not None or damage.file not in explained]
    return list({(damage.file, damage.dataset): damage for damage in reversed(kept)}.values())[::-1]


def _check_file(paths: StorePaths, record: CommitRecord, stored: StoredFile, deep: bool) -> list[ShardDamage]:
    path = paths.root / stored.path
    try:
        size = path.stat().st_size
        if size != stored.bytes:
            return [
                ShardDamage(record.shard, stored.path, None, f"it has {size} bytes, the record says {stored.bytes}")
            ]
        if deep and _sha256(path) != stored.sha256:
            return [ShardDamage(record.shard, stored.path, None, "its SHA-256 is not the recorded one")]
    except FileNotFoundError:
        return [ShardDamage(record.shard, stored.path, None, "it is missing")]
    return []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_fragment(paths: StorePaths, record: CommitRecord) -> list[ShardDamage]:
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
        message = _told(error)
    return [ShardDamage(record.shard, record.fragment.path, None, message)]


def _check_data(paths: StorePaths, run: Run, record: CommitRecord, deep: bool) -> list[ShardDamage]:
    """What is wrong inside the HDF5 file, dataset by dataset."""
    found: list[ShardDamage] = []
    try:
        reader = ShardReader(paths.root / record.data.path, (), shard=record.shard)
    except FileNotFoundError:
        return [ShardDamage(record.shard, record.data.path, None, "it is missing")]
    except DamagedShardError as error:
        return [ShardDamage(record.shard, record.data.path, None, _told(error))]
    with reader:
        for spec in run.datasets:
            try:
                reader.open(spec)
                if deep and reader.checksum(spec.path) != record.checksums.get(spec.path):
                    found.append(
                        ShardDamage(record.shard, record.data.path, spec.path, "its rows are not those written")
                    )
            except DamagedShardError as error:
                found.append(ShardDamage(record.shard, record.data.path, spec.path, _told(error)))
        levels = {spec.level for spec in run.datasets}
        wrong = [level for level in LEVELS if level in levels and reader.rows[level] != record.rows.get(level)]
        if wrong and not found:
            found.append(
                ShardDamage(record.shard, record.data.path, None, f"row counts of {wrong} are not as recorded")
            )
        try:
            if reader.attributes.get("attempt") != record.attempt or reader.attributes.get("digest") != record.digest:
                found.append(ShardDamage(record.shard, record.data.path, None, "its attributes are not the record's"))
        except DamagedShardError as error:
            found.append(ShardDamage(record.shard, record.data.path, None, _told(error)))
    return found
