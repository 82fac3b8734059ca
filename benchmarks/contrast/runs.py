"""The trainings that are compared: all losses, and each of them left out; by the product's command."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, build_network

LOSSES = ("intra_frame", "inter_frame", "clip", "order")
ALL = "all"
RUNS = (ALL, *(f"no_{name}" for name in LOSSES))
MODEL = "msnet_resnet18"
SIZE_PX = 64
HELD_OUT_SHARE = 0.1

_CONFIG = """\
# The same for all trainings of benchmarks/contrast but for the loss that is left out.
task = "contrast"
model = "{model}"
num_segments = 8
epochs = {epochs}
clips_per_step = 16
clips_per_share = 16
learning_rate = 0.05
warmup_epochs = 0.5
queue = 4096
key_momentum = 0.99
precision = "{precision}"
evaluate_every_epochs = 2

[views]
size_px = {size_px}
frame_stride = 2
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of the benchmark lies, below `folder`."""

    folder: Path

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
        return self.folder / "runs" / name

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
    config = place.folder / f"{name}.toml"
    config.write_text(text, encoding="utf-8")
    place.run_of(name).parent.mkdir(parents=True, exist_ok=True)
    arguments = ["weights", "train", "--task", "contrast", "--config", str(config), "--videos", str(place.films)]
    arguments += ["--validation-share", str(HELD_OUT_SHARE), "--out", str(place.run_of(name))]
    print("msnet", *arguments, flush=True)
    code = subprocess.run([sys.executable, "-m", "msnet_features", *arguments], check=False).returncode
    if code:
        raise SystemExit(f"expected `msnet weights train` to succeed; it ended with {code}. See above")


def network_of(place: Place, name: str | None) -> MSNet:
    """A trained network; None for the random weights that all start from."""
    if name is None:
        return build_network(MODEL, seed=0)
    network = load_model(MODEL, weights=place.checkpoint_of(name))
    assert isinstance(network, MSNet)
    return network


@dataclass(frozen=True, slots=True)
class Fall:
    """Means of a loss over the first epoch whose queue is full, the second, and over the last one, with errors."""

    name: str
    early: float
    late: float
    error: float  # of the difference: its standard error over steps


def falls(place: Place, name: str, epochs: int) -> list[Fall]:
    """How the losses of a training fell."""
    with (place.run_of(name) / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    early, late = ([row for row in rows if row["stage"] == f"epoch {epoch}"] for epoch in (2, epochs))
    found = []
    for loss in LOSSES:
        if rows[-1][loss]:
            before, after = (np.array([float(row[loss]) for row in part]) for part in (early, late))
            error = float(np.sqrt(before.var() / len(before) + after.var() / len(after)))
            found.append(Fall(loss, float(before.mean()), float(after.mean()), error))
    return found
