"""HDF5 parts that the shard writer and reader share: a file that survives a full disk, filters, errors."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from extractor.store.disk.atomic import errno_of
from extractor.store.disk.chunks import ZSTD_FILTER, load_zstd
from schemas.errors import ConfigurationError, DamagedShardError, StorageError, StoreError
from schemas.wording import HOW_TO_MEND

COMPRESSIONS = ("none", "gzip", "zstd")
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 3
_TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EINTR)


class HDF5Sink(io.RawIOBase):
    """A new file for HDF5 to write to, which keeps the first error and does not pass it to HDF5.

    HDF5 cannot close a file whose writes fail, and the process then dies of a segmentation fault at its exit. So
    all writes after an error are dropped, HDF5 closes normally, and `finish` raises the error.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._position = 0
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += os.fstat(self._handle).st_size
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._handle, [buffer], self._position)
        self._position += count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.error is None and done < len(view):
                done += os.pwrite(self._handle, view[done:], self._position + done)
        except OSError as error:
            self.error = error
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            os.ftruncate(self._handle, self._position if size is None else size)
        except OSError as error:
            self.error = self.error or error
        return size or self._position

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def check(self) -> None:
        """Raise the first error of writing."""
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        """Make the content durable and close, or raise the first error of writing."""
        self.check()
        os.fsync(self._handle)
        self.close()

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


def open_for_reading(path: Path, cache_bytes: int) -> Any:
    """Open an HDF5 file with `cache_bytes` of chunk cache per dataset.

    A published file is never written again, so a lock protects nothing, and a network file system may have no locks.
    Locking is tried first all the same: a process must always open a file with the same choice, and users open files
    too.
    """
    for locking in (None, False):
        try:
            return h5py.File(path, "r", rdcc_nbytes=cache_bytes, locking=locking)
        except OSError as error:
            if "locking" not in str(error) and "lock file" not in str(error):
                raise
    return h5py.File(path, "r", rdcc_nbytes=cache_bytes, locking=True)


def filter_options(compression: str) -> dict[str, Any]:
    """Keyword arguments of `create_dataset` for a compression; the checksum is always on."""
    options: dict[str, Any] = {"fletcher32": True}
    if compression == "none":
        return options
    if compression == "gzip":
        return options | {"shuffle": True, "compression": "gzip", "compression_opts": _GZIP_LEVEL}
    if compression == "zstd":
        load_zstd()
        return options | {"shuffle": True, "compression": ZSTD_FILTER, "compression_opts": (_ZSTD_LEVEL,)}
    raise ConfigurationError(f"expected a compression among {', '.join(COMPRESSIONS)}; got {compression!r}")


@contextmanager
def shard_errors(path: Path, shard: str, dataset: str | None = None) -> Iterator[None]:
    """Turn h5py's errors about content into DamagedShardError, and refusals of the machine into StorageError.

    FileNotFoundError passes through: the caller knows whether a missing file is damage or a lost race.
    """
    try:
        yield
    except (FileNotFoundError, StoreError, ConfigurationError):
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        code = errno_of(error)
        if code in _TRANSIENT:
            raise StorageError(
                f"{path} could not be read ({os.strerror(code)}): the file itself may be sound"
            ) from error
        where = f"{dataset} of {path}" if dataset else str(path)
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{where} cannot be read as written ({detail}){HOW_TO_MEND}"
        raise DamagedShardError(message, shard=shard, dataset=dataset) from error
