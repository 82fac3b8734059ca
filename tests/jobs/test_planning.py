"""What `plan` says and how it ends, from plans that need no video."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jobs.devices import Workers
from jobs.planning import Plan
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
    workers=Workers(extractors=1, decoders=2, threads=2, gpu=False, batch_frames=16),
    decode_seconds=8.0,
    network_seconds=5.0,
)
BAD = (("gone.mp4", "missing", "gone.mp4 does not exist (any more): restore it, or leave it out"),)


@pytest.fixture
def planned(call: Call, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exit code and lines of a command whose plan is `PLAN` with these fields."""

    def run(*command: Any, **fields: Any) -> tuple[int, list[str]]:
        monkeypatch.setattr("jobs.cli.extract.plan_videos", lambda *_: replace(PLAN, **fields))
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
