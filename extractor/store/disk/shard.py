"""One HDF5 file of rows, written by appending and read by row ranges."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from extractor.store.disk.atomic import storage_errors
from extractor.store.disk.chunks import ChunkGuard, require_plain
from extractor.store.disk.hdf5 import HDF5Sink, filter_options, open_for_reading, shard_errors
from extractor.store.disk.rows import Array, RowLevels
from schemas.errors import StoreError
from schemas.layout import MAX_CHUNK_BYTES, DatasetSpec
from schemas.tensors import LEVELS

_LIBVER = ("v110", "v110")  # readable by HDF5 1.10, and all metadata carries checksums
_BLOCK_BYTES = 8 * 1024 * 1024
_MIN_CACHE_BYTES = 1024 * 1024


class ShardWriter:
    """Writes a new HDF5 file at `path` (a temporary name, which the caller renames), in a few megabytes of memory.

    All datasets of a level grow together: `append` takes blocks of rows for whole levels, in the datasets' dtypes. One
    call of HDF5 costs as much as many rows, so blocks should be large.
    """

    def __init__(self, path: Path, datasets: Sequence[DatasetSpec], compression: str = "none") -> None:
        self.path = path
        self.rows = dict.fromkeys(LEVELS, 0)
        self.checksums = {spec.path: 0 for spec in datasets}
        self._levels = RowLevels(datasets)
        options = filter_options(compression)
        largest = max((spec.chunk_rows * spec.row_bytes for spec in datasets), default=0)
        with storage_errors(path.parent):
            self._sink = HDF5Sink(path)
        self._file = h5py.File(
            self._sink, "w", libver=_LIBVER, rdcc_nbytes=max(_MIN_CACHE_BYTES, 2 * largest), track_times=False
        )
        self._datasets = {
            spec.path: self._file.create_dataset(
                spec.path,
                shape=(0, *spec.shape),
                maxshape=(None, *spec.shape),
                chunks=(spec.chunk_rows, *spec.shape),
                dtype=spec.dtype,
                track_times=False,
                **options,
            )
            for spec in datasets
        }

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Append rows, C-contiguous arrays by dataset path (rows, *shape), of whole levels.

        Raises StoreError for rows that do not fit, StorageError if the disk is full.
        """
        counts = self._levels.counts(arrays)
        for level in counts:
            for spec in self._levels.specs[level]:
                rows = arrays[spec.path]
                if (rows.dtype, rows.shape[1:]) != (np.dtype(spec.dtype), spec.shape):
                    raise StoreError(
                        f"expected {spec.dtype} rows of shape {spec.shape} for {spec.path}; "
                        f"got {rows.dtype} {rows.shape[1:]}"
                    )
        for level, count in counts.items():
            if not count:
                continue
            start, self.rows[level] = self.rows[level], self.rows[level] + count
            for spec in self._levels.specs[level]:
                rows, dataset = arrays[spec.path], self._datasets[spec.path]
                dataset.resize(start + count, axis=0)
                dataset[start:] = rows
                self.checksums[spec.path] = zlib.crc32(rows.data.cast("B"), self.checksums[spec.path])
        with storage_errors(self.path.parent):
            self._sink.check()

    def close(self, attributes: Mapping[str, str | int]) -> None:
        """Finish the file with root attributes, and make it durable.

        Raises StorageError if the disk did not take all of it. Then the file is useless, and `discard` removes it.
        """
        for name, value in attributes.items():
            self._file.attrs[name] = value
        self._file.close()
        with storage_errors(self.path.parent):
            self._sink.finish()

    def discard(self) -> None:
        """Close and remove the file. Harmless after the caller has renamed it."""
        if self._file:
            self._file.close()
        self._sink.close()
        with suppress(OSError):
            self.path.unlink()


class ShardReader:
    """Reads rows of a shard and verifies their checksums; holds no more in memory than the requested rows.

    `datasets` lists what must be there. Shapes, dtypes and row counts are checked against it on opening, so that a
    damaged or hostile file is refused before anything is allocated for it. Raises FileNotFoundError for a missing
    file, DamagedShardError (with the dataset, if one is to blame) for a file that is not as written.
    """

    def __init__(
        self, path: Path, datasets: Sequence[DatasetSpec], *, shard: str = "", cache_bytes: int = _MIN_CACHE_BYTES
    ) -> None:
        self.path = path
        self.shard = shard or path.stem
        self.rows = dict.fromkeys(LEVELS, 0)
        self._datasets: dict[str, Any] = {}
        self._guards: dict[str, ChunkGuard] = {}
        path.stat()  # FileNotFoundError as such; h5py's own differs from version to version
        with shard_errors(path, self.shard):
            self._file = open_for_reading(path, cache_bytes)
        try:
            for spec in datasets:
                self.open(spec)
        except BaseException:
            self.close()
            raise

    def open(self, spec: DatasetSpec) -> None:
        """Check one more dataset against `spec`, and open it."""
        with shard_errors(self.path, self.shard, spec.path):
            for name in (spec.level, spec.path):
                if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name} is missing")
            dataset = self._file[spec.path]
            require_plain(dataset, spec.path, max(spec.row_bytes, MAX_CHUNK_BYTES))
            if dataset.shape[1:] != spec.shape or dataset.dtype != np.dtype(spec.dtype):
                raise ValueError(f"expected {spec.dtype} {spec.shape} rows; got {dataset.dtype} {dataset.shape[1:]}")
            rows = dataset.shape[0]
            level = [path for path in self._datasets if path.startswith(f"{spec.level}/")]
            if level and rows != self.rows[spec.level]:
                raise ValueError(f"{rows} rows where its level has {self.rows[spec.level]}")
        self.rows[spec.level] = rows
        self._datasets[spec.path] = dataset
        self._guards[spec.path] = ChunkGuard(dataset)

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the root group."""
        with shard_errors(self.path, self.shard):
            return dict(self._file.attrs)

    def read(self, path: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of a dataset, (stop - start, *shape)."""
        with shard_errors(self.path, self.shard, path):
            dataset = self._datasets[path]
            if not 0 <= start <= stop <= dataset.shape[0]:
                raise ValueError(f"expected a range of its {dataset.shape[0]} rows; got {start} to {stop}")
            self._guards[path].require(start, stop)
            rows: Array = dataset[start:stop]
            return rows

    def blocks(self, path: str, block_bytes: int = _BLOCK_BYTES) -> Iterator[Array]:
        """All rows of a dataset in order, in blocks of whole chunks of about `block_bytes`."""
        dataset = self._datasets[path]
        rows, chunk_rows = dataset.shape[0], dataset.chunks[0]
        row_bytes = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
        step = max(1, block_bytes // (row_bytes * chunk_rows)) * chunk_rows
        for start in range(0, rows, step):
            yield self.read(path, start, min(rows, start + step))

    def checksum(self, path: str) -> int:
        """CRC-32 over all rows of a dataset in order, as little-endian numbers."""
        value = 0
        for block in self.blocks(path):
            value = zlib.crc32(np.ascontiguousarray(block).data.cast("B"), value)
        return value

    def close(self) -> None:
        """Close the file. Harmless if it is closed."""
        self._datasets.clear()
        self._guards.clear()
        with suppress(OSError, RuntimeError, ValueError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
