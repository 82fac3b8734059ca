"""Shares of a step: their gradients and statistics are averaged, whoever computes them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from extractor.models.msnet import MSNet, build_network
from training.config import Share, TrainingPrecision
from training.embedding import enlarge_embedding
from training.gradients import compute_gradients
from training.group import Group
from training.precision import loss_scaler
from training.tasks.motion.config import MotionConfig
from training.tasks.motion.task import MotionTask
from training.train import train

_CPU = torch.device("cpu")


def _config(**changes: Any) -> MotionConfig:
    common = {"frames_per_step": 9, "size_px": 64, "num_frames": [4], "warmup_steps": 1}
    fields: dict[str, Any] = {
        "shares": 2,
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
    return MotionConfig.model_validate(fields | changes)


def _parts(config: MotionConfig) -> tuple[MSNet, MotionTask]:
    network = build_network(config.model, seed=3)
    enlarge_embedding(network, config.embedding_halvings)
    return network, MotionTask(config, width=network.spec.feature_dim, device=_CPU)


def _compute(network: MSNet, task: MotionTask, step: int) -> dict[str, float]:
    found = compute_gradients(network, task, step, Group(_CPU), loss_scaler(TrainingPrecision.FLOAT32, _CPU))
    found.take_statistics()
    return found.losses


def test_gradients_are_the_mean_over_shares() -> None:
    config = _config()
    network, task = _parts(config)
    parameters = [*network.parameters(), *task.parameters()]
    for step in range(config.steps):
        losses = _compute(network, task, step)
        found = [None if p.grad is None else p.grad.clone() for p in parameters]
        shares = [task.losses(network, step, Share(index, 2)) for index in (0, 1)]
        total = torch.stack([loss for share in shares for loss in share.values()]).sum() / 2
        trained = [p for p in parameters if p.requires_grad]
        expected = torch.autograd.grad(total, trained, allow_unused=True)  # type: ignore[no-untyped-call]
        by_parameter = dict(zip(trained, expected, strict=True))
        assert set(losses) == set(shares[0])
        for name, loss in losses.items():
            assert loss == pytest.approx(float((shares[0][name] + shares[1][name]).detach()) / 2, rel=1e-4, abs=1e-6)
        assert any(gradient is None for gradient in found) == (task.stage(step) != "everything")
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is None:
                assert by_parameter.get(parameter) is None
            else:
                torch.testing.assert_close(gradient, by_parameter[parameter], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_norms_take_the_mean_of_what_each_share_leaves(checkpointing: bool) -> None:
    network, task = _parts(_config())
    step = 1
    norm = network.backbone.get_submodule("layer1.0.conv1.norm")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    before, left = norm.running_mean.clone(), []
    for index in (0, 1):
        task.prepare(network, step)
        norm.running_mean = before.clone()
        task.losses(network, step, Share(index, 2))
        left.append(norm.running_mean.clone())
    norm.running_mean = before.clone()
    network.backbone.checkpointing = checkpointing
    _compute(network, task, step)
    torch.testing.assert_close(norm.running_mean, (left[0] + left[1]) / 2)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    found = []
    for checkpointing in (False, True):
        network, task = _parts(_config())
        network.backbone.checkpointing = checkpointing
        losses = _compute(network, task, 1)
        found.append((losses, [p.grad for p in network.parameters()]))
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_shares_are_different_clips_of_one_length() -> None:
    config = _config()
    _, task = _parts(config)
    for step in range(4):
        one, other = (task.clips(config.stages[1], step, Share(index, 2)).frames for index in (0, 1))
        assert one.shape == other.shape and not torch.equal(one, other)


def test_shares_without_a_clip_are_refused() -> None:
    with pytest.raises(ValueError, match="clip per step for each of 3 shares; got 2 in stage 'matching'"):
        _config(shares=3)


def _train_in_group(rank: int, count: int, port: int, out: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(count)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    train(_config(), out)
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_group_of_two_trains_as_one_process(tmp_path: Path) -> None:
    train(_config(), tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_train_in_group, args=(n, 2, port, tmp_path / "two")) for n in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    one, two = ((tmp_path / name / "losses.csv").read_text().splitlines() for name in ("one", "two"))
    assert len(one) == len(two) == 5
    for mine, theirs in zip(one[1:], two[1:], strict=True):
        for a, b in zip(mine.split(","), theirs.split(","), strict=True):
            assert a == b or float(a) == pytest.approx(float(b), rel=1e-4)
