"""Checks that a folder can hold a store, before anything is computed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from extractor.store.disk.atomic import fsync_file, fsync_folder, is_temporary, storage_errors
from schemas.errors import StorageError
from schemas.layout import require_no_address

_PROBE_BYTES = 64 * 1024


def refuse_other_folder(root: Path, ours: Callable[[str], bool], what: str) -> None:
    """Raise StorageError if the folder `root` holds anything but our temporaries and names that are `ours`.

    what: in words, what it may hold. A missing folder is fine.
    """
    with storage_errors(root):
        try:
            names = sorted(path.name for path in root.iterdir() if not is_temporary(path))
        except (FileNotFoundError, NotADirectoryError):  # left to `probe_storage`
            return
    others = [name for name in names if not ours(name)]
    if others:
        raise StorageError(f"expected an empty folder or {what}; {root} holds {others[0]!r}. Give another --out")


def probe_storage(root: Path) -> None:
    """Make the folder `root` if it is missing, and try all that a commit needs there.

    Raises StorageError if the folder is read-only or full, or its file system cannot fsync, rename or link.
    """
    require_no_address(root, "a folder", "Give a local disk, NFS or Lustre, and copy what is finished")
    with storage_errors(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(f"{root} cannot be made a folder ({error.strerror}): give another place") from error
        folder = root / f".probe.{secrets.token_hex(6)}.tmp"
        folder.mkdir()
        try:
            _try_everything(root, folder)
        finally:
            with suppress(OSError):
                shutil.rmtree(folder)


def _try_everything(root: Path, folder: Path) -> None:
    written, renamed, linked = folder / "written", folder / "renamed", folder / "linked"
    written.write_bytes(os.urandom(_PROBE_BYTES))
    try:
        fsync_file(written)
        fsync_folder(folder)
    except OSError as error:
        raise _lacking(root, "fsync", error) from error
    try:
        written.replace(renamed)
    except OSError as error:
        raise _lacking(root, "rename", error) from error
    try:
        os.link(renamed, linked)
    except OSError as error:
        raise _lacking(root, "hard links", error) from error
    try:
        os.link(renamed, linked)
    except FileExistsError:
        return
    raise StorageError(
        f"{root} lets a second link replace the first, so two writers could not be told apart: choose another place"
    )


def _lacking(root: Path, what: str, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error  # not a missing feature of the file system
    return StorageError(
        f"{root} is on a file system without {what} ({error.strerror}), which a store needs to survive crashes: "
        "choose a local disk, NFS or Lustre"
    )


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise StorageError if the file system of `folder` has less than `needed_bytes` left for this user."""
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"expected {needed_bytes:,} bytes left in {folder}; got {free:,}. Free some space, then run the command "
            "again"
        )
