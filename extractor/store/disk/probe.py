"""Whether a place can hold a store, found out before anything is computed."""

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

__all__ = ["probe_storage", "refuse_other_folder", "require_space"]

_PROBE_BYTES = 64 * 1024


def refuse_other_folder(root: Path, ours: Callable[[str], bool], what: str) -> None:
    """Raise StorageError where the folder `root` holds anything but what is `ours` by its name, and our temporaries.

    what: in words, what it may hold. A folder that is not there is fine.
    """
    with storage_errors(root):
        try:
            names = sorted(path.name for path in root.iterdir() if not is_temporary(path))
        except (FileNotFoundError, NotADirectoryError):  # for `probe_storage` to make, or to refuse
            return
    others = [name for name in names if not ours(name)]
    if others:
        raise StorageError(f"an empty folder or {what} was expected, {root} holds {others[0]!r}: give another --out")


def probe_storage(root: Path) -> None:
    """Make the folder `root` where it is missing and try there all that a commit needs.

    Raises StorageError with one sentence where the place is read-only, full, or cannot fsync, rename or link.
    """
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
        raise error  # says nothing about what the file system can do
    return StorageError(
        f"{root} is on a file system without {what} ({error.strerror}), which a store needs to survive crashes: "
        "choose a local disk, NFS or Lustre"
    )


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise StorageError where the file system of `folder` has less than `needed_bytes` left for this user."""
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise StorageError(
            f"{folder} has {free:,} bytes left where {needed_bytes:,} are needed: free some space, then run "
            "`msnet resume`"
        )
