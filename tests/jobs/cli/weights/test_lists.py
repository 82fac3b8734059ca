"""`msnet weights join`: what it prints, its exit codes, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import Call
from tests.videos import write_video


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for name, frames in (("run/a", 12), ("run/b", 4), ("walk/c", 12)):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames=frames)
    return tmp_path / "videos"


@pytest.mark.parametrize("columns", [80, 50])
def test_join_reports_a_folder_for_each_class(
    call: Call, classes: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, said, _ = call("weights", "join", classes, "--probe")
    assert code == 0 and "a folder for each class" in said
    assert "looked into" in said and "3 files" in said and "run/b.mp4" in said
    assert max(map(len, said.splitlines())) <= columns


def test_join_counts_what_is_missing_and_what_is_broken(call: Call, classes: Path) -> None:
    (classes / "walk/d.mp4").write_bytes(b"no video \x1b[2J")
    names = classes.parent / "list.txt"
    names.write_text("run/a 0\nwalk/c 1\nwalk/d 1\ngone 1\n")
    code, said, _ = call("weights", "join", classes, names, "--probe")
    assert code == 2 and "gone" in said and "1 cannot_open" in said and "walk/d.mp4" in said and "\x1b" not in said
    assert call("weights", "join", classes, names)[1] == call("weights", "join", classes, "--labels", names)[1]


def test_join_refuses_two_training_lists(call: Call, classes: Path, tmp_path: Path) -> None:
    code, said, told = call("weights", "join", classes, tmp_path / "a", "--labels", tmp_path / "b")
    assert (code, said) == (1, "") and "expected one training list" in told and len(told.splitlines()) == 1
