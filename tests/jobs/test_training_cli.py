"""`msnet weights train`: what it writes and says, going on after Ctrl-C, and what it refuses."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

from extractor.models.loading import load_model
from jobs.cli.training import _Display
from tests.jobs.conftest import Call
from training.train import Progress

_CONFIG = """
model = "msnet_resnet18"
num_segments = 4
textures = 4
shapes = 4
evaluate_every_steps = 100
evaluation_clips = 2
evaluation_size_px = 64
[[stages]]
name = "only"
steps = 3
frames_per_step = 8
size_px = 64
num_frames = [4]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(_CONFIG)
    return path


def test_train_writes_a_checkpoint_and_says_where(call: Call, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, said, told = call("weights", "train", "--config", config, "--out", out, "--device", "cpu")
    assert code == 0
    assert f"checkpoint: {out / 'model.safetensors'}" in said
    assert "step 1 of 3 (only" in told and "held out, after step 3" in told and "error_cells" in told
    assert max(map(len, told.splitlines())) <= 80
    assert load_model("msnet_resnet18", weights=out / "model.safetensors").spec.weights_kind == "msnet"
    rows = csv.DictReader((out / "losses.csv").read_text().splitlines())
    assert [row["step"] for row in rows] == ["1", "2", "3"]


def test_train_stopped_by_ctrl_c_goes_on_where_it_was(
    call: Call, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = _Display.show

    def interrupted(display: _Display, progress: Progress) -> None:
        show(display, progress)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_Display, "show", interrupted)
    arguments = ("weights", "train", "--config", config, "--out", tmp_path / "run", "--device", "cpu")
    code, said, told = call(*arguments)
    assert code == 130 and "the same command goes on" in told and "checkpoint" in said
    monkeypatch.setattr(_Display, "show", show)
    code, _, told = call(*arguments)
    assert code == 0 and "step 2 of 3" in told and "step 1 of 3" not in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--config", "missing.toml"), "expected a TOML file, or default or miniature"),
        (("--config", "miniature", "--model", "resnet"), "resnet"),
        (("--config", "miniature", "--seed", "1000000"), "seed"),
        (("--config", "miniature", "--weights", "missing.pth"), "missing.pth"),
        (("--config", "miniature", "--device", "gpu"), "GPU"),
    ],
)
def test_train_refuses_in_a_sentence(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.devices.count_gpus", lambda: 0)
    code, said, told = call("weights", "train", "--out", tmp_path / "run", *arguments)
    assert code == 1 and not said
    assert expected in " ".join(told.split()) and "Traceback" not in told
    assert not (tmp_path / "run/model.safetensors").exists()
