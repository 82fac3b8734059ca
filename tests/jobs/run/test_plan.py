"""Output and exit code of `plan`, for plans made without videos."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError

from extractor.video.probing import ProbedItem
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run import plan as planning
from jobs.run.plan import Plan
from schemas.errors import FailureClass, ResourceError, VideoError, WeightsError
from schemas.records import FileJob, Item
from tests.jobs.conftest import Call

PLAN = Plan(
    files=3,
    items=3,
    bad=(),
    duplicates=(),
    skipped="",
    video_seconds=9.0,
    frames=90,
    network_frames=90,
    clips=12,
    store_bytes=1000,
    workers=Placement((Workers(extractors=1, decoders=2, threads=1, gpus=1, batch_frames=16),)),
    decoded=2,
    decode_seconds=8.0,
    network_seconds=5.0,
)
BAD = (("gone.mp4", "missing", "gone.mp4 does not exist (any more): restore it, or leave it out"),)


@pytest.fixture
def planned(call: Call, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exit code and lines of a command whose plan is `PLAN` with these fields."""

    def run(*command: Any, **fields: Any) -> tuple[int, list[str]]:
        monkeypatch.setattr("jobs.run.plan.plan", lambda *_: replace(PLAN, **fields))
        code, out, _ = call(*command)
        return code, [" ".join(line.split()) for line in out.splitlines()]

    return run


def test_decoding_and_network_run_side_by_side_in_a_plan() -> None:
    assert PLAN.wall_seconds == 5.0
    assert replace(PLAN, decode_seconds=12.0).wall_seconds == 6.0
    assert replace(PLAN, decode_seconds=None).wall_seconds == 5.0


def test_plan_says_of_its_time_what_was_measured(planned: Any) -> None:
    lines = planned("plan", "videos")[1]
    assert any(line.startswith("time about 5.0 s with 1 extractor") for line in lines)
    lines = planned("plan", "videos", decode_seconds=None)[1]
    assert any(line.startswith("time at least 5.0 s with 1 extractor") for line in lines)
    assert "decode not measured none of the files tried was decoded" in lines
    assert "network 5.0 s one extractor" in lines


def test_plan_says_what_would_help(planned: Any) -> None:
    assert "longest" not in " ".join(planned("plan", "videos")[1])  # of some seconds there is nothing to gain
    told = " ".join(planned("plan", "videos", network_seconds=500.0)[1])
    assert "What would take longest is network: --dtype float16" in told
    told = " ".join(planned("plan", "videos", decode_seconds=500.0)[1])
    assert "What would take longest is decode: more cores for decoders would help" in told
    assert "longest" not in " ".join(planned("plan", "videos", decode_seconds=None, network_seconds=500.0)[1])


def test_plan_says_how_little_was_decoded(planned: Any) -> None:
    told = " ".join(planned("plan", "videos", files=2000, items=2000, decoded=3)[1])
    assert "3 of 2000 files were decoded, to measure the speed; of the others only the structure was read: more" in told
    told = " ".join(planned("plan", "videos", decoded=1)[1])
    assert "1 of 3 files was decoded" in told
    told = " ".join(planned("plan", "videos", decoded=0, decode_seconds=None)[1])
    assert "0 of 3 files were decoded" in told
    assert "may turn out bad" not in " ".join(planned("plan", "videos", decoded=3)[1])


def test_plan_of_nothing_that_can_be_extracted_tells_no_time(planned: Any) -> None:
    nothing = {
        "files": 1,
        "items": 1,
        "frames": 0,
        "network_frames": 0,
        "clips": 0,
        "decoded": 0,
        "network_seconds": 0.0,
    }
    _, lines = planned("plan", "videos", bad=BAD, decode_seconds=0.0, video_seconds=0.0, store_bytes=0, **nothing)
    assert "time none there is nothing to extract" in lines
    assert not any("about" in line or "decoded," in line for line in lines)


GOOD, BROKEN, SEGMENTED = (FileJob(f"/{name}.mp4", (Item(name),), 1, 1) for name in ("good", "broken", "segmented"))


class Trying:
    """Stands in for a decoder: returns how decoding each file ended; `None` means that the process died."""

    def __init__(self, endings: dict[FileJob, Any]) -> None:
        self.endings = endings
        self.next = SimpleNamespace(remote=self._next)

    def _next(self, files: list[tuple[FileJob, str]]) -> Any:
        ((job, _),) = files
        ending = self.endings[job]
        return None if ending is None else [ending]


def decoded(seconds: float) -> Any:
    return SimpleNamespace(decode_seconds=seconds, transform_seconds=0.0)


def test_file_that_fails_while_it_is_tried_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(event: Any, timeout: float) -> Any:
        if event is None:
            raise ray.exceptions.ActorDiedError
        return event

    monkeypatch.setattr("jobs.run.plan.ray.get", get)
    monkeypatch.setattr("jobs.run.plan.Decoded", SimpleNamespace)
    probed = {
        job: [ProbedItem(job.items[0].video_id, num_frames=5, num_clips=1, native_frames=10, pixels=pixels)]
        for job, pixels in ((GOOD, 1), (BROKEN, 2), (SEGMENTED, 3))
    }
    error = VideoError(FailureClass.CORRUPT, "it is broken")
    found = planning._try_decoding(probed, Trying({BROKEN: error, SEGMENTED: decoded(6.0)}))
    assert (found.decoded, found.failed) == (1, {BROKEN: error})
    assert found.seconds == pytest.approx(6.0 * (10 + 30) / 30)
    assert found.judged(GOOD, probed[GOOD]) == probed[GOOD]
    (bad,) = found.judged(BROKEN, probed[BROKEN])
    assert (bad.video_id, bad.failure, bad.message, bad.num_frames) == ("broken", "corrupt", "it is broken", 0)
    died = planning._try_decoding(probed, Trying({BROKEN: None}))
    assert (died.decoded, died.failed, died.seconds) == (0, {}, None)


@pytest.mark.parametrize("command", [("plan", "videos"), ("extract", "videos", "--out", "store", "--dry-run")])
def test_plan_ends_with_2_where_extract_would(command: tuple[str, ...], planned: Any) -> None:
    assert planned(*command)[0] == 0
    code, lines = planned(*command, bad=BAD)
    assert code == 2
    assert any(line.startswith("bad: gone.mp4 (missing): ") for line in lines)


def test_plan_says_what_of_a_table_goes_into_the_manifest(planned: Any) -> None:
    assert "columns carried" not in " ".join(planned("plan", "videos")[1])
    told = "columns carried into the manifest: label"
    assert planned("plan", "videos", columns=told)[1][-1] == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RayTaskError("f", "a traceback", WeightsError("they do not fit")), (WeightsError, "^they do not fit$")),
        (
            RayTaskError("f", "a traceback", RuntimeError("no memory\nand more")),
            (ResourceError, "got RuntimeError: no memory. Try a"),
        ),
        (ray.exceptions.WorkerCrashedError(), (ResourceError, "its process died")),
    ],
)
def test_network_is_timed_with_the_resources_of_an_extractor(
    error: Exception, told: tuple[type[Exception], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster the GPU may be on another node; what goes wrong there is told in one sentence."""
    asked: list[dict[str, Any]] = []

    def options(**fields: Any) -> Any:
        asked.append(fields)
        return SimpleNamespace(remote=lambda *_: None)

    def get(reference: object) -> None:
        raise error

    monkeypatch.setattr("jobs.run.plan.ray.remote", lambda _: SimpleNamespace(options=options))
    monkeypatch.setattr("jobs.run.plan.ray.get", get)
    kind, message = told
    with pytest.raises(kind, match=message):
        planning._timed(SimpleNamespace(), Workers(2, 4, 1, 0.5))  # type: ignore[arg-type]
    assert asked == [{"num_cpus": 2, "num_gpus": 0.5, "max_retries": 0}]
