"""What goes wrong in a training: gradients without end, evaluations without a figure, other weights, two at once."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from schemas.errors import ConfigurationError, StorageError
from tests.training.test_train import _config
from training.configurations import read_config
from training.folder import BEST, CHECKPOINT
from training.gradients import Gradients, compute_gradients
from training.train import Loop, train


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_gradients_that_are_not_finite_leave_the_network_as_it_was(
    tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[dict[str, torch.Tensor]] = []

    def spoilt(network: Any, task: Any, step: int, *rest: Any) -> Gradients:
        before.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        found = compute_gradients(network, task, step, *rest)
        if step == 1:
            next(p.grad for p in network.parameters() if p.grad is not None).flatten()[0] = value
        return found

    monkeypatch.setattr("training.train.compute_gradients", spoilt)
    with pytest.raises(ConfigurationError, match=r"expected finite gradients; got others at step 2\."):
        train(_config(3), tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    saved = {name: tensor for name, tensor in state["network"].items() if not name.endswith("num_batches_tracked")}
    assert state["step"] == 1 and all(torch.equal(tensor, before[1][name]) for name, tensor in saved.items())
    moved = [name for name, tensor in before[1].items() if not torch.equal(tensor, before[0][name])]
    assert any(name.endswith("running_mean") for name in moved)
    assert (tmp_path / CHECKPOINT).exists()


def test_an_evaluation_without_a_figure_is_not_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([math.nan, 0.25, 0.5])
    monkeypatch.setattr("training.tasks.motion.task.MotionTask.best", "figure")
    monkeypatch.setattr("training.tasks.motion.task.MotionTask.evaluate", lambda *_: {"figure": next(found)})
    train(_config(3, evaluate_every_steps=1), tmp_path)
    with safe_open(tmp_path / BEST, "pt") as file:
        assert json.loads(file.metadata()["recipe"])["held_out"]["figure"] == 0.5


def test_a_training_goes_on_with_the_weights_it_began_with(tmp_path: Path) -> None:
    one = train(_config(2), tmp_path / "one")
    other = train(_config(2, seed=5), tmp_path / "other")
    stop = Loop(should_stop=lambda: True)
    train(_config(2), tmp_path / "run", weights=one, loop=stop)
    with pytest.raises(ConfigurationError, match=r"the weights that .*run began with .*; got other ones"):
        train(_config(2), tmp_path / "run", weights=other)
    one.rename(tmp_path / "moved.safetensors")
    train(_config(2), tmp_path / "run", weights=tmp_path / "moved.safetensors")


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    seen = []

    def second(progress: object) -> None:
        with pytest.raises(StorageError, match=r"expected .*run to be free; another training writes there"):
            train(_config(2), tmp_path / "run")
        seen.append(progress)

    train(_config(2), tmp_path / "run", loop=Loop(report=second))
    assert len(seen) == 2
    with (tmp_path / "run/losses.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    train(_config(2), tmp_path / "run")  # the folder is free again


def test_a_state_of_something_else_is_named(tmp_path: Path) -> None:
    for other in ({"epoch": 3}, [1, 2], torch.zeros(3)):
        content = io.BytesIO()
        torch.save(other, content)
        (tmp_path / "state.pt").write_bytes(content.getvalue())
        with pytest.raises(ConfigurationError, match="expected the state of a training"):
            train(_config(2), tmp_path)


@pytest.mark.parametrize("seconds", [math.nan, -1.0])
def test_a_state_is_saved_at_some_time(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="0 or more between saved states"):
        Loop(seconds)


@pytest.mark.parametrize("content", [f"seed = {'9' * 5000}", f"seed = {'[' * 5000}"])
def test_toml_that_python_does_not_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(ConfigurationError, match="expected TOML"):
        read_config(tmp_path / "a.toml")


@pytest.mark.parametrize("task", ["classify", "contrast"])
def test_a_learning_rate_has_an_end(task: str) -> None:
    with pytest.raises(ConfigurationError, match="learning_rate"):
        read_config(None, task=task, learning_rate=math.inf)
