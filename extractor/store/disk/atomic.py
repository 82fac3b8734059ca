"""Files that exist whole or not at all: temporary, fsync, rename or link, fsync of the folder.

Killed at a random moment, a file written in place is damaged nine times in ten; written like this, never.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import StorageError, StoreError

__all__ = [
    "errno_of",
    "fsync_file",
    "fsync_folder",
    "is_temporary",
    "publish",
    "read_bounded",
    "remove_files",
    "replacing",
    "storage_errors",
    "temporary_beside",
    "write_bytes",
]

_SUFFIX = ".tmp"
_ERRNO = re.compile(r"errno = (\d+)")
_SENTENCES = {
    errno.ENOSPC: "is full: free some space or choose another place for the store, then run `msnet resume`",
    errno.EDQUOT: "has used up your quota: free some space or choose another place, then run `msnet resume`",
    errno.EFBIG: "takes no file of that size: raise the limit on file sizes or lower --shard-bytes",
    errno.EROFS: "is on a read-only file system: choose a place that can be written",
    errno.EACCES: "may not be written by this user: change its permissions or choose another place",
    errno.EPERM: "does not permit that operation: change its permissions or choose another place",
    errno.ENOTDIR: "is not a folder, or lies below a file: choose another place for the store",
    errno.EISDIR: "is a folder where a file was expected: choose another place for the store",
    errno.EEXIST: "exists already as something else: choose another place for the store",
    errno.ENAMETOOLONG: "is a longer name than the file system takes: choose a shorter place for the store",
    errno.EMFILE: "cannot be opened, too many files are open: raise `ulimit -n`",
    errno.ENFILE: "cannot be opened, too many files are open on this machine",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what a storage refuses (full, read-only, forbidden) into a StorageError that says so about `path`.

    Other errors pass, FileNotFoundError among them: a file that vanishes means a lost race, which callers judge.
    """
    try:
        yield
    except OSError as error:
        code = errno_of(error)
        if code in _SENTENCES:
            raise StorageError(f"{path} {_SENTENCES[code]} ({os.strerror(code)})") from error
        raise


def errno_of(error: BaseException) -> int:
    """The operating system's number of an error, 0 where it has none. HDF5 reports it in its text alone."""
    code = getattr(error, "errno", None)
    if code is None and (found := _ERRNO.search(str(error))):
        code = found[1]
    return int(code or 0)


def temporary_beside(path: Path) -> Path:
    """A new name next to `path`, on the same file system, that `is_temporary` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")


def is_temporary(path: Path) -> bool:
    """Whether the name is one that `temporary_beside` gives: never a finished file."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def fsync_file(path: Path) -> None:
    """Make the content of a closed file durable."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    _fsync(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name; what was written there becomes `path` when the block ends without an error.

    The temporary is removed on any error, Ctrl-C included. Raises StorageError as `storage_errors` does.
    """
    temporary = temporary_beside(path)
    with storage_errors(path.parent):
        try:
            yield temporary
            fsync_file(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: afterwards, and after a crash at any moment, it is the old content or the new."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def publish(path: Path, data: bytes, *, is_mine: Callable[[bytes], bool] | None = None) -> bool:
    """Create `path` with `data` unless it exists: True for the one writer that wins, False for all others.

    On a network file system a repeated link can meet the success of its own first try, so an existing file counts
    as won where `is_mine` (equal bytes unless given) recognises it.
    """
    temporary = temporary_beside(path)
    with storage_errors(path.parent):
        try:
            temporary.write_bytes(data)
            fsync_file(temporary)
            try:
                os.link(temporary, path)
                won = True
            except FileExistsError:
                there = path.read_bytes()
                won = is_mine(there) if is_mine is not None else there == data
        finally:
            with suppress(OSError):
                temporary.unlink()
        fsync_folder(path.parent)
    return won


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Content of a file that must not be larger than `limit_bytes`; raises StoreError where it is."""
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise StoreError(f"{path} was expected to hold at most {limit_bytes} bytes and holds more: it is not ours")
    return data


def remove_files(paths: list[Path]) -> int:
    """Remove files and give the bytes that they held; those that are gone already count nothing."""
    freed = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            freed += size
    return freed
