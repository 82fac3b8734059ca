"""The trainings that are compared: all losses, and each of them left out; by the product's command."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from extractor.models.checkpoints.bundled import RANDOM_WEIGHTS
from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from training.config import Share
from training.configurations import read_config
from training.group import Group
from training.labels.labelled import read_labelled_videos
from training.prepare import prepare
from training.tasks.contrast.networks import statistics_kept
from training.tasks.task import StepFinisher

LOSSES = ("intra_frame", "inter_frame", "clip", "order")
ALL = "all"
RUNS = (ALL, *(f"no_{name}" for name in LOSSES))
MODEL = "msnet_resnet18"
STARTS = ("bundled", "random")
SIZE_PX = 64
HELD_OUT_SHARE = 0.1

_CONFIG = """\
# The same for all trainings of benchmarks/contrast but for the loss that is left out.
task = "contrast"
model = "{model}"
num_segments = 4
epochs = {epochs}
clips_per_step = 16
clips_per_share = 16
learning_rate = 0.02
warmup_epochs = 0.5
queue = 64
key_momentum = 0.99
precision = "{precision}"
evaluate_every_epochs = 1

[views]
size_px = {size_px}
frame_stride = 2
least_area = 0.4
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of the benchmark lies, below `folder`; start: the first weights, one of STARTS."""

    folder: Path
    start: str

    @property
    def films(self) -> Path:
        """Videos without labels, to learn from."""
        return self.folder / "films"

    @property
    def motions(self) -> Path:
        """Videos of classes of motion (benchmarks.motion_classes), for a probe."""
        return self.folder / "videos"

    def run_of(self, name: str) -> Path:
        """The folder of a training."""
        return self.folder / "runs" / self.start / name

    def config_of(self, name: str) -> Path:
        """The configuration of a training."""
        return self.run_of(name).with_suffix(".toml")

    def checkpoint_of(self, name: str) -> Path:
        """What a training leaves."""
        return self.run_of(name) / "model.safetensors"


def train(place: Place, name: str, epochs: int, precision: str) -> None:
    """Train unless it is done; a training that was stopped goes on."""
    if place.checkpoint_of(name).exists():
        return
    text = _CONFIG.format(model=MODEL, epochs=epochs, precision=precision, size_px=SIZE_PX)
    if name != ALL:
        text += f"\n[losses]\n{name.removeprefix('no_')} = 0.0\n"
    place.run_of(name).parent.mkdir(parents=True, exist_ok=True)
    place.config_of(name).write_text(text, encoding="utf-8")
    arguments = ["weights", "train", "--task", "contrast", "--config", str(place.config_of(name))]
    arguments += ["--videos", str(place.films), "--validation-share", str(HELD_OUT_SHARE)]
    arguments += ["--out", str(place.run_of(name))]
    if place.start != RANDOM_WEIGHTS:
        arguments += ["--weights", place.start]
    print("msnet", *arguments, flush=True)
    code = subprocess.run([sys.executable, "-m", "msnet_features", *arguments], check=False).returncode
    if code:
        raise SystemExit(f"expected `msnet weights train` to succeed; it ended with {code}. See above")


def network_of(place: Place, name: str | None) -> MSNet:
    """A trained network; None for the one that all start from."""
    network = load_model(MODEL, weights=place.start if name is None else place.checkpoint_of(name))
    assert isinstance(network, MSNet)
    return network


def curves(place: Place, name: str) -> dict[str, list[float]]:
    """The losses of a training at every step, by name."""
    with (place.run_of(name) / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {loss: [float(row[loss]) for row in rows] for loss in LOSSES if rows[0][loss]}


def held_out(place: Place, name: str, *, trained: bool) -> dict[str, float]:
    """Losses and retrieval on the films that are held out, of a training behind its last step or before its first one.

    Before, the heads are untrained, and centred on what the first clips show.
    """
    videos = read_labelled_videos(place.films, validation_share=HELD_OUT_SHARE, needs_labels=False)
    config = read_config(place.config_of(name), task="contrast")
    cpu = torch.device("cpu")
    start, task = prepare(config, None if place.start == RANDOM_WEIGHTS else place.start, cpu, videos, 0)
    try:
        if trained:
            state = torch.load(place.run_of(name) / "state.pt", weights_only=True)
            start.network.load_state_dict(state["network"])
            task.load_state_dict(state["task"])
        else:
            assert isinstance(task, StepFinisher)
            task.prepare(start.network, 0)
            with torch.no_grad(), statistics_kept(start.network, True):
                losses = task.losses(start.network, 0, Share(0, 1))
            task.finish_step(start.network, 0, {name: float(loss) for name, loss in losses.items()}, Group(cpu))
        return task.evaluate(start.network, Group(cpu))
    finally:
        task.close()
