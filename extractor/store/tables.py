"""Parquet tables of a store: the inventory, the manifest with its fragments, the failures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from extractor.store.commits.records import committed
from extractor.store.commits.run import has_seals
from extractor.store.disk.atomic import publish, read_bounded, replacing, write_bytes
from extractor.store.disk.sealed import Kind, is_sound, keep_copy, read_whole
from extractor.store.planning import read_log
from extractor.store.table_columns import columns_of, joined, typed_inventory
from schemas.errors import DamagedShardError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import (
    FAILURE_COLUMNS,
    INVENTORY_COLUMNS,
    MANIFEST_COLUMNS,
    empty_manifest,
    failures_frame,
    typed_columns,
    validate_manifest,
)
from schemas.records import CommitRecord
from schemas.seals import sealed
from schemas.table_columns import no_columns

_COMMITS_KEY = b"msnet_commits"
_GROUP_ROWS = 128 * 1024
_TRIES = 5


def write_inventory(paths: StorePaths, inventory: pd.DataFrame, *, replace: bool = False) -> pd.DataFrame:
    """Publish the inventory unless the store has one; returns the one that the store has now.

    Its columns are INVENTORY_COLUMNS, then those of the user's table.

    With `replace` (a rescan, under the lease of the whole store) it replaces an existing one.
    """
    inventory = typed_inventory(inventory)
    data = sealed(encode_table(inventory), Kind.INVENTORY)
    if replace:
        write_bytes(paths.inventory, data)
    elif not publish(paths.inventory, data):
        return read_inventory(paths)
    keep_copy(paths, paths.inventory)
    return inventory


def read_inventory(paths: StorePaths) -> pd.DataFrame:
    """Every input video and its planned shard, from the copy if inventory.parquet is damaged or gone.

    While planning is under way, and after it was interrupted, those planned so far, without columns of the user's
    table (`unplanned_videos` counts the others). Raises StoreError if none of these can be read.
    """
    if not is_planned(paths) and (so_far := read_log(paths)) is not None:
        return so_far.rows.frame()
    return _parsed_inventory(paths, _inventory_data(paths))


def is_planned(paths: StorePaths) -> bool:
    """Whether planning is through: there is an inventory of all videos, or its copy."""
    return paths.inventory.exists() or paths.copy(paths.inventory).exists()


def unplanned_videos(paths: StorePaths) -> int:
    """How many listed videos have no shard yet; 0 once planning is through."""
    so_far = None if is_planned(paths) else read_log(paths)
    return 0 if so_far is None else so_far.left


def read_table_columns(paths: StorePaths) -> pd.DataFrame:
    """Columns of the user's table by video, from the inventory; none if the store has no inventory.

    Raises StoreError if it cannot be read.
    """
    if not is_planned(paths):
        return no_columns(())
    data = _inventory_data(paths)
    try:
        if set(pq.read_schema(pa.BufferReader(data)).names) <= set(INVENTORY_COLUMNS):
            return no_columns(())  # without unpacking most of the file
    except (OSError, ValueError, pa.ArrowException):
        pass  # reported below
    return columns_of(_parsed_inventory(paths, data))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file atomically, without a seal: the SHA-256 of a fragment is in its commit record."""
    write_bytes(path, encode_table(frame))


def encode_table(frame: pd.DataFrame, metadata: Mapping[bytes, bytes] | None = None) -> bytes:
    """A table as a Parquet file with key-value `metadata` in its footer."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})})
    data = pa.BufferOutputStream()
    pq.write_table(table, data, compression="zstd")
    return data.getvalue().to_pybytes()  # type: ignore[no-any-return]


def read_fragment(paths: StorePaths, record: CommitRecord) -> pd.DataFrame:
    """Manifest rows of one shard; raises DamagedShardError if the file is not what the record promises."""
    path = paths.root / record.fragment.path
    try:
        size = path.stat().st_size
        if size != record.fragment.bytes:  # checked before reading: the file may be anything
            raise ValueError(f"it has {size} bytes, the record says {record.fragment.bytes}")
        data = read_bounded(path, record.fragment.bytes)
        if hashlib.sha256(data).hexdigest() != record.fragment.sha256:
            raise ValueError("its SHA-256 is not the recorded one")
        frame = typed_columns(pq.read_table(pa.BufferReader(data)).to_pandas(), MANIFEST_COLUMNS, "it")
        frame = validate_manifest(frame)
        if len(frame) != record.rows["clips"]:
            raise ValueError(f"it has {len(frame)} rows, the record says {record.rows['clips']}")
        if (frame["shard"] != record.shard).any() or (frame["file"] != record.data.path).any():
            raise ValueError("it has rows of another shard or file")
        if tuple(frame["video_id"].drop_duplicates()) != record.video_ids:
            raise ValueError("its items do not agree with the commit record")
    except (OSError, ValueError, KeyError, StoreError, pa.ArrowException) as error:
        raise DamagedShardError(
            f"the manifest fragment {path} is not as written ({error}): run `msnet verify`, then `msnet resume`",
            shard=record.shard,
        ) from error
    return frame


def merge_fragments(paths: StorePaths, records: Mapping[str, CommitRecord]) -> pd.DataFrame:
    """The manifest of all committed shards, in the order of shards and of rows in them.

    An item may be in several shards: it failed, was tried again in a new one, and its old shard was extracted again.
    Only its rows in the last shard count.
    """
    frames = list(_fragments(paths, records))
    return pd.concat(frames, ignore_index=True) if frames else empty_manifest()


def _fragments(paths: StorePaths, records: Mapping[str, CommitRecord]) -> Iterator[pd.DataFrame]:
    """The manifest shard by shard."""
    homes = last_shards(records)
    for shard, record in records.items():
        if record.video_ids:
            frame = read_fragment(paths, record)
            moved = [video_id for video_id in record.video_ids if homes[video_id] != shard]
            yield frame[~frame["video_id"].isin(moved)] if moved else frame


def last_shards(records: Mapping[str, CommitRecord]) -> dict[str, str]:
    """The last shard of every item that has rows, which is the one that counts."""
    return {video_id: shard for shard, record in records.items() for video_id in record.video_ids}


def merge_failures(records: Mapping[str, CommitRecord]) -> pd.DataFrame:
    """One row for every item that failed and has no rows in any shard, from the last shard that names it."""
    homes = last_shards(records)
    rows: dict[str, dict[str, Any]] = {}
    for shard, record in records.items():
        for failure in record.failures:
            if failure.video_id not in homes:
                row = {name: getattr(failure, name) for name in FAILURE_COLUMNS if name != "shard"}
                rows[failure.video_id] = row | {"failure": failure.failure.value, "shard": shard}
    return failures_frame(rows.values())


def write_manifest_cache(paths: StorePaths) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rebuild manifest.parquet and failures.parquet from the commit records.

    Returns the manifest's column `video_id`, alone and as a categorical (a large store has millions of clips), and the
    failures. Writes both again if shards were committed meanwhile: if two parts of a store end together, the one that
    read fewer records may be the last to write.
    """
    records = committed(paths)
    for _ in range(_TRIES):
        metadata = {_COMMITS_KEY: _state(records)}
        clips, failures = _write_manifest(paths, records, metadata), merge_failures(records)
        write_bytes(paths.failures, sealed(encode_table(failures, metadata), Kind.FAILURES))
        records = committed(paths)
        if _state(records) == metadata[_COMMITS_KEY]:
            break
    return clips, failures


def _write_manifest(
    paths: StorePaths, records: Mapping[str, CommitRecord], metadata: Mapping[bytes, bytes]
) -> pd.DataFrame:
    """Write manifest.parquet shard by shard, in little memory; returns the video of every clip."""
    columns = read_table_columns(paths)
    schema = pa.Schema.from_pandas(joined(empty_manifest(), columns), preserve_index=False)
    schema = schema.with_metadata({**schema.metadata, **metadata})
    clips: dict[str, int] = {}
    waiting: list[pa.Table] = []
    rows = 0
    with replacing(paths.manifest) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for frame in _fragments(paths, records):
                counts = frame["video_id"].value_counts(sort=False)
                clips.update(zip(counts.index.tolist(), counts.tolist(), strict=True))
                waiting.append(pa.Table.from_pandas(joined(frame, columns), schema=schema, preserve_index=False))
                rows += len(frame)
                if rows >= _GROUP_ROWS:  # one shard would make a tiny row group
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, rows = [], 0
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
        temporary.write_bytes(sealed(temporary.read_bytes(), Kind.MANIFEST))
    codes = np.repeat(np.arange(len(clips)), np.fromiter(clips.values(), np.int64, len(clips)))
    return pd.DataFrame({"video_id": pd.Categorical.from_codes(codes, pd.Index(list(clips), dtype="str"))})


def cached_manifest(paths: StorePaths, records: Mapping[str, CommitRecord]) -> pd.DataFrame | None:
    """manifest.parquet without the columns of the user's table, or None.

    None if the file was made from other records, is not as it was written, or names files other than the records'.
    """
    try:
        data = read_whole(paths.manifest)
        if not is_sound(data, Kind.MANIFEST):
            return None
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            if (file.schema_arrow.metadata or {}).get(_COMMITS_KEY) != _state(records):
                return None
            frame = validate_manifest(file.read(list(MANIFEST_COLUMNS)).to_pandas())
    except (OSError, ValueError, StoreError, pa.ArrowException):
        return None
    named = {record.data.path for record in records.values()}
    return frame if named.issuperset(frame["file"].unique()) else None


def _state(records: Mapping[str, CommitRecord]) -> bytes:
    """Digest of the attempts that make up the store."""
    lines = [f"{shard} {record.attempt} {record.fragment.sha256}" for shard, record in sorted(records.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest().encode()


def _inventory_data(paths: StorePaths) -> bytes:
    """Content of inventory.parquet, or of its copy if it is damaged or gone; StoreError if neither is sound."""
    if not has_seals(paths):
        return _whole(paths.inventory)
    try:
        return _sound(paths.inventory)
    except StoreError:
        if not paths.copy(paths.inventory).exists():
            raise
        return _sound(paths.copy(paths.inventory))


def _sound(path: Path) -> bytes:
    data = _whole(path)
    if not is_sound(data, Kind.INVENTORY):
        raise StoreError(f"{path} is not as it was written, and there is no sound copy: restore it from a backup")
    return data


def _whole(path: Path) -> bytes:
    try:
        return read_whole(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: the extraction stopped before planning. Run it again") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _parsed_inventory(paths: StorePaths, data: bytes) -> pd.DataFrame:
    try:
        frame = pq.read_table(pa.BufferReader(data)).to_pandas()
    except Exception as error:  # a damaged table without a seal may raise anything
        detail = str(error).splitlines()[:1]
        raise StoreError(f"{paths.inventory} cannot be read ({detail}): restore it from a copy") from error
    return typed_inventory(frame)
