"""A file that is not whole yet: hidden beside its target, held by one process, continued by a later one.

It is `.NAME.part`, and `.NAME.part.of` says which version of which address it is a part of. The lock (`flock`) ends
with its process, so that a kill leaves a part that the next one continues.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extractor.models.public.cache import digest
from extractor.store.disk.atomic import fsync_folder

_MOST_NOTE_BYTES = 4096
_VALIDATOR = re.compile(r"[\x20-\x7e]{1,200}")


class PartialFile:
    """The part of `target`, which this process holds; make it with `held`. All methods raise OSError."""

    def __init__(self, target: Path, handle: int) -> None:
        self._target, self._handle = target, handle
        self.size_bytes = os.fstat(handle).st_size
        self.is_named = True  # until it is published or removed, after which its name may be another's

    def version(self, address: str) -> str | None:
        """What identifies the version at `address` that this is a part of; None if it is not known to be one."""
        try:
            with _note(self._target).open("rb") as file:
                noted = json.loads(file.read(_MOST_NOTE_BYTES))
            version = noted["version"] if noted["address"] == _mark(address) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return version if isinstance(version, str) and _VALIDATOR.fullmatch(version) else None

    def begin(self, address: str, version: str | None) -> None:
        """Empty it, for a version of a file."""
        os.ftruncate(self._handle, 0)
        self.size_bytes = 0
        note = _note(self._target)
        note.unlink(missing_ok=True)  # it may be a link, through which another file would be written
        if version is not None:
            note.write_text(json.dumps({"address": _mark(address), "version": version}))

    def append(self, block: bytes) -> None:
        """Write `block` at the end."""
        view = memoryview(block)
        while view:
            written = os.pwrite(self._handle, view, self.size_bytes)
            self.size_bytes += written
            view = view[written:]

    def sha256(self) -> str:
        """SHA-256 of what is on the disk."""
        with os.fdopen(os.dup(self._handle), "rb") as file:
            file.seek(0)
            return digest(file)

    def publish(self) -> None:
        """Give it the target's name, whatever had that."""
        os.fsync(self._handle)
        _part(self._target).rename(self._target)
        self.is_named = False
        _note(self._target).unlink(missing_ok=True)
        fsync_folder(self._target.parent)

    def discard(self) -> None:
        """Remove it."""
        self.is_named = False
        for path in (_note(self._target), _part(self._target)):
            path.unlink(missing_ok=True)


@contextmanager
def held(target: Path) -> Iterator[PartialFile | None]:
    """The part of `target`, new or continued, for the length of the block; None while another process holds it.

    An empty part is removed at the end. Raises OSError.
    """
    part = _part(target)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if not _locked(handle, part):
            yield None
            return
        file = PartialFile(target, handle)
        try:
            yield file
        finally:
            if file.is_named and file.size_bytes == 0:
                file.discard()
    finally:
        os.close(handle)


def _locked(handle: int, part: Path) -> bool:
    """Whether the lock was free, and the file is still the one of that name: its last holder may have published it."""
    mine = os.fstat(handle)
    if not stat.S_ISREG(mine.st_mode):
        raise FileExistsError(errno.EEXIST, "it is not a file", str(part))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        now = part.lstat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (mine.st_dev, mine.st_ino)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.of")


def _mark(address: str) -> str:
    """An address may hold a secret, so it is not written down."""
    return hashlib.sha256(address.encode()).hexdigest()
