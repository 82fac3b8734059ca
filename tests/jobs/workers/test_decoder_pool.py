"""The pool with fake decoders that do what a file's name says: work, refuse, die, hang, grow."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder_pool import DecoderPool, FileEvent
from schemas.errors import FailureClass, ResourceError, VideoError
from schemas.records import Decoded, FileJob, FrameChunk, Header, Item, PixelGrid, Restart, VideoInfo
from tests.jobs.workers.pool.events import events_of, file_events

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray", "fakes_by_value")]

CHUNKS = 3
SILENCE_SECONDS = 1.0
SWELL_BYTES = 700 * 1024**2
INFO = VideoInfo("h264", "mp4", 64, 64, 0, 25.0, 2 * CHUNKS, 0.0, 0.25)


class FakeDecoder:
    """Has the methods of `jobs.workers.decoder.Decoder`. A file's name is its behaviour, then "@" and anything."""

    def __init__(self) -> None:
        self.files: list[tuple[str, str]] = []
        self.events: Iterator[Any] | None = None

    def process_id(self) -> int:
        return os.getpid()

    def next(self, files: Sequence[tuple[FileJob, str]] = ()) -> list[Any]:
        self.files += [(job.path, distrust) for job, distrust in files]
        if self.events is None:
            if not self.files:
                return []
            self.events = self.decode(*self.files.pop(0))
        event = next(self.events)
        if isinstance(event, Decoded | VideoError):
            self.events = None
        return [event]

    def decode(self, path: str, distrust: str) -> Iterator[Any]:
        kind = Path(path).name.partition("@")[0]
        early, late = kind.removesuffix("_late"), kind.endswith("_late")
        if not late:
            self.misbehave(early, path)
        yield Header(INFO, PixelGrid(1, 1, 0, 0), ())
        yield chunk(0)
        if late:
            self.misbehave(early, path)
        if kind == "refused":
            self.events = None
            yield VideoError(FailureClass.CORRUPT, "a sentence about the file")
        for number in range(1, CHUNKS):
            yield chunk(number)
        yield Decoded("fake", str(os.getpid()), distrust)

    def misbehave(self, kind: str, path: str) -> None:
        if kind.startswith("once_"):
            if Path(path).exists():
                return
            Path(path).touch()
            kind = kind.removeprefix("once_")
        match kind:
            case "raises":
                self.events = None
                raise RuntimeError("a decoder's own words")
            case "dies":
                os._exit(1)
            case "hangs":
                time.sleep(600)
            case "swells":
                self.held = np.ones(SWELL_BYTES, np.uint8)
                time.sleep(600)


def chunk(number: int) -> FrameChunk:
    index = np.array([2 * number, 2 * number + 1])
    return FrameChunk(index, np.full((2, 8, 8, 3), number, np.uint8), np.ones(2, bool))


def job(name: str, folder: Path | str = "/nowhere") -> FileJob:
    return FileJob(f"{folder}/{name}", (Item(name),))


Pools = Callable[..., DecoderPool]


@pytest.fixture
def pools() -> Iterator[Pools]:
    """Makes pools; `spawned` lists the decoders of a pool."""
    made = []

    def make(count: int = 1, most: int = 3, **limits: Any) -> DecoderPool:
        def spawn(asks: bool) -> Any:
            actors.append(ray.remote(FakeDecoder).options(num_cpus=0, max_restarts=0).remote())
            return actors[-1]

        actors: list[Any] = []
        limits = {"silence_seconds": 30.0, "memory_bytes": 8 * 1024**3} | limits
        pool = DecoderPool(spawn, count, DecoderLimits(**limits), count, most)
        pool.spawned = actors  # type: ignore[attr-defined]
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


def kinds(events: list[FileEvent]) -> list[type]:
    return [type(event.event) for event in events]


WHOLE = [Header, *[FrameChunk] * CHUNKS, Decoded]
BEGUN = [Header, FrameChunk]


def tries(events: list[FileEvent]) -> list[list[type]]:
    """What each decoder told of a file: a Restart parts them."""
    found: list[list[type]] = [[]]
    for kind in kinds(events):
        if kind is Restart:
            found.append([])
        else:
            found[-1].append(kind)
    return found


def begun(told: list[type], kind: str) -> bool:
    """Whether a decoder told what it had read before it ended: one that dies may take its last answers with it."""
    return told == BEGUN or ("dies" in kind and told == BEGUN[: len(told)])


def test_pool_yields_every_file_whole_and_in_order(pools: Pools) -> None:
    jobs = [job(f"good@{i}") for i in range(7)]
    found = events_of(pools(2), jobs)
    assert found.keys() == set(jobs)
    for events in found.values():
        assert kinds(events) == WHOLE
        assert [e.event.index[0] for e in events[1:-1]] == [0, 2, 4]
        assert {e.attempts for e in events} == {1}


def test_pool_runs_one_batch_after_another(pools: Pools) -> None:
    pool = pools(1)
    for batch in range(3):
        assert kinds(events_of(pool, [job(f"good@{batch}")])[job(f"good@{batch}")]) == WHOLE
    assert events_of(pool, []) == {}
    assert len(pool.spawned) == 1


def test_refused_file_is_not_tried_again(pools: Pools) -> None:
    found = events_of(pools(1), [job("refused@"), job("good@")])
    assert kinds(found[job("refused@")]) == [*BEGUN, VideoError]
    last = found[job("refused@")][-1]
    assert (last.event.failure, last.event.message, last.attempts) == (
        FailureClass.CORRUPT,
        "a sentence about the file",
        1,
    )
    assert kinds(found[job("good@")]) == WHOLE


CRASHES = [
    ("raises", FailureClass.DECODER_CRASHED, "a decoder's own words"),
    ("dies", FailureClass.DECODER_CRASHED, "died"),
    ("hangs", FailureClass.TIMED_OUT, "returned nothing"),
    ("swells", FailureClass.OUT_OF_MEMORY, "0.4 GiB"),
]
FAST = ("dies", "hangs_late", "swells")


@pytest.mark.parametrize(
    ("kind", "failure", "word", "late"),
    [
        pytest.param(*crash, late, marks=[] if crash[0] + late in FAST else pytest.mark.slow, id=crash[0] + late)
        for crash in CRASHES
        for late in ("", "_late")
    ],
)
def test_file_that_ends_its_decoder_fails_after_two_tries(
    kind: str, failure: FailureClass, word: str, late: str, pools: Pools
) -> None:
    silence = SILENCE_SECONDS if kind == "hangs" else 8.0
    pool = pools(1, silence_seconds=silence, memory_bytes=int(0.4 * 1024**3))
    events = events_of(pool, [job(kind + late), job("good@")])
    *before, (*told, end) = tries(events[job(kind + late)])
    assert end is VideoError
    assert all(begun(one, kind) for one in [*before, told]) if late else not before and not told
    last = events[job(kind + late)][-1]
    assert (last.event.failure, last.attempts) == (failure, 2)
    assert word in last.event.message
    assert kinds(events[job("good@")]) == WHOLE
    assert {event.attempts for event in events[job("good@")]} == {1}


@pytest.mark.parametrize("kind", ["once_dies_late", pytest.param("once_hangs_late", marks=pytest.mark.slow)])
def test_file_that_ends_its_decoder_once_is_whole_in_the_end(kind: str, pools: Pools, tmp_path: Path) -> None:
    one = job(f"{kind}@", tmp_path)
    events = events_of(pools(1, silence_seconds=SILENCE_SECONDS), [one])[one]
    *before, whole = tries(events)
    assert whole == WHOLE
    assert len(before) <= 1
    assert all(begun(told, kind) for told in before)
    assert [event.attempts for event in events[-len(WHOLE) :]] == [2] * len(WHOLE)
    assert events[-1].event.fallback_reason, "the next decoder is told that the first one ended"


def test_files_behind_a_deadly_one_are_not_charged(pools: Pools) -> None:
    jobs = [job("dies@1"), job("good@1"), job("good@2"), job("good@3")]
    found = events_of(pools(1), jobs)
    for number in (1, 2, 3):
        assert kinds(found[job(f"good@{number}")]) == WHOLE
        assert {event.attempts for event in found[job(f"good@{number}")]} == {1}
    assert found[jobs[0]][-1].attempts == 2


@pytest.mark.slow
def test_every_file_ends_exactly_once_whatever_the_mixture(pools: Pools, tmp_path: Path) -> None:
    names = ["good", "refused", "raises_late", "dies", "dies_late", "once_dies_late", "good", "good", "once_raises"]
    jobs = [job(f"{name}@{i}", tmp_path) for i, name in enumerate(names)]
    random.Random(1).shuffle(jobs)
    found = events_of(pools(3), jobs)
    assert found.keys() == set(jobs)
    for one, events in found.items():
        ends = [isinstance(event.event, Decoded | VideoError) for event in events]
        assert ends == [False] * (len(ends) - 1) + [True]
        good = Path(one.path).name.startswith(("good", "once"))
        assert isinstance(events[-1].event, Decoded) is good


def test_decoders_are_replaced_after_so_many_files(pools: Pools) -> None:
    pool = pools(1, files=2)
    jobs = [job(f"good@{i}") for i in range(5)]
    found = events_of(pool, jobs)
    assert all(kinds(events) == WHOLE for events in found.values())
    processes = [found[one][-1].event.decoder_version for one in jobs]
    assert len(pool.spawned) == 3
    assert processes[0] == processes[1] != processes[2] == processes[3] != processes[4]


def test_slow_consumer_is_not_taken_for_a_silent_decoder(pools: Pools) -> None:
    """All decoders have an event ready most of the time; those that wait for the consumer are not charged."""
    jobs = [job(f"good@{i}") for i in range(4)]
    found = defaultdict(list)
    for event in file_events(pools(2, silence_seconds=0.8), jobs):
        found[event.job].append(event)
        time.sleep(0.2)
    assert {one: kinds(events) for one, events in found.items()} == dict.fromkeys(jobs, WHOLE)


def test_one_long_pause_of_the_consumer_is_not_charged(pools: Pools) -> None:
    jobs = [job(f"good@{i}") for i in range(4)]
    found = defaultdict(list)
    for event in file_events(pools(2, silence_seconds=1.0), jobs):
        if not found:
            time.sleep(1.5)
        found[event.job].append(event)
    assert {one: kinds(events) for one, events in found.items()} == dict.fromkeys(jobs, WHOLE)


@pytest.mark.slow
def test_long_file_may_be_silent_for_longer(pools: Pools) -> None:
    """By its size, before its duration is known."""
    large = FileJob("/nowhere/hangs@", (Item("large"),), size_bytes=200_000)
    small = FileJob("/nowhere/hangs@", (Item("small"),), size_bytes=0)
    pool = pools(2, silence_seconds=1.0)
    ends = {event.job: event.event.message for event in file_events(pool, [small, large])}
    assert ends == {
        small: "the decoder returned nothing for 1 s",
        large: "the decoder returned nothing for 3 s",
    }


def test_drain_finishes_the_files_at_hand_and_begins_no_other(pools: Pools) -> None:
    pool = pools(2)
    jobs = [job(f"good@{i}") for i in range(10)]
    found: dict[FileJob, list[FileEvent]] = defaultdict(list)
    for event in file_events(pool, jobs):
        pool.drain()
        found[event.job].append(event)
    assert 1 <= len(found) <= 2
    assert all(kinds(events) == WHOLE for events in found.values())
    assert events_of(pool, jobs) == {}


@pytest.mark.slow
def test_withdrawn_files_are_not_handed_out_and_the_next_ones_run(pools: Pools) -> None:
    pool = pools(1)
    jobs = [job(f"good-{k}") for k in range(9)]
    begun: set[FileJob] = set()
    for event in file_events(pool, jobs):
        begun.add(event.job)
        if len(begun) > 1:
            pool.withdraw(jobs)
    assert 2 <= len(begun) <= 4
    assert set(events_of(pool, [job("good-next")])) == {job("good-next")}


def test_files_added_meanwhile_run_behind_the_others(pools: Pools) -> None:
    pool = pools(1)
    order: list[str] = []
    for event in file_events(pool, [job("good@1"), job("good@2")]):
        if isinstance(event.event, Header) and not order:
            pool.add([job("good@3")])
        if isinstance(event.event, Decoded):
            order.append(Path(event.job.path).name)
    assert order == ["good@1", "good@2", "good@3"]


def test_drain_does_not_begin_a_deadly_file_again(pools: Pools) -> None:
    pool = pools(1)
    seen = []
    for event in file_events(pool, [job("dies_late@"), job("good@")]):
        pool.drain()
        seen.append(type(event.event))
    assert begun([kind for kind in seen if kind is not Restart], "dies")
    assert Restart not in seen[:-1]


def test_decoder_that_died_while_idle_costs_no_file(pools: Pools) -> None:
    pool = pools(1)
    first = events_of(pool, [job("good@1")])[job("good@1")]
    os.kill(int(first[-1].event.decoder_version), signal.SIGKILL)
    time.sleep(1.0)
    events = events_of(pool, [job("good@2")])[job("good@2")]
    assert kinds(events) == WHOLE
    assert {event.attempts for event in events} == {1}


class _Unanswering(FakeDecoder):
    """Dies whenever it is asked who it is: a process that cannot start."""

    def process_id(self) -> int:
        os._exit(1)


class _Unimportable(FakeDecoder):
    """Its libraries are broken."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'av'")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (_Unanswering, "Is there enough memory"),
        (_Unimportable, r"\(ModuleNotFoundError: No module named 'av'\). Mend that"),
    ],
)
def test_decoders_that_never_start_end_the_run_and_are_given_no_file(kind: type, told: str) -> None:
    pool = DecoderPool(lambda asks: ray.remote(kind).options(num_cpus=0).remote(), 1, DecoderLimits(), 1, 1)
    with pytest.raises(ResourceError, match=rf"expected decoders to start; 5 in a row did not .*{told}"):
        list(file_events(pool, [job("good@")]))
    pool.close()


class _Answers:
    """An actor's handle that lists in `asked` which of its methods were called, and whether it had answered by then."""

    def __init__(self, actor: Any, asked: list[tuple[str, bool]]) -> None:
        self._actor, self._asked = actor, asked
        self._identity = actor.process_id.remote()

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self._asked.append((name, bool(ray.wait([self._identity], timeout=0)[0])))
            return getattr(self._actor, name).remote(*arguments)

        return SimpleNamespace(remote=remote)


def test_no_file_is_sent_to_a_decoder_that_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its death would be taken for a failed start: a file that kills at once would end the run."""
    monkeypatch.setattr(ray, "kill", lambda handle: None)
    asked: list[tuple[str, bool]] = []
    pool = DecoderPool(
        lambda asks: _Answers(ray.remote(FakeDecoder).options(num_cpus=0).remote(), asked), 2, DecoderLimits(), 2, 2
    )
    assert kinds(events_of(pool, [job("dies@"), job("good@")])[job("dies@")]) == [VideoError]
    assert [early for name, early in asked if name != "process_id"].count(False) == 0


def test_pool_grows_as_far_as_it_may_and_gives_up_all_decoders_but_one(pools: Pools) -> None:
    pool = pools(1)
    assert pool.resize(-1) == 0, "the first one stays"
    assert pool.resize(2) == 0, "the first one starts"
    list(file_events(pool, [job("good@first")]))
    assert pool.resize(9) == 2
    assert pool.resize(1) == 0, "others are asked for already"
    found: dict[FileJob, list[FileEvent]] = defaultdict(list)
    largest, added = 1, 0
    for event in file_events(pool, [job("good@")]):
        found[event.job].append(event)
        largest = max(largest, pool.size)
        if isinstance(event.event, Header) and added < 5000 and largest < 3:  # more files until all have started
            added += 1
            pool.add([job(f"good@{added}")])
        elif pool.size == 3:
            pool.add(job(f"good@last{number}") for number in range(9))
            assert pool.resize(-5) == -2
    assert (largest, pool.size) == (3, 1)
    assert {tuple(kinds(events)) for events in found.values()} == {tuple(WHOLE)}
    assert len(found) == 1 + added + 9
