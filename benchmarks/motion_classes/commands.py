"""The networks that are compared, and how the product's commands train and score them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WEIGHTS = Path(__file__).parents[2] / "weights"


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is trained. weights: where training starts. on_flow: it sees optical flow instead of pictures.

    grafted: an MS module is grafted on `weights` first (docs/graft.md).
    """

    name: str
    model: str
    weights: str
    on_flow: bool = False
    grafted: bool = False


MSNET = Network("msnet", "msnet_resnet18", "bundled")
TSM = Network("tsm", "tsm_resnet18", str(_WEIGHTS / "tsm_resnet18.safetensors"))
TSN = Network("tsn", "tsn_resnet18", str(_WEIGHTS / "tsn_resnet18.safetensors"))
TSM_ON_FLOW = Network("tsm_on_flow", TSM.model, TSM.weights, on_flow=True)
NETWORKS = (MSNET, TSM, TSN, TSM_ON_FLOW)
GRAFT = Network("graft", MSNET.model, TSM.weights, grafted=True)

_CONFIG = """\
# The same for all networks of benchmarks/motion_classes.
task = "classify"
model = "{model}"
num_segments = 8
epochs = {epochs}
clips_per_step = 16
clips_per_share = 8
learning_rate = 0.005
classifier_rate = 5.0
schedule = "cosine"
warmup_epochs = 1
evaluate_every_epochs = {epochs}

[clips]
sampling = "segments"
size_px = 112
# Crops of other sizes would change the speed, which is what some classes differ by.
scales = [1.0, 0.875]
# A mirrored clip is of another class, of rotations too, whose names no flip knows.
flip = 0.0
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one run of the benchmark lies, below `folder`."""

    folder: Path

    @property
    def videos(self) -> Path:
        """The data set of pictures."""
        return self.folder / "videos"

    @property
    def flow(self) -> Path:
        """The data set of optical flow."""
        return self.folder / "flow"

    def data_of(self, network: Network) -> Path:
        """The data set that a network sees."""
        return self.flow if network.on_flow else self.videos

    def start_of(self, network: Network) -> str:
        """The weights that the training of a network starts from."""
        return str(self.folder / "grafts" / network.name / "model.safetensors") if network.grafted else network.weights

    def run_of(self, network: Network, seed: int) -> Path:
        """The folder of a training."""
        return self.folder / "runs" / f"{network.name}-{seed}"

    def checkpoint_of(self, network: Network, seed: int) -> Path:
        """What a training leaves."""
        return self.run_of(network, seed) / "model.safetensors"

    def scores_of(self, network: Network, seed: int) -> Path:
        """The scores of a trained network, by video."""
        return self.folder / "scores" / f"{network.name}-{seed}.csv"


def train_arguments(place: Place, network: Network, seed: int, config: Path) -> list[str]:
    """Arguments of `msnet` that train a network."""
    out, videos = str(place.run_of(network, seed)), str(place.data_of(network))
    return [
        *("weights", "train", "--task", "classify", "--videos", videos, "--out", out, "--config", str(config)),
        *("--weights", place.start_of(network), "--seed", str(seed)),
    ]


def score_arguments(place: Place, network: Network, seed: int, scores: Path) -> list[str]:
    """Arguments of `msnet` that score the test videos with a trained network."""
    checkpoint, videos = str(place.checkpoint_of(network, seed)), str(place.data_of(network))
    results = str(place.scores_of(network, seed).with_suffix(".json"))  # else it would lie in the current folder
    return [
        *("weights", "evaluate", checkpoint, "--task", "classify", "--videos", videos, "--scores", str(scores)),
        *("--out", results),
    ]


def train(place: Place, network: Network, seed: int, epochs: int) -> None:
    """Train a network unless it is trained; a training that was stopped goes on."""
    if place.checkpoint_of(network, seed).exists():
        return
    config = place.folder / "configs" / f"{network.name}.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(_CONFIG.format(model=network.model, epochs=epochs), encoding="utf-8")
    place.run_of(network, seed).parent.mkdir(parents=True, exist_ok=True)
    if network.grafted and not Path(place.start_of(network)).exists():
        graft = Path(place.start_of(network)).parent
        graft.parent.mkdir(parents=True, exist_ok=True)
        _msnet(("weights", "train", "--config", "graft", "--weights", network.weights, "--out", str(graft)))
    _msnet(train_arguments(place, network, seed, config))


def score(place: Place, network: Network, seed: int) -> None:
    """Score the test videos unless they are scored."""
    scores = place.scores_of(network, seed)
    if scores.exists():
        return
    scores.parent.mkdir(parents=True, exist_ok=True)
    partial = scores.with_suffix(".partial.csv")  # the command may write as it goes; what was stopped is done again
    _msnet(score_arguments(place, network, seed, partial))
    partial.replace(scores)


def _msnet(arguments: Sequence[str]) -> None:
    print("msnet", *arguments, flush=True)
    code = subprocess.run([sys.executable, "-m", "msnet_features", *arguments], check=False).returncode
    if code:
        raise SystemExit(f"expected `msnet {arguments[0]} {arguments[1]}` to succeed; it ended with {code}. See above")
