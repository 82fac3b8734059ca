"""Checks on chunks of an HDF5 dataset: packed as a store packs them, and with no more rows than they claim.

HDF5 unpacks a chunk to whatever size its bytes say: three megabytes of deflate become three gigabytes of memory. So
every size that HDF5 would trust is checked before it reads.
"""

from __future__ import annotations

import zlib
from typing import Any

import h5py

from schemas.errors import ConfigurationError

ZSTD_FILTER = 32015
_SHUFFLE, _DEFLATE, _FLETCHER32 = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32
_PIPELINES = ((_FLETCHER32,), (_SHUFFLE, _DEFLATE, _FLETCHER32), (_SHUFFLE, ZSTD_FILTER, _FLETCHER32))
_CHECKSUM_BYTES = 4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_HEADER_BYTES = 18


def require_plain(dataset: Any, path: str, most_bytes: int) -> None:
    """Raise ValueError unless the dataset holds its own rows in complete chunks that are packed as a store packs them.

    A file can claim any number of rows and hold none, or point into other files. A chunk may have `most_bytes` at most.
    Loads zstd if it is needed.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{path} is not a dataset")
    if dataset.is_virtual or dataset.external or dataset.chunks is None:
        raise ValueError(f"{path} does not hold its own rows in chunks")
    chunk_bytes = _chunk_bytes(dataset)
    if chunk_bytes > most_bytes:
        raise ValueError(f"{path} has chunks of {chunk_bytes} bytes")
    if dataset.chunks[1:] != dataset.shape[1:]:
        raise ValueError(f"{path} is cut across its rows")
    rows, chunk_rows = dataset.shape[0], dataset.chunks[0]
    expected = -(-rows // chunk_rows)
    if dataset.id.get_num_chunks() != expected:
        raise ValueError(f"{path} claims {expected} chunks and has {dataset.id.get_num_chunks()}")
    filters = _filters(dataset)
    if filters not in _PIPELINES:
        raise ValueError(f"{path} is packed by filters that no store uses ({', '.join(map(str, filters)) or 'none'})")
    if ZSTD_FILTER in filters:
        load_zstd()


def load_zstd() -> None:
    """Register zstd with HDF5; raises ConfigurationError if hdf5plugin is not installed."""
    if h5py.h5z.filter_avail(ZSTD_FILTER):
        return
    try:
        import hdf5plugin  # noqa: F401  (importing it registers the filter)
    except ImportError as error:
        raise ConfigurationError(
            "zstd compression needs the package hdf5plugin: pip install 'msnet-features[zstd]'"
        ) from error


class ChunkGuard:
    """Checks every chunk of one dataset once, before its first read."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        *packing, _checksum = _filters(dataset)
        self._packing = packing[-1] if packing else None
        self._chunk_bytes = _chunk_bytes(dataset)
        self._chunk_rows = dataset.chunks[0]
        self._seen = bytearray(-(-dataset.shape[0] // self._chunk_rows))
        self._stored: dict[int, int] | None = None

    def require(self, start: int, stop: int) -> None:
        """Raise ValueError if a chunk with any of the rows [start, stop) does not unpack to exactly its rows."""
        first, last = start // self._chunk_rows, -(-stop // self._chunk_rows)
        if self._seen.find(0, first, last) < 0:
            return
        if self._stored is None:
            self._stored = self._sizes()
        for chunk in range(first, last):
            if not self._seen[chunk]:
                self._check(chunk * self._chunk_rows, self._stored.get(chunk, 0))
                self._seen[chunk] = 1

    def _sizes(self) -> dict[int, int]:
        """Stored bytes of every chunk by its number, 0 if it skips a filter. HDF5 walks all chunks to find one."""
        sizes = {}

        def note(info: Any) -> None:
            sizes[info.chunk_offset[0] // self._chunk_rows] = 0 if info.filter_mask else info.size

        self._dataset.id.chunk_iter(note)
        return sizes

    def _check(self, row: int, size: int) -> None:
        most_stored = self._chunk_bytes + self._chunk_bytes // 64 + 1024  # incompressible rows grow a little
        if not _CHECKSUM_BYTES <= size <= most_stored:
            raise ValueError(f"the chunk at row {row} has {size} bytes, or skips its checksum")
        if self._packing is None:
            unpacked = size - _CHECKSUM_BYTES
        else:
            offset = (row, *(0 for _ in self._dataset.shape[1:]))
            stored = self._dataset.id.read_direct_chunk(offset)[1][:-_CHECKSUM_BYTES]
            unpacked = _zstd_bytes(stored) if self._packing == ZSTD_FILTER else _zlib_bytes(stored, self._chunk_bytes)
        if unpacked != self._chunk_bytes:
            raise ValueError(f"the chunk at row {row} does not unpack to its {self._chunk_bytes} bytes")


def _zlib_bytes(stored: bytes, limit: int) -> int:
    """Number of bytes that deflate unpacks to, counted up to `limit` + 1."""
    try:
        return len(zlib.decompressobj().decompress(stored, limit + 1))
    except zlib.error as error:
        raise ValueError(f"packed rows are damaged ({error})") from error


def _zstd_bytes(stored: bytes) -> int:
    """Unpacked size that a zstd frame states, -1 if it states none. The filter allocates it and never exceeds it.

    RFC 8878, section 3.1.1.1.
    """
    if stored[:4] != _ZSTD_MAGIC or len(stored) < _ZSTD_HEADER_BYTES // 2:
        return -1
    descriptor = stored[4]
    single_segment = descriptor >> 5 & 1
    width = (single_segment, 2, 4, 8)[descriptor >> 6]
    if not width:
        return -1
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    return int.from_bytes(stored[start : start + width], "little") + (256 if width == 2 else 0)


def _filters(dataset: Any) -> tuple[int, ...]:
    creation = dataset.id.get_create_plist()
    return tuple(creation.get_filter(i)[0] for i in range(creation.get_nfilters()))


def _chunk_bytes(dataset: Any) -> int:
    size = int(dataset.dtype.itemsize)
    for extent in dataset.chunks:
        size *= extent
    return size
