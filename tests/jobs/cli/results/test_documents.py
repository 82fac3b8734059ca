"""`--json`: documents that are what docs/scripting.md says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.plan import Plan
from schemas.layout import StorePaths
from tests.jobs.conftest import Call

DOCS = (Path(__file__).parents[4] / "docs" / "scripting.md").read_text()
COMMON = {"command", "format", "version"}


def described(command: str) -> set[str]:
    """The fields that the documentation of a command begins its points and clauses with."""
    section = DOCS.split(f"\n### {command}\n", 1)[1].split("\n### ", 1)[0]
    found: set[str] = set()
    for point in re.findall(r"^\* (.*(?:\n  .*)*)", section, re.MULTILINE):
        for clause in point.split("; "):
            names = re.match(r"((?:`\w+`(?:, )?)+)", clause)
            found |= set(re.findall(r"`(\w+)`", names[0])) if names else set()
    return found


def document(call: Call, *arguments: Any, code: int = 0) -> dict[str, Any]:
    found, out, _ = call(*arguments, "--json")
    assert found == code
    content = json.loads(out)
    assert isinstance(content, dict) and content.keys() >= COMMON
    return content


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("status",), 0), (("report",), 0), (("verify",), 0), (("verify", "--deep"), 0)],
)
def test_documents_of_a_store_have_the_fields_of_the_docs(
    call: Call, store: StorePaths, arguments: tuple[str, ...], code: int
) -> None:
    command, *options = arguments
    found = document(call, command, store.root, *options, code=code)
    assert found["command"] == command
    assert found.keys() - COMMON == described(command)


def test_the_status_counts(call: Call, store: StorePaths) -> None:
    found = document(call, "status", store.root)
    assert found["videos"] == {"total": 5, "done": 4, "failed": 1, "staged": 0, "left": 0}
    assert found["shards"] == {"planned": 2, "committed": 2}
    assert found["complete"] and found["planned"] and found["clips"] == 8 and not found["at_work"]


def test_a_video_a_failed_one_and_all_ids(call: Call, store: StorePaths) -> None:
    assert document(call, "show", store.root)["videos"] == ["a.mp4", "b.mp4", "c/d.mp4", "e.mp4"]
    video, failed = (document(call, "show", store.root, name) for name in ("a.mp4", "bad.mp4"))
    assert video.keys() - COMMON == failed.keys() - COMMON == described("show")
    assert len(video["clips"]) == 2 and video["failure"] is None
    assert {"name", "shape", "dtype", "smallest", "mean", "largest"} == video["tensors"][0].keys()
    assert failed["failure"].keys() == {"failure", "message"} and failed["clips"] == failed["tensors"] == []


def test_the_report_lists_failures_and_what_is_odd(call: Call, store: StorePaths) -> None:
    found = document(call, "report", store.root)
    assert [one["video_id"] for one in found["failures"]] == ["bad.mp4"]
    assert sum(found["decoders"].values()) == 4
    assert all({"video_id", "value"} == one.keys() for listed in found["odd"].values() for one in listed)


def test_damage_and_differences_end_with_1(call: Call, store: StorePaths, tmp_path: Path) -> None:
    same = document(call, "compare", store.root, store.root)
    assert same["equal"] and same.keys() - COMMON == described("compare")
    shard = next(store.shards.glob("*.h5"))
    shard.write_bytes(shard.read_bytes()[:-1])
    found = document(call, "verify", store.root, "--keep", code=1)
    assert not found["clean"]
    assert found["damages"][0].keys() == {"shard", "file", "dataset", "message"}


def test_a_plan(call: Call, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Placement((Workers(1, 1, 1, 0),))
    found = Plan(1, 1, (("a.mp4", "corrupt", "no"),), (), "", 1.0, 10, 10, 1, 5, workers, 0, None, 0.5)
    monkeypatch.setattr("jobs.run.plan.plan", lambda *_: found)
    content = document(call, "plan", videos, code=2)
    assert content.keys() - COMMON == described("plan")
    assert content["bad"] == [{"video_id": "a.mp4", "failure": "corrupt", "message": "no"}]
    assert content["decode_seconds"] is None
    assert document(call, "extract", videos, "--out", "s", "--dry-run", code=2) == content
    code, out, err = call("extract", videos, "--out", "s", "--json")
    assert (code, out) == (1, "") and "--dry-run" in err


def test_boundaries(call: Call, store: StorePaths, tmp_path: Path) -> None:
    truth = {"a.mp4": {"duration_seconds": 1.6, "boundaries_seconds": [[0.8]]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps({"a.mp4": [0.8]}))
    joined = document(call, "gebd", "join", store.root, tmp_path / "truth.json")
    assert joined.keys() - COMMON == described("gebd join")
    assert joined["joined"] == [{"annotation": "a.mp4", "video_id": "a.mp4", "rule": "video id"}]
    judged = document(call, "gebd", "evaluate", tmp_path / "found.json", tmp_path / "truth.json", "--resamples", 10)
    assert judged.keys() - COMMON == described("gebd evaluate")
    assert judged["methods"]["method"]["average_f1"] == 1.0


def test_foreign_text_stays_text_and_moves_no_cursor(call: Call, store: StorePaths) -> None:
    code, out, _ = call("show", store.root, "a.mp4", "--json")
    assert code == 0 and out.isascii()
