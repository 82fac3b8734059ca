"""The pool with a long file that its decoders share: fakes that die, doubt and refuse, and real ones."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder_pool import DecoderPool, FileEvent
from schemas.errors import FailureClass, VideoError
from schemas.records import Ask, Decoded, FileJob, FrameChunk, Header, Item, ItemPlan, PixelGrid, Restart, VideoInfo
from tests.jobs.workers.pool.events import events_of, file_events

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray", "fakes_by_value")]

STRETCHES, SAMPLED = 60, 4
SECONDS = 0.02  # that a stretch takes


def header(stretches: int) -> Header:
    index = np.arange(STRETCHES * SAMPLED)
    plan = ItemPlan("film", index, index / 10.0, np.array([len(index)]), np.array([[0, len(index)]]))
    info = VideoInfo("h264", "mp4", 64, 64, 0, 25.0, len(index), 0.0, 3600.0, flags=("long",))
    return Header(info, PixelGrid(1, 1, 0, 0), (plan,), stretches, "inspection")


def chunk(stretch: int) -> FrameChunk:
    index = np.arange(stretch * SAMPLED, (stretch + 1) * SAMPLED)
    return FrameChunk(index, np.full((SAMPLED, 8, 8, 3), stretch, np.uint8), np.ones(SAMPLED, bool), last=True)


class FilmDecoder:
    """Has the methods of `jobs.workers.decoder.Decoder`. The name of a file says what becomes of it.

    "film" is shared, "short" is not; files beside a film say that a process began it, and that another helps. All but
    "film" wait for that. Of some one decoder does something: the one that began ("began_...") or another ("helps_...").
    """

    def __init__(self) -> None:
        self.files: list[FileJob] = []
        self.job: FileJob | None = None
        self.next_stretch = self.answers = 0

    def process_id(self) -> int:
        return os.getpid()

    def next(
        self, files: Sequence[tuple[FileJob, str]] = (), ask: Ask | None = None, inspection: object = None
    ) -> list[Any]:
        self.files += [job for job, _ in files]
        if self.job is None:
            if ask is not None or not self.files:
                return []
            return [self.begin(self.files.pop(0), inspection)]
        if self.is_shared and ask is None:
            return []
        time.sleep(SECONDS)
        self.answers += 1
        if self.is_shared and self.began and self.answers == 5 and self.name != "film":
            self.await_help(f"{self.job.path}.helped")
        if ask is None:
            ask = Ask(self.next_stretch if self.next_stretch < self.count else None)
            self.next_stretch += 1
        answer = self.misbehaves() or (self.end() if ask.stretch is None else chunk(ask.stretch))
        if not isinstance(answer, FrameChunk):
            self.job = None
        return [answer]

    def begin(self, job: FileJob, inspection: object) -> Header | VideoError:
        self.name = Path(job.path).name.partition("@")[0]
        self.job, self.next_stretch, self.answers = job, 0, 0
        self.is_shared = job.shared and self.name != "short"
        self.count = 2 if self.name == "short" else STRETCHES
        self.began = True
        if self.is_shared:
            try:
                os.close(os.open(f"{job.path}.began", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                self.began = False
            assert self.began is (inspection is None)
        if not self.began:
            Path(f"{job.path}.helped").touch()
        if self.name == "helps_refuses" and not self.began:
            self.job = None
            return VideoError(FailureClass.CANNOT_OPEN, "the cache is full")
        if self.name == "helps_differs" and not self.began:
            return header(STRETCHES - 1)
        return header(STRETCHES if self.is_shared else 1)

    def await_help(self, sign: str) -> None:
        deadline = time.monotonic() + 50.0
        while not Path(sign).exists() and time.monotonic() < deadline:
            time.sleep(SECONDS)

    def misbehaves(self) -> Restart | VideoError | None:
        """At the fifth answer, once, or always ("_always")."""
        who, _, what = self.name.partition("_")
        assert self.job is not None
        if who not in ("began", "helps") or self.answers < 5 or (who == "began") is not self.began:
            return None
        if not what.endswith("_always"):
            try:
                os.close(os.open(f"{self.job.path}.done", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return None
        match what.removesuffix("_always"):
            case "dies":
                os._exit(1)
            case "hangs":
                time.sleep(600)
            case "doubts":
                return Restart("a keyframe is not what it seems")
            case "damaged":
                return VideoError(FailureClass.CORRUPT, "a sentence about the file")
        return None

    def end(self) -> Decoded:
        return Decoded("fake", str(os.getpid()), decode_seconds=1.0, flags=("long",))


def job(name: str, folder: Path) -> FileJob:
    return FileJob(f"{folder}/{name}", (Item(name),))


Pools = Callable[..., DecoderPool]


@pytest.fixture
def pools() -> Iterator[Pools]:
    made: list[DecoderPool] = []

    def make(count: int, most: int | None = None, **limits: Any) -> DecoderPool:
        def spawn(asks: bool) -> Any:
            return ray.remote(FilmDecoder).options(num_cpus=0, max_restarts=0).remote()

        made.append(DecoderPool(spawn, count, DecoderLimits(**limits), count, most or count))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def last_try(events: list[FileEvent], count: int = STRETCHES) -> Decoded:
    """The end of a file that is whole: all frames in order, behind its last restart."""
    restarts = [number for number, event in enumerate(events) if isinstance(event.event, Restart)]
    first, *chunks, end = (event.event for event in events[restarts[-1] + 1 if restarts else 0 :])
    assert isinstance(first, Header)
    assert all(isinstance(one, FrameChunk) for one in chunks)
    assert np.concatenate([one.index for one in chunks]).tolist() == list(range(count * SAMPLED))
    assert [int(one.frames[0, 0, 0, 0]) for one in chunks] == list(range(count))
    assert isinstance(end, Decoded)
    return end


def reasons(events: list[FileEvent]) -> list[str]:
    return [event.event.reason for event in events if isinstance(event.event, Restart)]


@pytest.mark.parametrize("decoders", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_decoders_without_a_file_help_with_a_film(pools: Pools, tmp_path: Path, decoders: int) -> None:
    one = job("film_helped", tmp_path)
    events = events_of(pools(decoders), [one])[one]
    end = last_try(events)
    assert 2 <= end.decode_seconds <= decoders, "a second of each"
    assert (end.flags, end.fallback_reason) == (("long",), "")
    assert not reasons(events)
    assert {event.attempts for event in events} == {1}


@pytest.mark.parametrize("who", [pytest.param("began", marks=pytest.mark.slow), "helps"])
def test_a_death_costs_one_attempt_and_one_decoder_decodes_the_file_alone(
    pools: Pools, tmp_path: Path, who: str
) -> None:
    one = job(f"{who}_dies", tmp_path)
    events = events_of(pools(3), [one])[one]
    assert reasons(events) == ["the decoder's process died"]
    assert last_try(events).decode_seconds == 1.0
    assert events[-1].attempts == 2


@pytest.mark.slow
def test_a_helper_that_hangs_costs_one_attempt(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job("helps_hangs", tmp_path)
    monkeypatch.setattr("jobs.workers.pool.slots.suggested_deadline_seconds", lambda *length, base_seconds: 1.0)
    events = events_of(pools(2), [one])[one]
    assert last_try(events).decode_seconds == 1.0
    assert events[-1].attempts == 2


@pytest.mark.slow
def test_a_film_that_kills_whoever_begins_it_fails_after_two_attempts(pools: Pools, tmp_path: Path) -> None:
    one, good = job("began_dies_always", tmp_path), job("short", tmp_path)
    found = events_of(pools(3), [one, good])
    last = found[one][-1]
    assert isinstance(last.event, VideoError)
    assert (last.event.failure, last.attempts) == (FailureClass.DECODER_CRASHED, 2)
    assert {event.attempts for event in found[good]} == {1}
    last_try(found[good], 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("helps_doubts", "a keyframe is not what it seems"),
        pytest.param("began_doubts", "a keyframe is not what it seems", marks=pytest.mark.slow),
        pytest.param("helps_damaged", "a sentence about the file", marks=pytest.mark.slow),
        pytest.param("helps_refuses", "the cache is full", marks=pytest.mark.slow),
        pytest.param("helps_differs", "decoders differ in how to share it", marks=pytest.mark.slow),
    ],
)
def test_a_doubt_costs_no_attempt_and_one_decoder_decodes_the_file_alone(
    pools: Pools, tmp_path: Path, name: str, reason: str
) -> None:
    one = job(name, tmp_path)
    events = events_of(pools(3), [one])[one]
    assert reasons(events) == [reason]
    end = last_try(events)
    assert (end.decode_seconds, end.fallback_reason, events[-1].attempts) == (1.0, "", 1)


def test_damage_that_the_decoder_finds_which_began_is_the_last_word(pools: Pools, tmp_path: Path) -> None:
    one, good = job("began_damaged", tmp_path), job("short", tmp_path)
    pool = pools(3)
    events = events_of(pool, [one])[one]
    assert not reasons(events)
    assert isinstance(events[-1].event, VideoError)
    assert (events[-1].event.message, events[-1].attempts) == ("a sentence about the file", 1)
    last_try(events_of(pool, [good])[good], 2)


def test_files_that_come_meanwhile_do_not_wait_for_the_film(pools: Pools, tmp_path: Path) -> None:
    film, shorts = job("film_helped", tmp_path), [job(f"short@{number}", tmp_path) for number in range(5)]
    pool = pools(2)
    found = defaultdict(list)
    finished: list[FileJob] = []
    added = False
    for event in file_events(pool, [film]):
        found[event.job].append(event)
        if isinstance(event.event, Decoded):
            finished.append(event.job)
        if not added and len(found[film]) > 8:
            added = True
            pool.add(shorts)
    assert set(finished) == {film, *shorts}
    assert finished[-1] == film
    assert last_try(found[film]).decode_seconds >= 2.0, "the helper came, went, and perhaps came back"
    for one in shorts:
        last_try(found[one], 2)


@pytest.mark.slow
def test_a_film_that_others_follow_is_decoded_by_one_as_long_as_they_last(pools: Pools, tmp_path: Path) -> None:
    jobs = [job("film", tmp_path), *(job(f"short@{number}", tmp_path) for number in range(40))]
    found = events_of(pools(2), jobs)
    assert last_try(found[jobs[0]]).decode_seconds <= 2.0
    for one in jobs[1:]:
        last_try(found[one], 2)


@pytest.mark.slow
def test_decoders_that_are_added_join(pools: Pools, tmp_path: Path) -> None:
    pool, film = pools(1, most=3), job("film_helped", tmp_path)
    events: list[FileEvent] = []
    for event in file_events(pool, [film]):
        events.append(event)
        if len(events) == 3:
            assert pool.shares
            assert pool.resize(2) == 2
    assert last_try(events).decode_seconds > 1.0


@pytest.mark.slow
def test_a_drained_pool_finishes_its_film(pools: Pools, tmp_path: Path) -> None:
    pool, film, other = pools(2), job("film", tmp_path), job("short", tmp_path)
    found = defaultdict(list)
    for event in file_events(pool, [film, other]):
        if not found:
            pool.drain()
        found[event.job].append(event)
    assert [*found] == [film]
    last_try(found[film])


@pytest.mark.slow
def test_what_is_not_due_stays_bounded_while_the_oldest_stretch_hangs(pools: Pools, tmp_path: Path) -> None:
    """The decoder that began the file is stopped; the other may only run ahead so far."""
    pool, film = pools(2), job("film_helped", tmp_path)
    events: list[FileEvent] = []
    ahead = 0
    for event in file_events(pool, [film]):
        events.append(event)
        heads = [slot for slot in pool._slots if slot.tasks and slot.tasks[0].shared]
        if len(heads) < 2 or ahead:
            continue
        (began,) = (slot for slot in heads if slot.tasks[0].began)
        shared = began.tasks[0].shared
        assert shared is not None
        assert began.process_id is not None
        os.kill(began.process_id, signal.SIGSTOP)
        for _ in range(20):
            if awaited := pool.awaited():
                events += pool.poll(ray.wait(awaited, num_returns=1, timeout=0.1)[0])
        ahead = shared._asked - shared._told
        os.kill(began.process_id, signal.SIGCONT)
    assert 3 <= ahead <= 6
    last_try(events)
