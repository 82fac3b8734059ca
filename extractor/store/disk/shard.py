"""One HDF5 file of rows, written by appending and read by row ranges. A staged item is a shard of one item."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from extractor.store.disk.atomic import storage_errors
from extractor.store.disk.chunks import ChunkGuard, require_plain
from extractor.store.disk.hdf5 import HDF5Sink, filter_options, open_for_reading, shard_errors
from schemas.errors import NotFiniteError, StoreError
from schemas.layout import MAX_CHUNK_BYTES, DatasetSpec
from schemas.tensors import LEVELS

Array = npt.NDArray[Any]

_LIBVER = ("v110", "v110")  # readable by HDF5 1.10, and all metadata carries checksums
_BLOCK_BYTES = 8 * 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_MIN_CACHE_BYTES = 1024 * 1024
_HEADER = "header"
_MAX_HEADER_BYTES = 256 * 1024 * 1024
_HALF_EXPONENT = 0x7C00


class ShardWriter:
    """Writes a new HDF5 file at `path` (a temporary name, which the caller renames), in a few megabytes of memory.

    All datasets of a level grow together: `append` takes blocks of rows for whole levels. Floats are converted to
    the dataset's dtype. A value that is not finite there (NaN, or above 65504 in float16) raises NotFiniteError: a
    saturated feature would be silently wrong. Values too small for float16 become zero.
    """

    def __init__(self, path: Path, datasets: Sequence[DatasetSpec], compression: str = "none") -> None:
        self.path = path
        self.rows = dict.fromkeys(LEVELS, 0)
        self.checksums = {spec.path: 0 for spec in datasets}
        self._pending: dict[str, list[dict[str, Array]]] = {level: [] for level in LEVELS}
        self._pending_bytes = dict.fromkeys(LEVELS, 0)
        self._levels = {level: [spec for spec in datasets if spec.level == level] for level in LEVELS}
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
        """Append rows, arrays by dataset path (rows, *shape).

        Takes all datasets of a level or none, with equally many rows; else raises StoreError. Raises NotFiniteError if
        a value does not fit, StorageError if the disk is full.
        """
        unknown = arrays.keys() - self._datasets.keys()
        if unknown:
            raise StoreError(f"expected datasets {sorted(self._datasets)}; got {sorted(unknown)}")
        for specs in self._levels.values():
            given = [spec for spec in specs if spec.path in arrays]
            if not given:
                continue
            counts = {spec.path: len(arrays[spec.path]) for spec in given}
            if len(given) != len(specs) or len(set(counts.values())) != 1:
                raise StoreError(f"expected equally many rows for {[spec.path for spec in specs]}; got {counts}")
            block = {spec.path: _converted(arrays[spec.path], spec) for spec in specs}
            self._append_level(specs[0].level, block)
        with storage_errors(self.path.parent):
            self._sink.check()

    def _append_level(self, level: str, block: dict[str, Array]) -> None:
        count = len(next(iter(block.values())))
        if not count:
            return
        self.rows[level] += count
        self._pending[level].append(block)
        self._pending_bytes[level] += sum(rows.nbytes for rows in block.values())
        if self._pending_bytes[level] >= _BUFFER_BYTES:
            self._write_pending(level)

    def _write_pending(self, level: str) -> None:
        """Write the appended rows of a level. They are buffered, as one call of HDF5 costs as much as many clips."""
        pending, self._pending[level], self._pending_bytes[level] = self._pending[level], [], 0
        if not pending:
            return
        stop = self.rows[level]
        for path in pending[0]:
            rows = pending[0][path] if len(pending) == 1 else np.concatenate([block[path] for block in pending])
            dataset = self._datasets[path]
            dataset.resize(stop, axis=0)
            dataset[stop - len(rows) : stop] = rows
            self.checksums[path] = zlib.crc32(rows.data.cast("B"), self.checksums[path])

    def close(self, attributes: Mapping[str, str | int], header: Mapping[str, Any] | None = None) -> None:
        """Finish the file with root attributes and a JSON `header`, and make it durable.

        Raises StorageError if the disk did not take all of it. Then the file is useless, and `discard` removes it.
        """
        for level in LEVELS:
            self._write_pending(level)
        for name, value in attributes.items():
            self._file.attrs[name] = value
        if header is not None:
            data = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
            self._file.create_dataset(_HEADER, data=data, chunks=data.shape, fletcher32=True, track_times=False)
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


def _converted(array: Array, spec: DatasetSpec) -> Array:
    """A copy of `array` in the dataset's dtype; raises StoreError if its shape, kind or a value does not fit."""
    array = np.asarray(array)
    target = np.dtype(spec.dtype)
    if array.shape[1:] != spec.shape:
        raise StoreError(f"expected rows of shape {spec.shape} for {spec.path}; got {array.shape[1:]}")
    if array.dtype.kind != "f" if target.kind == "f" else not np.can_cast(array.dtype, target, "safe"):
        raise StoreError(f"expected numbers that fit {target} for {spec.path}; got {array.dtype}")
    with np.errstate(over="ignore"):
        rows: Array = np.array(array, dtype=target, order="C")  # a copy: the caller may reuse its array before we write
    if target.kind == "f" and not _all_finite(rows):
        bad = int(np.count_nonzero(~np.isfinite(rows)))
        raise NotFiniteError(
            f"{bad} of {rows.size} values of {spec.path} are not finite as {target}: "
            "extract with --dtype float32, and with --store-dtype float32 where values are above 65504"
        )
    return rows


def _all_finite(rows: Array) -> bool:
    if rows.dtype == np.float16:  # testing the bits is seven times faster than numpy's isfinite
        bits = rows.view(np.uint16) & _HALF_EXPONENT
        return bool((bits != _HALF_EXPONENT).all())
    return bool(np.isfinite(rows).all())


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

    def header(self) -> dict[str, Any]:
        """The JSON header of a staged item."""
        with shard_errors(self.path, self.shard):
            dataset = self._file[_HEADER]
            require_plain(dataset, _HEADER, _MAX_HEADER_BYTES)
            if dataset.dtype != np.uint8 or dataset.ndim != 1 or dataset.size > _MAX_HEADER_BYTES:
                raise ValueError("the header is not one")
            ChunkGuard(dataset).require(0, len(dataset))
            header = json.loads(dataset[()].tobytes())
            if not isinstance(header, dict):
                raise ValueError("the header is not an object")
            return header

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
