"""Parquet tables of a store, and the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from extractor.store.commits.run import has_seals
from extractor.store.disk.atomic import publish, write_bytes
from extractor.store.disk.sealed import Kind, is_sound, keep_copy, read_whole
from extractor.store.planning import read_log
from extractor.store.table_columns import columns_of, typed_inventory
from schemas.errors import StoreError
from schemas.layout import StorePaths
from schemas.manifest import (
    INVENTORY_COLUMNS,
)
from schemas.seals import sealed
from schemas.table_columns import no_columns


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
    table. Raises StoreError if none of these can be read.
    """
    return read_planned(paths)[0]


def read_planned(paths: StorePaths) -> tuple[pd.DataFrame, int]:
    """The inventory as `read_inventory` returns it, and how many listed videos have no shard yet."""
    if not is_planned(paths) and (so_far := read_log(paths)) is not None:
        return so_far.rows.frame(), so_far.left
    return _parsed_inventory(paths, _inventory_data(paths)), 0


def is_planned(paths: StorePaths) -> bool:
    """Whether planning is through: there is an inventory of all videos, or its copy."""
    return paths.inventory.exists() or paths.copy(paths.inventory).exists()


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
