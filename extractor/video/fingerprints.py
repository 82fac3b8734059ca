"""Whether a file is there, and still the one that was listed."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob

__all__ = ["IMAGE_SUFFIXES", "check_job", "fingerprint", "not_reached", "numbered_images"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""Suffixes (lower case) of the files in a folder that are taken for its frames."""


def fingerprint(path: Path | str) -> tuple[int, int] | None:
    """(size_bytes, mtime_ns) of a file, of a folder of images (sum and latest of them).

    None where there is none or it cannot be reached: `check_job` says which.
    """
    try:
        return _measure(path)
    except OSError:
        return None


def check_job(job: FileJob) -> FileJob:
    """The job, with the size and the time of change of its file filled in, to be held against later.

    Raises VideoError where the file is gone (missing), cannot be reached (cannot_open), or is not the one that the job
    knows (changed).
    """
    try:
        now = _measure(job.path)
    except OSError as error:
        raise not_reached(job.path, error) from error
    for name, then, value, told in (
        ("size", job.size_bytes, now[0], _bytes),
        ("time of change", job.mtime_ns, now[1], _date),
    ):
        if then is not None and then != value:
            raise VideoError(
                FailureClass.CHANGED,
                f"{job.path} has another {name} ({told(value)}) than when it was listed ({told(then)}): try it again, "
                "which takes it as it is then",
            )
    return replace(job, size_bytes=now[0], mtime_ns=now[1])


def _bytes(count: int) -> str:
    return f"{count} bytes"


def _date(time_ns: int) -> str:
    """In UTC, with its fraction of a second: a copy that lost it counts as changed, too."""
    seconds, fraction = divmod(time_ns, 10**9)
    try:
        date = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a file system takes years that a calendar does not
        return f"{time_ns} ns"
    return f"{date}{f'.{fraction:09d}' if fraction else ''} UTC"


def not_reached(path: Path | str, error: OSError) -> VideoError:
    """What `error`, met on looking at a file, says of it: that it is gone, or only that it cannot be reached now."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return VideoError(
            FailureClass.MISSING,
            f"{error.filename or path} does not exist (any more): restore it, or leave it out",
        )
    return VideoError(FailureClass.CANNOT_OPEN, f"{path} cannot be reached: {error.strerror or error}")


def numbered_images(folder: Path | str) -> list[Path]:
    """Images of a folder whose name ends in a number, by that number."""
    found = []
    for path in Path(folder).iterdir():
        digits = len(path.stem) - len(path.stem.rstrip("0123456789"))
        if digits and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found.append((int(path.stem[-digits:]), path.name, path))
    return [path for _, _, path in sorted(found)]


def _measure(path: Path | str) -> tuple[int, int]:
    status = Path(path).stat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    images = [image.stat() for image in numbered_images(path)]
    return sum(image.st_size for image in images), max((image.st_mtime_ns for image in images), default=0)
