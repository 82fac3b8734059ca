"""From staged items to a committed shard: merge, read back, publish. The commit record is the commit."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from extractor.store.commits.item_rows import shard_table
from extractor.store.commits.records import (
    CommitStatus,
    decode_record,
    encode_record,
    next_generation,
    read_record,
    retired_path,
)
from extractor.store.commits.staged_rows import DamagedItemError, damaged_items, read_staged
from extractor.store.commits.staging import Attempt, StagedItem, all_staged, set_aside
from extractor.store.commits.sweeping import remove_empty_staging, sweep_shard
from extractor.store.disk.atomic import fsync_folder, publish, remove_files, storage_errors, temporary_beside
from extractor.store.disk.probe import require_space
from extractor.store.disk.shard import ShardReader, ShardWriter
from extractor.store.tables import write_table
from schemas.errors import DamagedShardError, StorageError, StoreError
from schemas.layout import StorePaths
from schemas.records import CommitRecord, StoredFile

_SPARE_BYTES = 1024 * 1024


def commit_shard(attempt: Attempt, video_ids: Sequence[str]) -> CommitStatus:
    """Write the shard of these items, in this order, from staging, and publish it.

    Rows are copied block by block, so memory stays flat. The file is read back and compared before it gets its name.
    One of several attempts wins; the others remove their own files and nothing else. Raises StorageError if the disk
    is full; staged items stay.
    """
    if len(set(video_ids)) != len(video_ids):
        ((twice, _),) = Counter(video_ids).most_common(1)
        raise StoreError(f"expected every item of {attempt.shard} once; got {twice!r} more than once")
    try:
        return _outcome(attempt) or _commit(attempt, video_ids)
    except FileNotFoundError as error:  # the winner sweeps what this attempt was reading or writing
        _remove_own(attempt)
        if outcome := _outcome(attempt):
            return outcome
        raise StoreError(
            f"{error.filename} vanished while {attempt.shard} was committed: something else deletes files of the store"
        ) from error
    except BaseException:
        _remove_own(attempt)
        raise


def _outcome(attempt: Attempt) -> CommitStatus | None:
    """Whether the shard was won or lost already; None if the attempt can still win."""
    record = read_record(attempt.paths, attempt.shard)
    if record is not None and record.attempt == attempt.name:
        return CommitStatus.WON
    if record is not None or next_generation(attempt.paths, attempt.shard) != attempt.generation:
        return CommitStatus.LOST
    return None


def _commit(attempt: Attempt, video_ids: Sequence[str]) -> CommitStatus:
    paths, shard = attempt.paths, attempt.shard
    with storage_errors(paths.root):
        for folder in (paths.shards, paths.commits):
            folder.mkdir(parents=True, exist_ok=True)
        fsync_folder(paths.root)
    while True:
        staged = all_staged(paths, attempt.run, shard)
        if not staged.keys() >= set(video_ids):  # never staged, or swept by the winner
            return _outcome(attempt) or CommitStatus.INCOMPLETE
        items = [staged[video_id][0] for video_id in video_ids]
        try:
            record = _write_files(attempt, items)
            break
        except DamagedItemError as damaged:  # all at once: a disk that lost one block may have lost many
            good = [item for item in items if item.failure is None]
            for item in {damaged.item, *damaged_items(good, attempt.run)}:
                set_aside(item)
        except FileNotFoundError:  # the winner sweeps another attempt's log
            if all_staged(paths, attempt.run, shard) == staged:
                raise
    outcome = _outcome(attempt)
    if outcome is None:
        if publish(paths.commit(shard), encode_record(record), is_mine=lambda data: _names(data, attempt)):
            sweep_shard(paths, shard, attempt.lease_token)
            return CommitStatus.WON
        outcome = _outcome(attempt)
    _remove_own(attempt)
    return outcome or CommitStatus.LOST


def _names(data: bytes, attempt: Attempt) -> bool:
    """Whether a published record is this attempt's own (a repeated link on a network file system)."""
    try:
        return decode_record(data, attempt.shard).attempt == attempt.name
    except DamagedShardError:
        return False


def _remove_own(attempt: Attempt) -> None:
    """Remove the attempt's files, unless the published record names them."""
    with suppress(OSError, StoreError):
        record = read_record(attempt.paths, attempt.shard)
        if record is not None and record.attempt == attempt.name:
            return
        paths, shard, name = attempt.paths, attempt.shard, attempt.name
        remove_files((paths.shard_data(shard, name), paths.shard_rows(shard, name)))
        if record is not None:
            shutil.rmtree(attempt.staging, ignore_errors=True)
            remove_empty_staging(paths, shard)  # the winner may have swept before


def _write_files(attempt: Attempt, items: Sequence[StagedItem]) -> CommitRecord:
    """Write, read back and name the shard's two files; returns the record that will name them."""
    paths, shard, run = attempt.paths, attempt.shard, attempt.run
    data, fragment = paths.shard_data(shard, attempt.name), paths.shard_rows(shard, attempt.name)
    good = [item for item in items if item.failure is None]
    require_space(paths.shards, sum(item.row_bytes for item in good) + _SPARE_BYTES)
    temporary = temporary_beside(data)
    writer = ShardWriter(temporary, run.datasets, run.compression)
    try:
        columns = read_staged(good, run, writer.append)
        writer.close(
            {
                "format_version": run.config.format_version,
                "digest": run.digest,
                "shard": shard,
                "attempt": attempt.name,
                "generation": attempt.generation,
            }
        )
        _read_back(temporary, writer, attempt)
        stored = stored_file(paths, temporary, data)
        with storage_errors(paths.shards):
            temporary.replace(data)
    finally:
        writer.discard()
    table = shard_table(columns, shard, data.relative_to(paths.root).as_posix())
    write_table(fragment, table)
    if not pq.read_table(fragment).to_pandas().equals(table):
        raise StorageError(f"{fragment} reads back differently from what was written: the storage is not reliable")
    fsync_folder(paths.shards)
    rows = {"clips": len(table), "frames": _last(table, "frame_stop"), "pairs": _last(table, "pair_stop")}
    return CommitRecord(
        shard=shard,
        attempt=attempt.name,
        generation=attempt.generation,
        digest=run.digest,
        data=stored,
        fragment=stored_file(paths, fragment, fragment),
        rows=rows,
        checksums=dict(writer.checksums),
        video_ids=tuple(item.video_id for item in good),
        failures=tuple(item.failure for item in items if item.failure is not None),
    )


def _last(table: Any, column: str) -> int:
    return int(table[column].iloc[-1]) if len(table) else 0


def _read_back(path: Path, writer: ShardWriter, attempt: Attempt) -> None:
    """Compare every row on disk with what was written."""
    try:
        with ShardReader(path, attempt.run.datasets, shard=attempt.shard) as reader:
            wrong = [name for name, value in writer.checksums.items() if reader.checksum(name) != value]
    except DamagedShardError as error:
        raise StorageError(f"{path} cannot be read back: the storage is not reliable ({error})") from error
    if wrong:
        raise StorageError(
            f"{path} reads back differently from what was written ({', '.join(wrong)}): the storage is not reliable"
        )


def stored_file(paths: StorePaths, path: Path, final: Path) -> StoredFile:
    """Size and SHA-256 of `path`, under its `final` name."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return StoredFile(final.relative_to(paths.root).as_posix(), size, digest)


def retire(paths: StorePaths, shard: str) -> int:
    """Take a shard out of the store; returns the generation that replaces it.

    Its record moves to retired/; its files stay until the next generation is committed. The caller holds the store's
    lease. The record may be damaged.
    """
    generation = next_generation(paths, shard)
    try:
        record = read_record(paths, shard)
        if record is None:
            return generation
        name = record.attempt
        generation = max(generation, record.generation)
    except StoreError:
        name = "damaged"
    with storage_errors(paths.root):
        paths.retired.mkdir(parents=True, exist_ok=True)
        paths.commit(shard).rename(retired_path(paths, shard, generation, name))
        fsync_folder(paths.retired)
        fsync_folder(paths.commits)
    return generation + 1
