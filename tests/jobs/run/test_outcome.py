from __future__ import annotations

from datetime import UTC, datetime

import pytest

from extractor.pipeline.messages import ItemDone
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.outcome import Outcome
from jobs.stores.standing import Standing
from jobs.workers.events import ShardProgress, StageSeconds
from schemas.errors import FailureClass
from schemas.records import Failure

CPU, GPU = (Placement((Workers(1, 2, 1, gpus),)) for gpus in (0, 1))


def outcome(stored: int, failed: int, total: int, **fields: object) -> Outcome:
    """An outcome of `total` videos; those neither stored nor failed are left."""
    ids = [str(number) for number in range(total)]
    after = Standing(
        done=stored,
        failed=dict.fromkeys(ids[stored : stored + failed], ("corrupt", "broken")),
        left=total - stored - failed,
        shards_left=int(stored + failed < total),
    )
    made = Outcome(CPU, **fields)  # type: ignore[arg-type]
    made.end(after)
    return made


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (outcome(3, 0, 3), 0),
        (outcome(0, 0, 0), 0),
        (outcome(2, 1, 3), 2),
        (outcome(0, 3, 3), 2),
        (outcome(2, 0, 3), 1),
        (outcome(1, 1, 3), 1),
        (outcome(3, 0, 3, given_up=("shard-00000",)), 1),
        (outcome(1, 0, 3, interrupted=True), 130),
        (outcome(1, 1, 3, interrupted=True, given_up=("shard-00000",)), 130),
    ],
)
def test_exit_code_says_how_it_ended(made: Outcome, code: int) -> None:
    assert made.exit_code == code


def test_progress_is_counted() -> None:
    made = Outcome(CPU)
    made.start_clock()
    finished = (ItemDone("a", 2, 16), Failure("b", FailureClass.CORRUPT, "broken"), ItemDone("c", 1, 8))
    made.add(ShardProgress("shard-00000", "x", finished=finished, seconds=StageSeconds(1, 2, 3, 4, 5)))
    made.add(ShardProgress("shard-00001", "y", finished=(ItemDone("d", 1, 9),), seconds=StageSeconds(network=1)))
    assert (made.done, made.failed, made.clips, made.frames) == (3, 1, 4, 33)
    assert made.seconds == StageSeconds(1, 2, 4, 4, 5)
    assert 0 < made.wall_seconds < 60


def test_what_is_made_again_is_settled_once() -> None:
    made = Outcome(CPU, Standing(done=1, failed={"b": ("corrupt", "")}, left=2, again=frozenset("a")))
    again = (ItemDone("a", 1, 8), ItemDone("c", 1, 8), ItemDone("c", 1, 8), Failure("d", FailureClass.CORRUPT, ""))
    made.add(ShardProgress("shard-00000", "x", finished=again))
    assert (made.settled, made.failed_so_far) == (4, 2)
    assert (made.done, made.failed) == (3, 1)


def test_unfinished_shards_count_though_all_their_videos_are_done() -> None:
    made = Outcome(CPU)
    made.end(Standing(done=1, shards_left=1))
    assert (made.complete, made.exit_code) == (False, 1)


def test_workers_are_those_that_there_are_now() -> None:
    made = Outcome(CPU)
    made.staff(Placement((*CPU.groups, *GPU.groups)), 7)
    made.staff(Placement(()), 0)  # all nodes are gone
    assert (made.workers.extractors, made.decoders) == (2, 7)


def test_bottleneck_goes_by_the_extractors_of_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("jobs.run.outcome.time.monotonic", lambda: now)
    made = Outcome(GPU, done=1, seconds=StageSeconds(network=20, write=70, waiting=1))
    made.start_clock()
    now = 80.0  # of one extractor, for which the writer was busy all the time
    made.staff(Placement(GPU.groups * 20), 2)
    now = 80.1
    made.add(ShardProgress("shard-00000", "x"))
    assert (found := made.bottleneck()) is not None and found.stage == "write"


def test_bottleneck_is_unknown_where_nothing_was_done() -> None:
    assert Outcome(CPU, done=1, wall_seconds=60.0).bottleneck() is None
    assert Outcome(CPU, seconds=StageSeconds(network=5), wall_seconds=60.0).bottleneck() is None


@pytest.mark.parametrize(("seconds", "told"), [(0.0, False), (7.0, False), (29.0, False), (30.0, True), (5000.0, True)])
def test_bottleneck_is_unknown_after_a_short_run(seconds: float, told: bool) -> None:
    made = Outcome(CPU, done=3, seconds=StageSeconds(network=5), wall_seconds=seconds)
    assert (made.bottleneck() is not None) == told


def test_one_line_is_one_line() -> None:
    assert outcome(2, 1, 3).one_line() == (
        "2 done, 1 failed, of 3 videos, 0 clips; this run 0 extracted, 0 failed in 0.0 s"
    )


def test_times_are_those_of_the_run() -> None:
    seconds = StageSeconds(1.0, 2.0, 3.0, 4.0, 5.0)
    made = Outcome(CPU, done=2, failed=1, frames=30, wall_seconds=8.0, seconds=seconds)
    times = made.times()
    assert (times.decode, times.transform, times.network, times.write, times.waiting) == (1, 2, 3, 4, 5)
    assert (times.done, times.failed, times.frames, times.wall_seconds) == (2, 1, 30, 8.0)
    assert times.began_utc < datetime.now(UTC).isoformat()
