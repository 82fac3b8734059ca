"""Before any work, every command that writes a file refuses to replace one that it did not write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gebd import load_annotations, write_annotations
from tests.extractor.models.checkpoint_factory import random_state
from tests.gebd.boundary_stores import make_videos
from tests.jobs.conftest import Call, refused

COMMANDS: dict[str, tuple[str, ...]] = {  # their inputs exist, but are of no use to them
    "predict": ("gebd", "predict", "head", "STORE", "--annotations", "t.json"),
    "detect": ("gebd", "detect", "STORE", "--annotations", "t.json"),
    "evaluate": ("gebd", "evaluate", "p.json", "t.json"),
    "gebd convert": ("gebd", "convert", "t.json"),
    "plot video": ("gebd", "plot", "video", "STORE", "v", "--annotations", "t.json", "--videos", "table.csv"),
    "plot run": ("gebd", "plot", "run", "STORE", "--predictions", "p.json", "--annotations", "t.json"),
    "weights convert": ("weights", "convert", "t.json"),
    "weights evaluate": ("weights", "evaluate", "t.json", "--against", "head", "--real", "table.csv"),
    "picture": ("weights", "picture", "table.csv", "--at", "1", "--weights", "t.json"),
}
ALL = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the commands."""
    (tmp_path / "STORE").mkdir()
    for name in ("head", "p.json", "t.json", "v.mp4", "foreign", "STORE/run.json"):
        (tmp_path / name).write_text(f"{name}, not ours")
    (tmp_path / "table.csv").write_text("path\nv.mp4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@ALL
def test_foreign_files_are_refused_before_the_work(command: str, call: Call, place: Path) -> None:
    line = refused(call, place, *COMMANDS[command], "--out", "foreign")
    assert "foreign exists" in line and "or --force to replace it" in line


@ALL
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_inputs_are_refused_always(command: str, force: tuple[str, ...], call: Call, place: Path) -> None:
    (place / "link").symlink_to("t.json")
    arguments = COMMANDS[command]
    read = [name for name in arguments if (place / name).is_file()]
    read += ["link"] * ("t.json" in read) + ["v.mp4"] * ("table.csv" in read)
    read += ["STORE/run.json"] * ("STORE" in arguments)
    assert read
    for name in read:
        line = refused(call, place, *arguments, "--out", name, *force)
        assert "expected a file that is not read for --out" in line and "--force" not in line


@ALL
def test_help_tells_of_force(command: str, call: Call) -> None:
    commands = [word for word in COMMANDS[command][:3] if word in ("gebd", "weights", *command.split())]
    assert "--force" in call(*commands, "--help")[1]


@pytest.mark.parametrize("command", ["predict", "detect"])
def test_scores_are_guarded_too(command: str, call: Call, place: Path) -> None:
    said = {"foreign": "for --scores; foreign exists", "t.json": "for --scores; t.json is t.json"}
    for name, sentence in {**said, "new.json": "for --out and --scores; both are new.json"}.items():
        assert sentence in refused(call, place, *COMMANDS[command], "--out", "new.json", "--scores", name)


def test_earlier_outputs_of_gebd_are_replaced_and_altered_ones_are_not(call: Call, place: Path) -> None:
    make_videos(place / "MADE", 2, shards=1)
    write_annotations(make_videos(place / "OTHER", 2, shards=1)[1], place / "truth.json")
    commands: dict[str, tuple[Any, ...]] = {
        "found.json": ("detect", "MADE"),
        "plain.json": ("convert", "truth.json"),
        "report.json": ("evaluate", "found.json", "truth.json", "--resamples", 10),
        "timeline.png": ("plot", "video", "MADE", "v01.mp4"),
        "f1.png": ("plot", "run", "MADE", "--predictions", "found.json", "--annotations", "truth.json"),
    }
    for name, arguments in commands.items():
        for _ in range(2):
            assert call("gebd", *arguments, "--out", name)[0] == 0
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
        assert "--force" in refused(call, place, "gebd", *arguments, "--out", name)
        code, out, err = call("gebd", *arguments, "--out", name, "--force")
        assert (
            code == 0
            and name in out
            and err.startswith(f"--force: {name} (")
            and "will be replaced" in " ".join(err.split())
        )
        assert (place / name).read_bytes() == content
    for name, other in (("found.json", "report.json"), ("timeline.png", "f1.png"), ("report.json", "plain.json")):
        assert "--force" in refused(call, place, "gebd", *commands[name], "--out", other)
    assert load_annotations("plain.json").keys() == load_annotations("truth.json").keys()
    assert "seal" in json.loads((place / "report.json").read_text())
    assert "--force" in refused(call, place, "gebd", "convert", "plain.json", "--out", "truth.json")


def test_scores_and_submissions(call: Call, place: Path) -> None:
    make_videos(place / "MADE", 2, shards=1)
    options = ("gebd", "detect", "MADE", "--scores", "scores.json", "--out")
    assert call(*options, "found.pkl")[0] == 0
    assert call(*options, "found.json")[0] == 0
    assert "found.pkl exists and cannot be recognised" in refused(call, place, *options, "found.pkl")
    assert call(*options, "found.pkl", "--force")[0] == 0


def test_checkpoints_are_replaced_by_force_alone(call: Call, place: Path) -> None:
    torch.save(random_state("resnet18", motion=False), place / "a.pth")
    command = ("weights", "convert", "a.pth", "--out", "a.safetensors")
    assert call(*command)[0] == 0
    before = (place / "a.safetensors").read_bytes()
    assert "a.safetensors exists" in refused(call, place, *command)
    code, _, err = call(*command, "--licence", "mine", "--force")
    assert code == 0 and "a.safetensors" in err and (place / "a.safetensors").read_bytes() != before
