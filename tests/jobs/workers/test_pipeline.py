"""The loop of an extractor with decoders and a network that cost nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from extractor.pipeline.devices import StandInDevice
from extractor.store import FeatureStore, commit_shard, new_attempt, staged_items, write_run
from extractor.store.commits.run import Run
from jobs.cluster.devices import Workers
from jobs.workers import attempt as attempts
from jobs.workers.attempt import ShardAttempt
from jobs.workers.decoder_pool import FileEvent
from jobs.workers.events import ShardCommitted, ShardProgress, ShardTask
from jobs.workers.pipeline import Pipeline
from jobs.workers.writer import spawn_writer
from schemas.errors import FailureClass, StorageError, VideoError
from schemas.layout import StorePaths, shard_name
from schemas.records import DecodingEvent, FileJob, Item
from schemas.tensors import NetworkShape
from tests.extractor.pipeline.truth import events_of, make_config, make_frames, make_plan
from tests.extractor.store.making import stage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

FRAMES = 12
CONFIG = make_config(sampling="windows", num_frames=4, size=32, outputs=("clip", "frame"))


class Decoders:
    """A pool whose files are made here: one event a turn. `gate` holds up all files that begin after it is set."""

    def __init__(self) -> None:
        self.files: deque[FileJob] = deque()
        self.begun: list[str] = []
        self.warm = True
        self.notes: list[str] = []
        self.gate = threading.Event()
        self.draining = False
        self._current: tuple[FileJob, Iterator[DecodingEvent]] | None = None

    @property
    def idle(self) -> bool:
        return not self.files and self._current is None

    @property
    def hungry(self) -> bool:
        return not self.files

    def add(self, jobs: Iterable[FileJob]) -> None:
        self.files += jobs

    def withdraw(self, jobs: Collection[FileJob]) -> None:
        self.files = deque(job for job in self.files if job not in jobs)

    size = 1
    shares = False

    def ahead(self, ready: Collection[Any]) -> bool:
        return False

    def drain(self) -> None:
        self.draining = True

    def awaited(self) -> list[Any]:
        time.sleep(0.001)
        return []

    def poll(self, ready: Collection[Any]) -> Iterator[FileEvent]:
        if self.draining:
            self.files.clear()
        if self._current is None and self.files and not self.gate.is_set():
            job = self.files.popleft()
            self.begun.append(job.path)
            frames = make_frames(FRAMES, side=32)
            plans = [make_plan(FRAMES, CONFIG, item) for item in job.items]
            self._current = job, events_of(frames, plans, chunks=(4,))
        if self._current is not None:
            job, events = self._current
            event = next(events, None)
            if event is None:
                self._current = None
            elif Path(job.path).name == "bad.mp4":
                self._current = None
                yield FileEvent(job, VideoError(FailureClass.CORRUPT, "it is bad"))
            else:
                yield FileEvent(job, event)


@pytest.fixture(scope="module")
def network() -> MSNet:
    found = load_model("tsm_resnet18", weights="random")
    assert isinstance(found, MSNet)
    return found


class Rig:
    """A store, a pipeline, and what its shards said."""

    def __init__(self, root: Path, network: MSNet) -> None:
        self.paths = StorePaths(root)
        self.paths.root.mkdir(exist_ok=True)
        shape = NetworkShape(512, 512, 0, (4, 4))
        run = Run(CONFIG, shape, "none", 10**9, "/nowhere", "2026-01-01T00:00:00+00:00")
        self.run = write_run(self.paths, run)
        self.decoders = Decoders()
        self.writer = spawn_writer()
        workers = Workers(1, 1, 1, 0, 16)
        pool: Any = self.decoders
        self.pipeline = Pipeline(self.paths, self.run, network, StandInDevice(10_000.0), pool, self.writer, workers)
        self.pipeline.start()

    def begin(self, number: int, *names: str, **fields: Any) -> ShardAttempt:
        jobs = tuple(FileJob(f"/nowhere/{name}.mp4", (Item(f"{number}/{name}"),)) for name in names)
        return self.pipeline.begin(ShardTask(shard_name(number), "token", jobs, **fields))

    def ids(self, number: int, *names: str) -> list[str]:
        return [f"{number}/{name}" for name in names]


@pytest.fixture
def rig(tmp_path: Path, network: MSNet) -> Iterator[Rig]:
    made = Rig(tmp_path / "store", network)
    yield made
    ray.kill(made.writer)


def events(shard: ShardAttempt) -> list[Any]:
    found: list[Any] = []
    while (event := shard.events.get(timeout=60)) is not None:
        found.append(event)
        if isinstance(event, Exception):
            break
    return found


def finished(found: list[Any]) -> list[str]:
    return [done.video_id for event in found if isinstance(event, ShardProgress) for done in event.finished]


def test_a_shard_is_extracted_and_committed(rig: Rig) -> None:
    found = events(rig.begin(0, "a", "bad", "c"))
    assert found[-1] == ShardCommitted("shard-00000", True)
    assert sorted(finished(found)) == ["0/a", "0/bad", "0/c"]
    assert [path for event in found[:-1] for path in event.started] == [f"/nowhere/{n}.mp4" for n in ("a", "bad", "c")]
    assert sum(event.seconds.network for event in found[:-1]) == pytest.approx(2 * FRAMES / 10_000)
    assert sum(event.seconds.write for event in found[:-1]) > 0
    store = FeatureStore(rig.paths.root)
    assert set(store.manifest["video_id"]) == {"0/a", "0/c"}
    assert store.video("0/a")["index"].tolist() == list(range(FRAMES))
    store.close()


def test_files_of_the_next_shard_begin_before_this_one_is_committed(rig: Rig) -> None:
    rig.decoders.gate.set()
    first, second = rig.begin(0, "a", "b"), rig.begin(1, "c")
    rig.decoders.gate.clear()
    assert events(first)[-1] == ShardCommitted("shard-00000", True)
    assert events(second)[-1] == ShardCommitted("shard-00001", True)
    assert rig.decoders.begun == [f"/nowhere/{name}.mp4" for name in "abc"]


def test_a_shard_says_when_its_last_files_have_begun(rig: Rig) -> None:
    found = events(rig.begin(0, "a", "b", "c"))
    told = [event.last_files for event in found if isinstance(event, ShardProgress)]
    assert told[-1] and told == sorted(told), "once said, it stays so"


def test_files_run_one_by_one_each_when_the_last_is_durable(rig: Rig) -> None:
    found = events(rig.begin(0, "a", "b", "c", one_by_one=True))
    assert found[-1] == ShardCommitted("shard-00000", True)
    at_hand: list[str] = []
    for event in found[:-1]:
        for _ in event.finished:
            at_hand.pop()
        for path in event.started:
            assert not at_hand, "the one before is durable"
            at_hand.append(path)
        assert not event.last_files, "no other shard may join it"


@pytest.mark.parametrize("alone_first", [False, True])
def test_a_shard_that_runs_one_by_one_shares_the_extractor_with_no_other(rig: Rig, alone_first: bool) -> None:
    rig.decoders.gate.set()
    shards = [rig.begin(0, "a", "b", one_by_one=alone_first), rig.begin(1, "c", "d", one_by_one=not alone_first)]
    rig.decoders.gate.clear()
    for shard in shards:
        assert isinstance(events(shard)[-1], ShardCommitted)
    assert rig.decoders.begun == [f"/nowhere/{name}.mp4" for name in "abcd"]


def test_files_that_killed_their_extractors_fail_untried(rig: Rig) -> None:
    error = VideoError(FailureClass.EXTRACTOR_CRASHED, "it kills")
    found = events(rig.begin(0, "a", "killer", poisonous=(("/nowhere/killer.mp4", error),)))
    assert found[-1] == ShardCommitted("shard-00000", True)
    failed = [done for event in found[:-1] for done in event.finished if done.video_id == "0/killer"]
    assert [(one.failure, one.message) for one in failed] == [(FailureClass.EXTRACTOR_CRASHED, "it kills")]
    assert rig.decoders.begun == ["/nowhere/a.mp4"]


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_a_shard_that_another_attempt_commits_is_left_to_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, before: bool, one_by_one: bool
) -> None:
    monkeypatch.setattr(attempts, "_LOOK_SECONDS", 0.0)

    def commit() -> None:
        other = new_attempt(rig.paths, rig.run, "shard-00000", "token")
        for video_id in rig.ids(0, "a", "b"):
            stage(other, video_id)
        assert commit_shard(other, rig.ids(0, "a", "b")) == "won"

    rig.decoders.gate.set()
    if before:
        commit()
    shard = rig.begin(0, "a", "b", one_by_one=one_by_one)
    if not before:
        commit()
    assert events(shard)[-1] == ShardCommitted("shard-00000", False)
    assert rig.decoders.begun == []


def test_what_is_staged_is_not_extracted_again(rig: Rig) -> None:
    stage(new_attempt(rig.paths, rig.run, "shard-00000", "token"), "0/a")
    assert events(rig.begin(0, "a", "b"))[-1] == ShardCommitted("shard-00000", True)
    assert rig.decoders.begun == ["/nowhere/b.mp4"]


def test_drain_finishes_the_files_at_hand_and_commits_nothing(rig: Rig) -> None:
    rig.decoders.gate.set()
    shard = rig.begin(0, "a", "b", "c")
    rig.decoders.gate.clear()
    while not rig.decoders.begun:
        time.sleep(0.001)
    rig.pipeline.drain()
    found = events(shard)
    assert not any(isinstance(event, ShardCommitted) for event in found)
    durable = staged_items(rig.paths, rig.run, "shard-00000")
    assert sorted(durable) == sorted(finished(found))
    assert len(durable) == len(rig.decoders.begun) < 3


def test_a_writer_that_dies_ends_the_shards_with_a_reason(rig: Rig) -> None:
    rig.decoders.gate.set()
    shard = rig.begin(0, "a", "b")
    ray.kill(rig.writer)
    rig.decoders.gate.clear()
    (error,) = [event for event in events(shard) if isinstance(event, Exception)]
    assert "writer's process died" in str(error)
    with pytest.raises(RuntimeError, match="writer's process died"):
        rig.begin(1, "c")


class _FullDisk:
    """Stages nothing: there is no room."""

    def process_id(self) -> int:
        return 0

    def begin(self, attempt: Any) -> None: ...

    def write(self, messages: Any) -> None:
        raise StorageError("expected room on the disk; it is full")


def test_an_error_of_the_storage_ends_the_shards_as_it_is(rig: Rig) -> None:
    """So that the driver tells it to the user, and does not take it for a crash."""
    rig.pipeline._writer = ray.remote(_FullDisk).options(num_cpus=0).remote()
    (error,) = [event for event in events(rig.begin(0, "a")) if isinstance(event, Exception)]
    assert type(error) is StorageError
