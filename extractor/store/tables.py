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

from extractor.store.atomic import publish, read_bounded, replacing
from extractor.store.columns import columns_of, joined, typed_inventory
from extractor.store.records import committed
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
from schemas.table_columns import no_columns

__all__ = [
    "cached_manifest",
    "merge_failures",
    "merge_fragments",
    "read_fragment",
    "read_inventory",
    "read_table_columns",
    "write_inventory",
    "write_manifest_cache",
    "write_table",
]

_COMMITS_KEY = b"msnet_commits"
_GROUP_ROWS = 128 * 1024
_TRIES = 5


def write_inventory(paths: StorePaths, inventory: pd.DataFrame, *, replace: bool = False) -> pd.DataFrame:
    """Publish the inventory unless there is one, and give what the store has now.

    Its columns are those of INVENTORY_COLUMNS, and behind them those of the user's table.

    With `replace` (a rescan, under the lease of the whole store) it takes the place of the one that is there.
    """
    inventory = typed_inventory(inventory)
    if replace:
        write_table(paths.inventory, inventory)
        return inventory
    data = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(inventory, preserve_index=False), data, compression="zstd")
    publish(paths.inventory, data.getvalue().to_pybytes())
    return read_inventory(paths)


def read_inventory(paths: StorePaths) -> pd.DataFrame:
    """Every input video and the shard it was planned into; raises StoreError where that cannot be read."""
    return typed_inventory(_read_parquet(paths.inventory))


def read_table_columns(paths: StorePaths) -> pd.DataFrame:
    """Columns of the user's table by video, from the inventory; none where the store has no inventory.

    Raises StoreError where it cannot be read.
    """
    try:
        if set(pq.read_schema(paths.inventory).names) <= set(INVENTORY_COLUMNS):
            return no_columns(())  # and most of the file is not read
    except FileNotFoundError:
        return no_columns(())
    except (OSError, ValueError, pa.ArrowException):
        pass  # told below
    return columns_of(read_inventory(paths))


def write_table(path: Path, frame: pd.DataFrame, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Write a parquet file atomically, with key-value `metadata` in its footer."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_fragment(paths: StorePaths, record: CommitRecord) -> pd.DataFrame:
    """Manifest rows of one shard; raises DamagedShardError where the file is not what the record promises."""
    path = paths.root / record.fragment.path
    try:
        size = path.stat().st_size
        if size != record.fragment.bytes:  # before it is read: it may be anything
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

    An item that is in several shards (it failed, was tried again in a new one, and its old shard was made anew)
    counts in the last of them only.
    """
    frames = list(_fragments(paths, records))
    return pd.concat(frames, ignore_index=True) if frames else empty_manifest()


def _fragments(paths: StorePaths, records: Mapping[str, CommitRecord]) -> Iterator[pd.DataFrame]:
    """The manifest shard by shard."""
    homes = _last_homes(records)
    for shard, record in records.items():
        if record.video_ids:
            frame = read_fragment(paths, record)
            moved = [video_id for video_id in record.video_ids if homes[video_id] != shard]
            yield frame[~frame["video_id"].isin(moved)] if moved else frame


def _last_homes(records: Mapping[str, CommitRecord]) -> dict[str, str]:
    """Shard that counts for every item that has rows: the last one."""
    return {video_id: shard for shard, record in records.items() for video_id in record.video_ids}


def merge_failures(records: Mapping[str, CommitRecord]) -> pd.DataFrame:
    """One row for every item that failed and has rows nowhere, as its last shard tells it."""
    homes = _last_homes(records)
    rows: dict[str, dict[str, Any]] = {}
    for shard, record in records.items():
        for failure in record.failures:
            if failure.video_id not in homes:
                row = {name: getattr(failure, name) for name in FAILURE_COLUMNS if name != "shard"}
                rows[failure.video_id] = row | {"failure": failure.failure.value, "shard": shard}
    return failures_frame(rows.values())


def write_manifest_cache(paths: StorePaths) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rebuild manifest.parquet and failures.parquet from the commit records.

    Gives the manifest's column `video_id`, alone and as a categorical (a large store has millions of clips), and the
    failures. Where shards were committed meanwhile both are made again: of two parts of a store that end together,
    the one that read less may be the last to write.
    """
    records = committed(paths)
    for _ in range(_TRIES):
        metadata = {_COMMITS_KEY: _state(records)}
        clips, failures = _write_manifest(paths, records, metadata), merge_failures(records)
        write_table(paths.failures, failures, metadata)
        records = committed(paths)
        if _state(records) == metadata[_COMMITS_KEY]:
            break
    return clips, failures


def _write_manifest(
    paths: StorePaths, records: Mapping[str, CommitRecord], metadata: Mapping[bytes, bytes]
) -> pd.DataFrame:
    """Write manifest.parquet shard by shard, holding little of it at a time; gives the video of every clip."""
    columns = read_table_columns(paths)
    schema = pa.Schema.from_pandas(joined(empty_manifest(), columns), preserve_index=False)
    schema = schema.with_metadata({**schema.metadata, **metadata})
    clips: dict[str, int] = {}
    waiting: list[pa.Table] = []
    rows = 0
    with replacing(paths.manifest) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for frame in _fragments(paths, records):
            counts = frame["video_id"].value_counts(sort=False)
            clips.update(zip(counts.index.tolist(), counts.tolist(), strict=True))
            waiting.append(pa.Table.from_pandas(joined(frame, columns), schema=schema, preserve_index=False))
            rows += len(frame)
            if rows >= _GROUP_ROWS:  # a shard alone would be a tiny row group
                writer.write_table(pa.concat_tables(waiting))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    codes = np.repeat(np.arange(len(clips)), np.fromiter(clips.values(), np.int64, len(clips)))
    return pd.DataFrame({"video_id": pd.Categorical.from_codes(codes, pd.Index(list(clips), dtype="str"))})


def cached_manifest(paths: StorePaths, records: Mapping[str, CommitRecord]) -> pd.DataFrame | None:
    """manifest.parquet, without the columns of the user's table, where it was made from exactly these records and names
    their files only, else None.
    """
    try:
        with pq.ParquetFile(paths.manifest) as file:
            if (file.schema_arrow.metadata or {}).get(_COMMITS_KEY) != _state(records):
                return None
            frame = validate_manifest(file.read(list(MANIFEST_COLUMNS)).to_pandas())
    except (OSError, ValueError, StoreError, pa.ArrowException):
        return None
    named = {record.data.path for record in records.values()}
    return frame if named.issuperset(frame["file"].unique()) else None  # no other file is followed


def _state(records: Mapping[str, CommitRecord]) -> bytes:
    """Digest of which attempts the store consists of."""
    lines = [f"{shard} {record.attempt} {record.fragment.sha256}" for shard, record in sorted(records.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest().encode()


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing: the extraction never got as far as planning, run it again") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read ({error}): restore it from a copy") from error
    return frame
