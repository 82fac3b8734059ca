from __future__ import annotations

import os
from pathlib import Path

import pytest

from extractor.video.fingerprints import check_job, fingerprint
from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob

NEW_YEAR_NS = 1_767_225_600 * 10**9  # of 2026


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three bytes that was last changed a second after midnight."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    os.utime(path, ns=(0, NEW_YEAR_NS + 10**9))
    return path


def test_fingerprint_tells_files_apart(path: Path) -> None:
    assert fingerprint(path) == (3, NEW_YEAR_NS + 10**9)
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) == (3, 1)
    assert fingerprint(path.with_name("gone")) is None


def test_check_job_tells_missing_from_changed(path: Path) -> None:
    mtime = path.stat().st_mtime_ns
    known = FileJob(str(path), (), 3, mtime)
    assert check_job(known) == known
    assert check_job(FileJob(str(path), ())) == known
    for job, failure in [
        (FileJob(str(path), (), 4, mtime), FailureClass.CHANGED),
        (FileJob(str(path), (), 3, mtime + 1), FailureClass.CHANGED),
        (FileJob(str(path.with_name("b.mp4")), (), 3, mtime), FailureClass.MISSING),
        (FileJob(str(path / "b.mp4"), (), 3, mtime), FailureClass.MISSING),
    ]:
        with pytest.raises(VideoError) as caught:
            check_job(job)
        assert caught.value.failure is failure
        assert "STORE" not in caught.value.message  # there may be none yet


@pytest.mark.parametrize(
    ("size_bytes", "mtime_ns", "told"),
    [
        (4, None, "expected the size at listing, 4 bytes; got 3 bytes"),
        (3, NEW_YEAR_NS, r"time at listing, 2026-01-01 00:00:00 UTC; got 2026-01-01 00:00:01 UTC\. Try again"),
        (3, NEW_YEAR_NS + 10**9 + 5, "2026-01-01 00:00:01.000000005 UTC; got 2026-01-01 00:00:01 UTC"),
        (3, 10**30, "time at listing, 1000000000000000000000000000000 ns; got"),
    ],
)
def test_check_job_tells_a_person_what_changed(path: Path, size_bytes: int, mtime_ns: int | None, told: str) -> None:
    with pytest.raises(VideoError, match=told):
        check_job(FileJob(str(path), (), size_bytes, mtime_ns))
