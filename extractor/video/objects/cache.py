"""A folder of the node that holds objects while they are decoded, shared by all decoders of the node.

An object is one file there, named by its address, size and stamp. Locks (`flock`) say what is in use: they end with
their process, so that a kill leaves nothing locked. A shared lock on a file: it is being decoded. An exclusive lock on
a `.part`: it is being fetched; a `.part` that nobody locks was left by a kill. Files appear and are evicted under the
lock of the folder. A `.part` has its whole length from the beginning, so the lengths of all files are what is taken or
promised.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from extractor.video.fingerprints import check_job, not_reached
from extractor.video.objects.remote import blocks
from schemas.errors import ConfigurationError, FailureClass, StorageError, VideoError
from schemas.records import FileJob

MOST_WAIT_SECONDS = 600.0
"""How long a decoder waits for room in the cache, while all of it is in use."""

_LOOK_SECONDS = 0.05  # between two looks at what others fetch or release
_ATTEMPTS = 3  # of fetching an object, beside those of the library
_PAUSE_SECONDS = 1.0  # after the first; twice as long after each further one
_NAME = re.compile(r"[0-9a-f]{40}(\.[A-Za-z0-9]{1,8})?(\.part)?")


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """Where objects are kept on a node, and how many bytes of them at most.

    folder: None is the folder for temporary files of each node; a folder of our own is made in it.
    """

    folder: str | None = None
    most_bytes: int = 8 * 1024**3

    def prepare(self) -> Path:
        """Make the folder on this node. Raises StorageError if it cannot be made, or belongs to another user."""
        folder = Path(self.folder or tempfile.gettempdir()).absolute() / f"msnet-objects-{os.geteuid()}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.lstat()
        except OSError as error:
            raise StorageError(
                f"expected a folder for fetched videos at {folder}; it cannot be made ({error.strerror}). Give --cache "
                "with another place"
            ) from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise StorageError(
                f"expected {folder} to be a folder of this user; it is not, and whoever owns it could replace videos. "
                "Give --cache with another place"
            )
        return folder

    @contextmanager
    def local(self, job: FileJob) -> Iterator[FileJob]:
        """The job of an object, with the path of a copy on this node; nobody removes that during the block.

        Raises VideoError: what `check_job` raises, too_large for an object that the cache cannot hold, cannot_open.
        """
        try:
            folder, job = self.prepare(), check_job(job)
        except (ConfigurationError, StorageError) as error:  # of this node: elsewhere it may be installed
            raise VideoError(FailureClass.CANNOT_OPEN, str(error)) from error
        assert job.size_bytes is not None
        if job.size_bytes > self.most_bytes:
            raise VideoError(
                FailureClass.TOO_LARGE,
                f"{job.path} has {job.size_bytes:,} bytes, more than the {self.most_bytes:,} of the cache. Give a "
                "larger --cache-bytes, then try again",
            )
        try:
            path, held = self._held(folder, job)
        except OSError as error:
            raise VideoError(
                FailureClass.CANNOT_OPEN,
                f"{job.path} cannot be kept in {folder} ({error.strerror or error}). Free some space there, or give "
                "--cache with another place",
            ) from error
        try:
            yield replace(job, path=str(path), size_bytes=None, mtime_ns=None)
        finally:
            os.close(held)

    def _held(self, folder: Path, job: FileJob) -> tuple[Path, int]:
        """The object's file and a handle that holds its shared lock."""
        path = folder / _name(job)
        part = path.with_name(f"{path.name}.part")
        waits_since = time.monotonic()
        while True:
            with _locked(folder):
                if (held := _open(path, fcntl.LOCK_SH, job.size_bytes)) is not None:
                    return path, held
                fetching = _is_locked(part)
                claimed = None if fetching else self._claimed(folder, part, job.size_bytes or 0)
            if claimed is not None:
                break
            if fetching:  # by another decoder, or else by nobody
                waits_since = time.monotonic()
            elif time.monotonic() - waits_since > MOST_WAIT_SECONDS:
                raise OSError(errno.ENOSPC, f"all of its {self.most_bytes:,} bytes are in use for too long")
            time.sleep(_LOOK_SECONDS)
        try:
            _fetch(job, claimed)
            with _locked(folder):
                part.rename(path)
                fcntl.flock(claimed, fcntl.LOCK_SH)
        except BaseException:
            with suppress(OSError):
                part.unlink()  # it is locked until the next line, so it is still this one
            os.close(claimed)
            raise
        return path, claimed

    def _claimed(self, folder: Path, part: Path, size: int) -> int | None:
        """A handle of a new `.part` with its length, locked; None if there is no room. The folder is locked."""
        with suppress(FileNotFoundError):
            part.unlink()  # left by a kill
        if not self._make_room(folder, size):
            return None
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.ftruncate(handle, size)
        return handle

    def _make_room(self, folder: Path, size: int) -> bool:
        """Remove what nobody uses, what was left by kills and then what was used longest ago, until there is room."""
        found = []
        for entry in os.scandir(folder):
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append((not entry.name.endswith(".part"), status.st_atime_ns, Path(entry.path), status.st_size))
        taken = sum(bytes_ for *_, bytes_ in found)
        for *_, path, bytes_ in sorted(found):
            if taken + size <= self.most_bytes:
                break
            if (handle := _open(path, fcntl.LOCK_EX)) is not None:
                path.unlink()
                os.close(handle)
                taken -= bytes_
        return taken + size <= self.most_bytes


def _name(job: FileJob) -> str:
    """Decoders tell some formats by their suffix, so it stays."""
    digest = hashlib.sha256(f"{job.path}\0{job.size_bytes}\0{job.mtime_ns}".encode(errors="surrogatepass"))
    suffix = PurePosixPath(job.path).suffix
    return digest.hexdigest()[:40] + (suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", suffix) else "")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock of the folder, which nobody holds for longer than a moment."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open(path: Path, lock: int, size: int | None = None) -> int | None:
    """A handle of a file with a lock; None if there is no such file, or another has locked it.

    size: a file of another size is removed, as a crash of the machine may have left it. Marks the file as used now.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    status = os.fstat(handle)
    if size is not None and status.st_size != size:
        path.unlink()
        os.close(handle)
        return None
    if lock == fcntl.LOCK_SH:  # its modification time stays: the decoder compares it
        os.utime(handle, ns=(time.time_ns(), status.st_mtime_ns))
    return handle


def _is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file that exists."""
    if (handle := _open(path, fcntl.LOCK_EX)) is None:
        return path.exists()
    os.close(handle)
    return False


def _fetch(job: FileJob, handle: int) -> None:
    """Write an object into a file. Raises VideoError, also where it changes meanwhile; OSError for the file's disk."""
    error: OSError | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
        written, error = _written(job, handle)
        check_job(job)  # an object that was replaced meanwhile may have come in parts of both
        if error is None and written == job.size_bytes:
            os.fsync(handle)
            return
        if isinstance(error, FileNotFoundError | PermissionError):
            break
    short = OSError(errno.EIO, f"{written:,} of its {job.size_bytes:,} bytes came")
    raise not_reached(job.path, error or short)


def _written(job: FileJob, handle: int) -> tuple[int, OSError | None]:
    """How many bytes came, and why no more did."""
    os.lseek(handle, 0, os.SEEK_SET)
    written, content = 0, blocks(job.path, (job.size_bytes or 0) + 1)
    while True:
        try:
            block = next(content, b"")
        except OSError as error:
            return written, error
        if not block:
            return written, None
        view = memoryview(block)
        while view:
            view = view[os.write(handle, view) :]
        written += len(block)
