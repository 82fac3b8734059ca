"""A file of named arrays that are read in blocks, each with a checksum: no reader needs more of it than it asks for."""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from extractor.store.disk.sealed import Kind, decode_json, encode_json
from schemas.errors import StoreError

Array = npt.NDArray[Any]

_MAGIC = b"msnet-features blocks 1\n"
_BLOCK_BYTES = 128 * 1024
_END_BYTES = 8  # the length of the document before them
_MOST_DOCUMENT_BYTES = 64 * 1024 * 1024
_DTYPES = ("<i4", "<i8", "<u4", "<u8", "|u1")


class DamagedIndexError(StoreError):
    """A file of blocks is not as it was written, or is gone. What it holds can be made again from the shards."""


@dataclass(frozen=True, slots=True)
class _Section:
    """One array of `rows` rows of `width` numbers, from `offset` on. checksums: CRC-32 of every block."""

    dtype: str
    width: int
    rows: int
    offset: int
    checksums: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def block_rows(self) -> int:
        return max(1, _BLOCK_BYTES // self.row_bytes)

    @property
    def bytes(self) -> int:
        return self.rows * self.row_bytes

    @property
    def plausible(self) -> bool:
        known = self.dtype in _DTYPES and 0 < self.width <= 64 and self.rows >= 0 and self.offset >= 0
        return known and len(self.checksums) == -(-self.rows // self.block_rows)


_ADAPTER = TypeAdapter(dict[str, _Section])


class BlockWriter:
    """Writes a new file of arrays at `path`, one after the other, in little memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(_MAGIC)
        self._sections: dict[str, _Section] = {}
        self._waiting = bytearray()
        self._checksums: list[int] = []

    def write(self, name: str, array: Array) -> None:
        """Append rows (n,) or (n, width) to the array `name`; an array that another follows is complete.

        All rows get the dtype of the first.
        """
        section = self._sections.get(name)
        if section is None:
            self._end_section()
            width = 1 if array.ndim == 1 else array.shape[1]
            section = _Section(array.dtype.newbyteorder("<").str, width, 0, self._file.tell(), ())
        self._sections[name] = replace(section, rows=section.rows + len(array))
        self._waiting += np.ascontiguousarray(array, section.dtype).tobytes()
        block_bytes = section.block_rows * section.row_bytes
        while len(self._waiting) >= block_bytes:
            self._write_block(block_bytes)

    def close(self, content: Mapping[str, Any]) -> None:
        """Finish the file with a sealed document: the sections, and `content`."""
        self._end_section()
        sections = {name: asdict(section) for name, section in self._sections.items()}
        document = encode_json({**content, "sections": sections}, Kind.INDEX)
        self._file.write(document + len(document).to_bytes(_END_BYTES, "little"))
        self._file.close()

    def discard(self) -> None:
        """Close the file. Harmless after `close`."""
        self._file.close()

    def _write_block(self, size: int) -> None:
        block = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._checksums.append(zlib.crc32(block))
        self._file.write(block)

    def _end_section(self) -> None:
        if not self._sections:
            return
        if self._waiting:
            self._write_block(len(self._waiting))
        name, section = self._sections.popitem()
        self._sections[name] = replace(section, checksums=tuple(self._checksums))
        self._checksums = []


class BlockFile:
    """An open file of arrays. It stays the file that was opened if another takes its name, also in a forked process.

    Raises DamagedIndexError if it is absent or not as it was written; `rows` does so when a damaged block is read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DamagedIndexError(f"{path} cannot be opened ({error.strerror})") from error
        weakref.finalize(self, os.close, self._handle)
        self._path = path
        try:
            self.document = self._document()
            self._sections = _ADAPTER.validate_python(self.document["sections"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedIndexError(f"{path} is not as it was written") from error
        ends = (section.offset + section.bytes for section in self._sections.values())
        if not all(section.plausible for section in self._sections.values()) or max(ends, default=0) > self._stop:
            raise DamagedIndexError(f"{path} is not as it was written")

    def rows(self, name: str) -> Rows:
        """The array of this name."""
        try:
            return Rows(self, self._sections[name])
        except KeyError as error:
            raise DamagedIndexError(f"{self._path} lacks {name}") from error

    def check(self) -> None:
        """Read every byte; raises DamagedIndexError."""
        end = len(_MAGIC)
        for section in sorted(self._sections.values(), key=lambda section: section.offset):
            if section.offset != end:
                raise DamagedIndexError(f"{self._path} is not as it was written")
            for block in range(len(section.checksums)):
                self.block(section, block)
            end += section.bytes
        if end != self._stop or os.pread(self._handle, len(_MAGIC), 0) != _MAGIC:
            raise DamagedIndexError(f"{self._path} is not as it was written")

    def block(self, section: _Section, number: int) -> bytes:
        """The bytes of one block of a section."""
        first = number * section.block_rows
        count = min(section.block_rows, section.rows - first) * section.row_bytes
        try:
            data = os.pread(self._handle, count, section.offset + first * section.row_bytes)
        except OSError as error:  # on a network file system, a file that was replaced may be gone
            raise DamagedIndexError(f"{self._path} cannot be read ({error.strerror})") from error
        if len(data) != count or zlib.crc32(data) != section.checksums[number]:
            raise DamagedIndexError(f"{self._path} is not as it was written")
        return data

    def _document(self) -> dict[str, Any]:
        size = os.fstat(self._handle).st_size
        end = os.pread(self._handle, _END_BYTES, max(0, size - _END_BYTES))
        length = int.from_bytes(end, "little")
        self._stop = size - _END_BYTES - length  # of the arrays
        if self._stop < len(_MAGIC) or length > _MOST_DOCUMENT_BYTES:
            raise ValueError("its end is damaged")
        return decode_json(os.pread(self._handle, length, self._stop), Kind.INDEX)


def is_sound_index(path: Path) -> bool:
    """Whether a file of blocks is bit for bit as it was written; raises FileNotFoundError."""
    try:
        BlockFile(path).check()
    except DamagedIndexError:
        path.stat()
        return False
    return True


class Rows:
    """An array on disk, of shape (n,) or (n, width). What is read of it stays in memory, a block at a time."""

    def __init__(self, file: BlockFile, section: _Section) -> None:
        self._file = file
        self._section = section
        shape = (section.rows,) if section.width == 1 else (section.rows, section.width)
        self._array = np.empty(shape, section.dtype)  # its pages take memory only once they are written
        self._loaded = np.zeros(len(section.checksums), np.bool_)

    def __len__(self) -> int:
        return self._section.rows

    def __getitem__(self, rows: slice | Array) -> Array:
        """Rows of a range without a step, or at positions (k,), which must lie within the array."""
        size = self._section.block_rows
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            blocks = np.arange(start // size, -(-stop // size) if stop > start else 0)
        else:
            blocks = np.unique(rows // size)
        for block in blocks[~self._loaded[blocks]].tolist():
            data = np.frombuffer(self._file.block(self._section, block), self._section.dtype)
            part = self._array[block * size : (block + 1) * size]
            part[:] = data.reshape(part.shape)
            self._loaded[block] = True
        return self._array[rows]
