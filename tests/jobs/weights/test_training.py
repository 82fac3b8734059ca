"""Training in several processes: as one would, and whatever is killed."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.kills.training import Training, killed, losses, write_videos
from jobs.weights.training import TrainingRequest, _Board, train_weights
from schemas.errors import ResourceError
from training.config import TrainingConfig
from training.configurations import read_config
from training.group import Group
from training.train import Loop, Progress


def _progress(step: int) -> Progress:
    return Progress(step, 9, "all", {}, 0.1, 1.0, None)


def _lost(board: _Board, cause: str | None) -> str:
    """What the board says after the most losses that it bears."""
    for _ in range(3):
        assert board.begin()
        if cause is not None:
            board.blame(cause)
            board.blame("RuntimeError: a later one")
    assert not board.begin()
    return str(board.error())


def test_weights_are_the_same_in_whatever_folder_a_worker_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = read_config("miniature")
    found = [
        TrainingRequest(config, tmp_path, None if name is None else Path(name)).weights
        for name in ("run/best.safetensors", "/run/best.safetensors", "bundled", "imagenet_resnet18_v1", None)
    ]
    here, *others = found
    assert here == tmp_path / "run/best.safetensors"
    assert others == [Path("/run/best.safetensors"), Path("bundled"), Path("imagenet_resnet18_v1"), None]


def test_workers_that_die_without_a_word_may_lack_memory() -> None:
    board = _Board()
    board.blame("OSError: before a step")
    board.tell(_progress(4))
    assert _lost(board, None) == (
        "expected the training processes to keep running; they died 3 times after step 4, perhaps for lack of memory."
        " Use fewer workers or smaller shares, and run the same command again"
    )


def test_workers_that_end_with_an_error_are_told_by_it() -> None:
    assert _lost(_Board(), "AttributeError: no such thing") == (
        "expected the training processes to keep running; 3 times after step 0, they ended with AttributeError: no such"
        " thing. Mend that, and run the same command again"
    )


@dataclass(frozen=True)
class FailingWork:
    """Work in whose second process something fails, while the first one waits for it."""

    config: TrainingConfig
    out: Path
    deed: str
    device: str = "cpu"
    workers: int = 2
    loader_workers: int | None = 0
    ray_address: str | None = None

    def run(self, out: Path, device: torch.device | str, loader_workers: int, loop: Loop) -> Path:
        group = Group(torch.device("cpu"))
        if not group.leads:
            if self.deed == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise AttributeError("no such thing\nand more")
        group.sum([torch.zeros(1)])
        return out


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own
@pytest.mark.parametrize(
    ("deed", "told"),
    [
        ("raise", "3 times after step 0, they ended with AttributeError: no such thing. Mend that, and run"),
        ("kill", "they died 3 times after step 0, perhaps for lack of memory. Use fewer"),
    ],
)
def test_what_ends_workers_again_and_again_is_told(tmp_path: Path, deed: str, told: str) -> None:
    config = read_config("small", task="classify", clips_per_step=2, clips_per_share=1)
    with pytest.raises(ResourceError) as caught:
        train_weights(FailingWork(config, tmp_path / "run", deed), Loop())
    assert told in str(caught.value)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_have_the_losses_of_one_and_a_kill_changes_none(tmp_path: Path) -> None:
    write_videos(tmp_path)
    for name, workers in (("one", 1), ("alone", 2)):
        training = Training(tmp_path, name, workers)
        assert training.wait() == 0, training.log()
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "alone"), strict=True):
        assert one == pytest.approx(two, rel=1e-5)
    assert not [path.name for path in (tmp_path / "alone").iterdir() if path.name.startswith(".")]
    draw = random.Random(0)
    assert killed(tmp_path, "worker", 2, "worker", 4, draw) < 1e-5
    assert killed(tmp_path, "command", 2, "command", 6, draw) < 1e-5
