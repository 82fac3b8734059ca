"""Several processes that share a step compute the gradients of a single one, and end with it."""

from __future__ import annotations

import csv
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from extractor.models.msnet import build_network
from schemas.errors import ConfigurationError, ResourceError
from training.config import Share, TrainingConfig
from training.gradients import GradientWorkers
from training.embedding import enlarge_embedding
from training.tasks.motion import MotionTask
from training.train import Progress, train


def _config(**changes: Any) -> TrainingConfig:
    common = {"frames_per_step": 9, "size_px": 64, "num_frames": [4], "warmup_steps": 1}
    fields: dict[str, Any] = {
        "processes": 2,
        "evaluate_every_steps": 9,
        "evaluation_clips": 1,
        "evaluation_size_px": 64,
        "num_segments": 4,
        "textures": 6,
        "shapes": 8,
        "stages": [
            {**common, "name": "matching", "steps": 1, "matching_only": True},
            {**common, "name": "everything", "steps": 2, "num_frames": [3, 4]},
            {**common, "name": "features", "steps": 1, "matching_fixed": True},
        ],
    }
    return TrainingConfig.model_validate(fields | changes)


def test_gradients_of_two_processes_are_the_mean_of_their_shares() -> None:
    config = _config()
    network = build_network(config.model, seed=3)
    enlarge_embedding(network, config.embedding_halvings)
    task = MotionTask(network, config, world_seed=config.seed, device=torch.device("cpu"))
    parameters = [*network.parameters(), *task.parameters()]
    with GradientWorkers(network, task, config) as workers:
        for step in range(config.steps):
            with torch.no_grad():
                for parameter in parameters:  # the other process has to receive the changes
                    parameter.mul_(1.01)
            losses = workers.compute(step)
            found = [None if p.grad is None else p.grad.clone() for p in parameters]
            stage, _ = config.stage_at(step)
            shares = [task.losses(network, stage, step, Share(index, 2)) for index in (0, 1)]
            total = torch.stack([loss for share in shares for loss in share.values()]).sum() / 2
            trained = [p for p in parameters if p.requires_grad]
            expected = torch.autograd.grad(total, trained, allow_unused=True)  # type: ignore[no-untyped-call]
            by_parameter = dict(zip(trained, expected, strict=True))
            assert set(losses) == set(shares[0])
            for name, loss in losses.items():
                torch.testing.assert_close(loss, (shares[0][name] + shares[1][name]).detach() / 2, rtol=1e-4, atol=1e-6)
            assert any(gradient is None for gradient in found) == (stage.name != "everything")
            for parameter, gradient in zip(parameters, found, strict=True):
                if gradient is None:
                    assert by_parameter.get(parameter) is None
                else:
                    torch.testing.assert_close(gradient, by_parameter[parameter], rtol=1e-3, atol=1e-5)
    assert not multiprocessing.active_children()


def test_shares_are_different_clips_of_one_length() -> None:
    config = _config()
    task = MotionTask(build_network(config.model), config, world_seed=0, device=torch.device("cpu"))
    stage = config.stages[1]
    for step in range(4):
        one, other = (task.clips(stage, step, Share(index, 2)).frames for index in (0, 1))
        assert one.shape == other.shape and not torch.equal(one, other)


@pytest.mark.slow
def test_train_with_two_processes_resumes_as_if_uninterrupted(tmp_path: Path) -> None:
    whole = train(_config(), tmp_path / "whole")
    train(_config(), tmp_path / "parts", should_stop=lambda: True)
    parts = train(_config(), tmp_path / "parts")
    for name in ("losses.csv", "evaluations.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert parts.stat().st_size == whole.stat().st_size
    assert not multiprocessing.active_children()
    with (tmp_path / "whole/losses.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


@pytest.mark.slow
def test_train_reports_a_killed_process_and_resumes_later(tmp_path: Path) -> None:
    def kill(progress: Progress) -> None:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    with pytest.raises(ResourceError, match=r"got exit code -9 from one.*same command"):
        train(_config(), tmp_path, report=kill)
    assert not multiprocessing.active_children()
    assert train(_config(), tmp_path).exists()


def test_processes_that_cannot_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clip per step for each of 3 processes; got 2 in stage 'matching'"):
        _config(processes=3)
    with pytest.raises(ConfigurationError, match="expected 1 process on cuda; got 2"):
        train(_config(), tmp_path, device="cuda")


def test_processes_without_shared_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory: No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(ResourceError, match=r"expected 4\d MiB of shared memory.*No space left.*/dev/shm"):
        train(_config(), tmp_path)
