"""An attempt at a shard: which files it hands to decoders, and what it says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extractor.store import write_run
from extractor.store.commits.run import Run
from jobs.workers.attempt import ShardAttempt
from jobs.workers.decoder_pool import FileEvent
from jobs.workers.events import ShardTask
from schemas.errors import FailureClass, VideoError
from schemas.layout import StorePaths
from schemas.records import Decoded, Failure, FileJob, Header, Item, PixelGrid, VideoInfo
from schemas.tensors import NetworkShape
from tests.extractor.pipeline.truth import make_config


def film(name: str, *starts: float | None) -> FileJob:
    """A file with a segment of ten seconds at each of these seconds."""
    items = (Item(f"{name}_{start}", start, None if start is None else start + 10) for start in starts)
    return FileJob(name, tuple(items), 1000, 7, 25.0)


def attempt_at(root: Path, *jobs: FileJob, decoder: str = "auto", one_by_one: bool = False) -> ShardAttempt:
    """An attempt that has begun, at a shard of these files."""
    config = make_config(sampling="windows", num_frames=4, size=32, outputs=("clip",), decoder=decoder)
    paths = StorePaths(root)
    run = write_run(paths, Run(config, NetworkShape(512, 512, 0, (4, 4)), "none", 10**9, "/nowhere", "2026-01-01"))
    task, feeder = ShardTask("shard-00000", "token", jobs, one_by_one), None
    untyped: Any = feeder
    attempt = ShardAttempt(task, paths, run, untyped, lambda message: None)
    attempt.begin()
    return attempt


def test_an_attempt_hands_out_its_files_as_they_are(tmp_path: Path) -> None:
    jobs = [film("a.mp4", *range(0, 3600, 600)), film("b.mp4", 0)]
    attempt = attempt_at(tmp_path, *jobs)
    assert attempt.take_files() == jobs
    assert not attempt.take_files()
    for job in jobs:
        assert not attempt.done
        attempt.handle(FileEvent(job, VideoError(FailureClass.CORRUPT, "it is damaged")))
    assert attempt.cancel() == []


def test_an_attempt_hands_out_one_file_at_a_time_if_they_run_one_by_one(tmp_path: Path) -> None:
    jobs = [film("a.mp4", *range(0, 3600, 600)), film("b.mp4", 0)]
    assert attempt_at(tmp_path, *jobs, one_by_one=True).take_files() == jobs[:1]


@pytest.mark.parametrize(("flags", "told"), [(("long", "from_start"), True), (("long", "jumps"), False)])
def test_the_log_says_which_file_was_decoded_from_its_start(tmp_path: Path, flags: tuple[str, ...], told: bool) -> None:
    attempt = attempt_at(tmp_path, film("a.mp4", 3000))
    (job,) = attempt.take_files()
    info = VideoInfo("h264", "mov", 64, 64, 0, 25.0, 90_000, 0.0, 3600.0)
    header = Header(info, PixelGrid(1, 1, 0, 0), (Failure("a.mp4_3000", FailureClass.TOO_SHORT, "too short"),))
    attempt.handle(FileEvent(job, header))
    attempt.handle(FileEvent(job, Decoded("av", "18", flags=flags)))
    attempt.report()
    report: Any = attempt.events.get()
    assert any("decoded from its start" in note for note in report.notes) is told
