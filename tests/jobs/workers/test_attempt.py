"""An attempt at a shard: which files it hands to decoders, and the segments of long ones spread over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extractor.store import write_run
from extractor.store.commits.run import Run
from extractor.video.decoding import may_begin_late
from jobs.workers.attempt import ShardAttempt, ShardTask, spread
from jobs.workers.decoder_pool import FileEvent
from schemas.errors import FailureClass, VideoError
from schemas.layout import StorePaths
from schemas.records import Decoded, Failure, FileJob, Header, Item, PixelGrid, VideoInfo
from schemas.tensors import NetworkShape
from tests.extractor.pipeline.truth import make_config


def film(name: str, *starts: float | None) -> FileJob:
    """A file with a segment of ten seconds at each of these seconds."""
    items = (Item(f"{name}_{start}", start, None if start is None else start + 10) for start in starts)
    return FileJob(name, tuple(items), 1000, 7, 25.0)


def starts_of(jobs: list[FileJob]) -> list[list[float | None]]:
    return [[item.start_seconds for item in job.items] for job in jobs]


def anywhere(job: FileJob) -> bool:
    return True


def test_the_segments_of_one_long_file_are_spread_in_the_order_of_their_starts() -> None:
    job = film("a.mp4", 1800, 0, 3000, 600, 1200, 2400)
    parts = spread([job], 3, anywhere)
    assert starts_of(parts) == [[0, 600], [1200, 1800], [2400, 3000]]
    assert {(part.path, part.size_bytes, part.mtime_ns, part.fps) for part in parts} == {("a.mp4", 1000, 7, 25.0)}


@pytest.mark.parametrize(
    ("jobs", "decoders"),
    [
        ([film("a.mp4", 0, 1800)], 1),
        ([film("a.mp4", 0, 1800), film("b.mp4", 0, 1800)], 2),
        ([film("a.mp4", 0, 60, 120, 180)], 4),  # too short
        ([film("a.mp4", 1800)], 4),
        ([film("a.mp4", None)], 4),
        ([], 4),
    ],
)
def test_files_stay_whole_where_parts_would_not_help(jobs: list[FileJob], decoders: int) -> None:
    assert spread(jobs, decoders, anywhere) == jobs


def test_files_that_are_decoded_from_their_start_stay_whole() -> None:
    jobs = [film("a.avi", *range(0, 3600, 60)), film("b.mp4", *range(0, 1200, 60))]
    parts = spread(jobs, 4, lambda job: job.path.endswith(".mp4"))
    assert parts[0] == jobs[0]
    assert [part.path for part in parts] == ["a.avi", "b.mp4", "b.mp4", "b.mp4"]


def test_the_longest_file_is_split_first() -> None:
    parts = spread([film("a.mp4", *range(0, 600, 60)), film("b.mp4", *range(0, 3600, 60))], 5, anywhere)
    assert [part.path for part in parts] == ["a.mp4", "b.mp4", "b.mp4", "b.mp4", "b.mp4"]


@pytest.mark.parametrize("seed", range(20))
def test_every_item_is_in_one_part(seed: int) -> None:
    random = np.random.default_rng(seed)
    jobs = [
        film(f"{number}.mp4", *np.unique(random.uniform(0, 7200, int(random.integers(1, 65)))).tolist())
        for number in range(int(random.integers(1, 5)))
    ]
    decoders = int(random.integers(1, 17))
    parts = spread(jobs, decoders, anywhere)
    assert len(jobs) <= len(parts) <= max(decoders, len(jobs))
    assert all(part.items for part in parts)
    items = [(part.path, item) for part in parts for item in part.items]
    assert sorted(items, key=str) == sorted(((job.path, item) for job in jobs for item in job.items), key=str)


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


def test_an_attempt_hands_out_the_parts_of_a_long_file(tmp_path: Path) -> None:
    attempt = attempt_at(tmp_path, film("a.mp4", *range(0, 3600, 600)))
    parts = attempt.take_files(3)
    assert starts_of(parts) == [[0, 600], [1200, 1800], [2400, 3000]]
    assert not attempt.take_files(3)
    for part in parts:
        assert not attempt.done
        attempt.handle(FileEvent(part, VideoError(FailureClass.CORRUPT, "a.mp4 is damaged")))
    assert attempt.cancel() == []


@pytest.mark.parametrize("changes", [{"decoder": "pyav"}, {"decoder": "decord"}, {"one_by_one": True}])
def test_an_attempt_hands_out_whole_files_where_decoding_begins_at_their_start(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    job = film("a.mp4", *range(0, 3600, 600))
    assert attempt_at(tmp_path, job, **changes).take_files(3) == [job]


def test_decoding_may_begin_late_in_containers_with_dependable_stamps() -> None:
    config = make_config(sampling="windows", num_frames=4, size=32, outputs=("clip",))
    assert all(may_begin_late(f"/a/b.{suffix}", config) for suffix in ("mp4", "MKV", "ts", "webm", "mov"))
    assert not any(may_begin_late(f"/a/b{suffix}", config) for suffix in (".avi", ".mpg", ".flv", ""))
    assert not may_begin_late("/a/b.mp4", make_config(sampling="windows", num_frames=4, keep_corrupt=True))


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
