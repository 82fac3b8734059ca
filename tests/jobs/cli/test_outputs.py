"""No command replaces a file that it did not write unless told to, and never an input."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gebd.metric.predictions import write_predictions
from gebd.metric.tracks import Track, write_tracks
from jobs.cli.outputs import OutputFile, check_outputs, is_predictions, is_scores, with_listed_videos
from schemas.errors import UsageError


def check(*outputs: OutputFile, inputs: Sequence[Path] = (), force: bool = False) -> list[str]:
    said: list[str] = []
    check_outputs(outputs, inputs, force=force, notify=said.append)
    return said


def own(path: Path) -> OutputFile:
    return OutputFile(path, lambda data: data == b"own")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own").write_bytes(b"own")
    (tmp_path / "foreign").write_bytes(b"foreign")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part").write_bytes(b"foreign")
    return tmp_path


def test_new_files_and_earlier_outputs_may_be_written(place: Path) -> None:
    for name in ("new", "own", "folder/new"):
        assert check(own(place / name), inputs=[place / "foreign", place / "nothing", place / "folder"]) == []


def test_foreign_files_are_replaced_by_force_alone_which_says_so(place: Path) -> None:
    with pytest.raises(UsageError, match=r"foreign exists and cannot be recognised as such\. .* or --force to replace"):
        check(own(place / "foreign"))
    (said,) = check(own(place / "foreign"), force=True)
    assert str(place / "foreign") in said and "7 bytes" in said and "replaced" in said
    with pytest.raises(UsageError, match="--force"):
        check(OutputFile(place / "own"))


@pytest.mark.parametrize("kind", ["itself", "link", "hard link", "below", "relative"])
@pytest.mark.parametrize("force", [False, True])
def test_inputs_are_never_replaced(kind: str, force: bool, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "folder")
    (place / "link").symlink_to(place / "own")
    (place / "hard").hardlink_to(place / "own")
    (place / "other").symlink_to(place / "folder")
    out, read = {
        "itself": (place / "own", place / "own"),
        "link": (place / "link", place / "own"),
        "hard link": (place / "own", place / "hard"),
        "below": (place / "other" / "part", place / "folder"),
        "relative": (Path("../own"), place / "link"),
    }[kind]
    with pytest.raises(UsageError, match="expected a file that is not read for --out") as refusal:
        check(own(out), inputs=[read], force=force)
    assert "--force" not in str(refusal.value)


def test_two_outputs_are_two_files(place: Path) -> None:
    scores = OutputFile(place / "folder" / ".." / "new", option="--scores")
    with pytest.raises(UsageError, match="expected two files for --out and --scores"):
        check(OutputFile(place / "new"), scores, force=True)


def test_folders_devices_and_links_to_nothing_are_no_files(place: Path) -> None:
    (place / "dangling").symlink_to(place / "nothing")
    os.mkfifo(place / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(UsageError, match="is a folder or a device"):
            check(OutputFile(place / name), force=True)
    with pytest.raises(UsageError, match="Make it first"):
        check(OutputFile(place / "nowhere" / "new"))
    with pytest.raises(UsageError, match="dangling exists"):
        check(own(place / "dangling"))
    assert check(own(place / "dangling"), force=True)


def test_all_is_checked_before_anything_is_said(place: Path) -> None:
    said: list[str] = []
    with pytest.raises(UsageError):
        check_outputs([OutputFile(place / "foreign"), OutputFile(place / "folder")], [], force=True, notify=said.append)
    assert said == []


def test_predictions_and_scores_are_recognised_by_their_layout(tmp_path: Path) -> None:
    write_predictions({"é": [1, 0.1 + 0.2], "b": []}, tmp_path / "p.json")
    write_tracks({"a": Track(np.arange(3) / 3, np.arange(3) / 7)}, tmp_path / "s.json")
    p, s = ((tmp_path / name).read_bytes() for name in ("p.json", "s.json"))
    assert is_predictions(p) and is_scores(s) and not is_predictions(s) and not is_scores(p)
    others = [
        json.dumps(json.loads(p)).encode(),
        p.rstrip(),
        p + b"\n",
        b'{\n "a": [\n  1\n ]\n}\n',
        b"",
        b"[]\n",
        b"\xff",
    ]
    assert not any(is_predictions(data) or is_scores(data) for data in (*others, pickle.dumps({"a": [1.0]})))


def test_videos_of_a_table_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path\nvideos/a.mp4\n")
    listed = [tmp_path / "table.csv", tmp_path / "videos" / "a.mp4"]
    assert with_listed_videos(tmp_path / "table.csv") == listed
    assert with_listed_videos(tmp_path) == [tmp_path] and with_listed_videos(None) == []
    (tmp_path / "table.csv").write_text("")
    assert with_listed_videos(tmp_path / "table.csv") == listed[:1]
