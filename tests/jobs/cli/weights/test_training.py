"""`msnet weights train`: what it writes and prints, resuming after Ctrl-C, and refusals."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest

from extractor.models.checkpoints.checkpoint import read_checkpoint
from extractor.models.loading import load_model
from jobs.cli.weights.progress import TrainingDisplay
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
    assert "step 1 of 3 (only" in told and "held out, after step 3" in told and "mean error, cells" in told
    assert max(map(len, told.splitlines())) <= 80
    assert load_model("msnet_resnet18", weights=out / "model.safetensors").spec.weights_kind == "msnet"
    rows = csv.DictReader((out / "losses.csv").read_text().splitlines())
    assert [row["step"] for row in rows] == ["1", "2", "3"]


def test_train_stopped_by_ctrl_c_resumes_where_it_stopped(
    call: Call, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = TrainingDisplay.show

    def interrupted(display: TrainingDisplay, progress: Progress) -> None:
        show(display, progress)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingDisplay, "show", interrupted)
    arguments = ("weights", "train", "--config", config, "--out", tmp_path / "run", "--device", "cpu")
    code, said, told = call(*arguments)
    assert code == 130 and "Run the same command again" in told and "checkpoint after 1 of 3 steps" in said
    assert "losses: " in said and "losses.csv" in said and "evaluations.csv" not in said and "held-out" not in said
    monkeypatch.setattr(TrainingDisplay, "show", show)
    code, _, told = call(*arguments)
    assert code == 0 and "step 2 of 3" in told and "step 1 of 3" not in told
    code, said, _ = call(*arguments)
    assert code == 0 and "trained to the end already" in said


def test_train_says_where_bfloat16_would_be_slow(
    call: Call, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cluster.machine.lacks_bfloat16", lambda: True)
    config.write_text(_CONFIG.replace("steps = 3", "steps = 1"))
    arguments = ("weights", "train", "--config", config, "--device", "cpu")
    assert "bfloat16" not in call(*arguments, "--out", tmp_path / "one")[2]
    assert "--precision float32 is faster" in call(*arguments, "--out", tmp_path / "two", "--precision", "bfloat16")[2]
    asked = read_checkpoint(tmp_path / "two/model.safetensors").metadata["recipe"]
    assert '"precision": "bfloat16"' in asked


def test_train_starts_from_the_bundled_weights(call: Call, config: Path, tmp_path: Path) -> None:
    code, _, told = call("weights", "train", "--config", config, "--out", tmp_path / "run", "--weights", "bundled")
    assert code == 0, told
    start = json.loads(read_checkpoint(tmp_path / "run/model.safetensors").metadata["recipe"])["start"]
    assert start["file"] == "msnet_resnet18.safetensors" and "recipe" in start


def test_train_keeps_out_of_a_folder_that_is_not_its_own(call: Call, config: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "walk.mp4").write_bytes(b"")
    code, said, told = call("weights", "train", "--config", config, "--out", videos)
    assert code == 1 and not said and "expected an empty folder or a training" in told
    assert [path.name for path in videos.iterdir()] == ["walk.mp4"]
    code, _, told = call("weights", "train", "--config", config, "--out", videos / "walk.mp4")
    assert code == 1 and "cannot be made a folder" in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--config", "missing.toml"), "expected a TOML file, or default or miniature"),
        (("--config", "miniature", "--model", "resnet"), "resnet"),
        (("--config", "miniature", "--seed", "1000000"), "seed"),
        (("--config", "miniature", "--weights", "missing.pth"), "missing.pth"),
        (("--config", "miniature", "--device", "gpu"), "GPU"),
        (("--config", "miniature", "--shares", "60"), "for each of 60 shares"),
        (("--config", "miniature", "--workers", "2"), "as many workers as a step has shares (1); got 2"),
        (
            ("--config", "graft"),
            "a network with an MS module to graft on it; got no weights",
        ),
        (
            ("--config", "miniature", "--size", "100"),
            "miniature with size_px 100 is not a valid training configuration",
        ),
        (("--epochs", "3"), "no --epochs with --task motion; got 3.0. Its stages count steps: set `steps` of each in"),
        (("--learning-rate", "3"), "got 3.0. Set `learning_rate` of each stage in a TOML file of your own (--config)"),
        (("--clips-per-share", "3"), "no --clips-per-share with --task motion; got 3. Use --shares"),
        (("--task", "contrast", "--shares", "3"), "with --task contrast; got 3. Use --clips-per-share"),
        (("--task", "classify"), "--videos with --task classify; got none"),
    ],
)
def test_train_refuses_with_a_message(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cluster.devices.count_gpus", lambda: 0)
    code, said, told = call("weights", "train", "--out", tmp_path / "run", *arguments)
    assert code == 1 and not said
    assert expected in " ".join(told.split()) and "Traceback" not in told
    assert not (tmp_path / "run/model.safetensors").exists()
