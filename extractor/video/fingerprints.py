"""Whether a file exists, and is still the one that was listed."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from extractor.video.objects.remote import measure
from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob, is_address

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""Suffixes (lower case) of the files in a folder that count as its frames."""


def fingerprint(path: Path | str) -> tuple[int, int] | None:
    """(size_bytes, mtime_ns) of a file, of an object, or of a folder of images (their sum and their latest).

    None where it does not exist or cannot be reached: `check_job` tells which.
    """
    try:
        return _measure(path)
    except OSError:
        return None


def check_job(job: FileJob) -> FileJob:
    """The job with the size and modification time of its file filled in, for a later comparison.

    Raises VideoError where the file is gone (missing), cannot be reached (cannot_open), or differs from what the job
    recorded (changed).
    """
    try:
        now = _measure(job.path)
    except OSError as error:
        raise not_reached(job.path, error) from error
    for name, then, value, shown in (
        ("size", job.size_bytes, now[0], "{} bytes".format),
        ("modification time", job.mtime_ns, now[1], _date),
    ):
        if then is not None and then != value:
            raise VideoError(
                FailureClass.CHANGED,
                f"{job.path} has changed: expected the {name} at listing, {shown(then)}; got {shown(value)}. "
                "Try again to use the file as it is then",
            )
    return replace(job, size_bytes=now[0], mtime_ns=now[1])


def _date(time_ns: int) -> str:
    """In UTC, with the fraction of a second: a copy that lost the fraction counts as changed, too."""
    seconds, fraction = divmod(time_ns, 10**9)
    try:
        date = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # file systems allow years that datetime does not
        return f"{time_ns} ns"
    return f"{date}{f'.{fraction:09d}' if fraction else ''} UTC"


def not_reached(path: Path | str, error: OSError) -> VideoError:
    """The VideoError for an OSError: missing where the file is gone, cannot_open where it cannot be reached now."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return VideoError(
            FailureClass.MISSING,
            f"{error.filename or path} does not exist (any more): restore it, or leave it out",
        )
    return VideoError(
        FailureClass.CANNOT_OPEN,
        f"{path} cannot be reached ({error.strerror or error}). Check its permissions and its disk, then try again",
    )


def numbered_images(folder: Path | str) -> list[Path]:
    """Images of a folder whose names end in a number, sorted by that number."""
    found = []
    for path in Path(folder).iterdir():
        digits = len(path.stem) - len(path.stem.rstrip("0123456789"))
        if digits and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found.append((int(path.stem[-digits:]), path.name, path))
    return [path for _, _, path in sorted(found)]


def _measure(path: Path | str) -> tuple[int, int]:
    if is_address(str(path)):
        return measure(str(path))
    status = Path(path).stat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    images = [image.stat() for image in numbered_images(path)]
    return sum(image.st_size for image in images), max((image.st_mtime_ns for image in images), default=0)
