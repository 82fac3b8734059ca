from __future__ import annotations

from pathlib import Path

import pytest

from extractor.pipeline.files import ItemDone
from extractor.store import FeatureStore
from jobs.devices import Workers
from jobs.events import ShardProgress, StageSeconds
from jobs.outcome import Outcome
from schemas.errors import FailureClass
from schemas.manifest import empty_failures, empty_manifest, failures_frame
from schemas.records import Failure
from tests.extractor.store.making import make_store

CPU, GPU = Workers(1, 2, 1, False, 16), Workers(1, 2, 1, True, 256)


def outcome(stored: int, failed: int, total: int, **fields: object) -> Outcome:
    """Of `total` videos, what is neither stored nor failed is left."""
    made = Outcome(CPU, {str(number) for number in range(total)}, **fields)  # type: ignore[arg-type]
    made.videos_stored, made.videos_left = stored, total - stored - failed
    made.failures.update(["corrupt"] * failed)
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


def test_settle_counts_this_part_of_the_store_only(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "store").root)
    made = Outcome(CPU, {"a.mp4", "bad.mp4", "staged.mp4", "left.mp4"})
    made.settle(store.manifest, store.failures, {"staged.mp4", "left.mp4"}, {"staged.mp4"})
    assert (made.videos_stored, made.clips_stored, made.videos_staged, made.videos_left) == (1, 2, 1, 1)
    assert dict(made.failures) == {"corrupt": 1}
    assert (made.complete, made.exit_code) == (False, 1)
    made.settle(store.manifest, store.failures)
    assert (made.complete, made.exit_code) == (True, 2)


def test_failed_video_that_is_being_tried_again_counts_as_pending(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path / "store").root)
    made = Outcome(CPU, {"a.mp4", "bad.mp4"})
    made.settle(store.manifest, store.failures, {"bad.mp4"})
    assert (made.failures.total(), made.videos_left, made.exit_code) == (0, 1, 1)


def test_settle_of_an_empty_store() -> None:
    made = Outcome(CPU, {"a"})
    made.settle(empty_manifest(), empty_failures(), {"a"})
    assert made.exit_code == 1
    row = {"video_id": "a", "failure": "missing", "message": "", "attempts": 1, "seconds": 0.0, "shard": "shard-00000"}
    made.settle(empty_manifest(), failures_frame([row]))
    assert made.exit_code == 2


@pytest.mark.parametrize(
    ("workers", "seconds", "stage", "option"),
    [
        (CPU, StageSeconds(decode=9, transform=1, network=5, write=1, waiting=6), "decode", "--decoders 4"),
        (CPU, StageSeconds(decode=1, transform=9, network=5, write=1, waiting=6), "transform", "--decoders 4"),
        (CPU, StageSeconds(decode=9, network=5, write=1, waiting=1), "network", "a GPU"),
        (CPU, StageSeconds(decode=0.2, network=0.5, write=0.1, waiting=6), "network", "a GPU"),  # for the first video
        (GPU, StageSeconds(decode=9, network=5, write=1, waiting=1), "network", "--dtype float16"),
        (GPU, StageSeconds(network=2, write=5, waiting=1), "write", "--outputs"),
    ],
)
def test_bottleneck_names_the_stage_and_the_option(workers, seconds, stage, option) -> None:
    found = Outcome(workers, done=1, seconds=seconds).bottleneck()
    assert found is not None
    assert found.stage == stage
    assert option in found.advice


def test_bottleneck_is_unknown_where_nothing_was_done() -> None:
    assert Outcome(CPU, done=1).bottleneck() is None
    assert Outcome(CPU, seconds=StageSeconds(network=5)).bottleneck() is None


def test_one_line_is_one_line() -> None:
    assert outcome(2, 1, 3).one_line() == (
        "2 videos with 0 clips stored, 1 failed, of 3; this run 0 done, 0 failed in 0.0 s"
    )
