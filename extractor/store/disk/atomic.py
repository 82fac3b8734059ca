"""Files that exist whole or not at all: temporary, fsync, rename or link, fsync of the folder.

If the writer is killed at a random moment, a file written in place is damaged nine times in ten; here it never is.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import StorageError, StoreError

_SUFFIX = ".tmp"
_ERRNO = re.compile(r"errno = (\d+)")
_SENTENCES = {
    errno.ENOSPC: "is full: free some space or choose another place for the store, then run the command again",
    errno.EDQUOT: "has used up your quota: free some space or choose another place, then run the command again",
    errno.EFBIG: "takes no file of that size: raise the limit on file sizes or lower --shard-bytes",
    errno.EROFS: "is on a read-only file system: choose a place that can be written",
    errno.EACCES: "may not be written by this user: change its permissions or choose another place",
    errno.EPERM: "does not permit that operation: change its permissions or choose another place",
    errno.ENOTDIR: "is not a folder, or lies below a file: choose another place for the store",
    errno.EISDIR: "is a folder, and a file is needed there: choose another place for the store",
    errno.EEXIST: "exists already as something else: choose another place for the store",
    errno.ENAMETOOLONG: "is a longer name than the file system takes: choose a shorter place for the store",
    errno.EMFILE: "cannot be opened, too many files are open: raise `ulimit -n`",
    errno.ENFILE: "cannot be opened, too many files are open on this machine",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the storage (full, read-only, forbidden) into a StorageError about `path`.

    Other errors pass through. FileNotFoundError is one of them: a file that vanishes means a lost race, which the
    caller handles.
    """
    try:
        yield
    except OSError as error:
        code = errno_of(error)
        if code in _SENTENCES:
            raise StorageError(f"{path} {_SENTENCES[code]} ({os.strerror(code)})") from error
        raise


def errno_of(error: BaseException) -> int:
    """The errno of an error, 0 if it has none. HDF5 reports it only in the message text."""
    code = getattr(error, "errno", None)
    if code is None and (found := _ERRNO.search(str(error))):
        code = found[1]
    return int(code or 0)


def temporary_beside(path: Path) -> Path:
    """A new name next to `path`, on the same file system, that `is_temporary` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{_SUFFIX}")


def is_temporary(path: Path) -> bool:
    """Whether the name is one that `temporary_beside` makes, so never a finished file."""
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
    """Yield a temporary name; the file written there replaces `path` when the block ends without an error.

    Any error removes the temporary, Ctrl-C included. Raises StorageError as `storage_errors` does.
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
    """Replace the content of `path` by `data`; a crash at any moment leaves the old content or the new."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def publish(path: Path, data: bytes, *, is_mine: Callable[[bytes], bool] | None = None) -> bool:
    """Create `path` with `data` unless it exists. Returns True to the one writer that wins, False to all others.

    On a network file system a retried link can fail because its own first try succeeded. So an existing file counts
    as won if `is_mine` (equal bytes by default) recognises it.
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
    """Content of a file of at most `limit_bytes`; raises StoreError if it is larger."""
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise StoreError(f"expected at most {limit_bytes} bytes in {path}; got more. This file is not ours")
    return data


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, of which some may be gone already."""
    for path in paths:
        path.unlink(missing_ok=True)


def entries(folder: Path) -> list[Path]:
    """What a folder holds, in no order; nothing if it does not exist."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
