from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from extractor.store import commit_shard, new_attempt, read_run, write_inventory, write_run
from jobs.cluster.devices import Workers
from jobs.cluster.options import DecoderLimits
from jobs.workers import extractor as extractor_actor
from jobs.workers.events import ShardCommitted
from jobs.workers.extractor import Extractor, ExtractorSettings, ShardTask
from schemas.layout import StorePaths
from schemas.records import FileJob, Item
from tests.extractor.store.making import make_inventory, make_run, stage

VIDEOS = ("a.mp4", "b.mp4")


class SlowPool:
    """Decoders that work until the batch is settled; meanwhile another attempt commits the shard."""

    waiting_seconds = 0.0

    def __init__(self, commit: Callable[[], object]) -> None:
        self.batches: list[list[FileJob]] = []
        self.notes: list[str] = []
        self._commit = commit

    def run(self, jobs: Iterable[FileJob], is_settled: Callable[[], bool]) -> Iterator[None]:
        self.batches.append(list(jobs))
        self._commit()
        for _ in range(10**6):
            if is_settled():
                return
            yield None
        raise AssertionError("nobody looked at the commit record")


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_shard_that_another_attempt_commits_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, one_by_one: bool
) -> None:
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    write_inventory(paths, make_inventory([VIDEOS]))
    other = new_attempt(paths, read_run(paths), "shard-00000", "token")

    def commit() -> None:
        for video_id in VIDEOS:
            stage(other, video_id)
        commit_shard(other, VIDEOS)

    monkeypatch.setattr(extractor_actor, "NetworkRunner", lambda *args, **options: None)
    monkeypatch.setattr(extractor_actor, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(extractor_actor._ShardAttempt, "flush", lambda self: None)
    settings = ExtractorSettings(paths, read_run(paths), "random", Workers(1, 1, 1, False, 8), DecoderLimits())
    extractor, pool = Extractor(settings), SlowPool(commit)
    extractor._network, extractor._pool = None, pool  # type: ignore[assignment]
    if before:
        commit()
    jobs = tuple(FileJob(name, (Item(name, None, None),), None, None, None) for name in VIDEOS)
    events = list(extractor.run_shard(ShardTask("shard-00000", "token", jobs, one_by_one)))
    assert events[-1] == ShardCommitted("shard-00000", False)
    assert bool(pool.batches) is not before
