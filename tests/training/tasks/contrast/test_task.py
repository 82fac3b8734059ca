"""Learning from videos without labels: what it leaves, that it resumes, that shares and processes change nothing."""

from __future__ import annotations

import csv
import json
import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import multiprocessing

from extractor.models.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from extractor.models.loading import load_model
from extractor.models.msnet import build_network
from schemas.errors import ConfigurationError
from tests.videos import write_video
from training.clips.records import Example
from training.config import Share
from training.gradients import compute_gradients
from training.group import Group
from training.labels.labelled import LabelledVideos
from training.precision import loss_scaler
from training.prepare import prepare
from training.tasks.contrast.config import ContrastConfig, LossWeights
from training.tasks.contrast.task import ContrastTask
from training.tasks.task import StepFinisher
from training.train import Loop, Progress, train, train_task

_CPU = torch.device("cpu")
_NAMES = tuple(LossWeights.model_fields)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideos:
    """Seven videos for training, one of them broken, and three for validation, one of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    examples = []
    for number in range(8):
        path = write_video(folder / f"{number}.mp4", frames=24, size=(48, 48), seed=number)
        examples.append(Example(path.name, str(path)))
    (folder / "broken.mp4").write_text("no video")
    broken = [Example(name, str(folder / "broken.mp4")) for name in ("broken", "broken too")]
    return LabelledVideos((), (*examples[:6], broken[0]), (*examples[6:], broken[1]))


def _config(**changes: object) -> ContrastConfig:
    fields: dict[str, object] = {
        "num_segments": 2,
        "epochs": 4,
        "clips_per_step": 4,
        "clips_per_share": 2,
        "learning_rate": 0.01,
        "warmup_epochs": 0,
        "projection": 8,
        "key_momentum": 0.9,
        "evaluate_every_epochs": 2,
        "views": {"size_px": 32, "segment_frames": 2},
    }
    return ContrastConfig.model_validate(fields | changes)


def _task(config: ContrastConfig, videos: LabelledVideos) -> ContrastTask:
    task = prepare(config, None, _CPU, videos, 0)[1]
    assert isinstance(task, ContrastTask)
    return task


def _losses(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_leaves_a_checkpoint_of_the_network_alone(tmp_path: Path, videos: LabelledVideos) -> None:
    seen: list[Progress] = []
    config = _config(epochs=2)
    path = train(config, tmp_path / "run", videos=videos, loop=Loop(report=seen.append))
    assert [tuple(progress.losses) for progress in seen] == [_NAMES] * 2
    assert all(min(progress.losses.values()) > 0 for progress in seen)
    held_out = seen[-1].held_out
    assert held_out is not None and held_out["retrieval_chance"] == 50 and 0 < held_out["clip_keys_spread"] < 1
    assert all(held_out[name] > 0 for name in _NAMES)
    network = load_model("msnet_resnet18", weights=path)
    assert network(torch.zeros(1, 2, 3, 32, 32)).clip_features.isfinite().all()
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(read_checkpoint(path).originals.values())
    recipe = json.loads(read_checkpoint(path).metadata["recipe"])
    assert recipe["configuration"]["task"] == "contrast" and recipe["configuration"]["videos"]["training"] == 7
    rows = csv.DictReader((tmp_path / "run/left_out.csv").read_text().splitlines())
    assert [row["video_id"] for row in rows] == ["broken", "broken too"]
    fewer = LabelledVideos((), videos.training[:5])
    with pytest.raises(ConfigurationError, match=r"another configuration \(videos\.training differs\)"):
        train(config, tmp_path / "run", videos=fewer)


@pytest.mark.slow
def test_train_resumes_as_if_uninterrupted(tmp_path: Path, videos: LabelledVideos) -> None:
    whole = train(_config(), tmp_path / "whole", videos=videos)
    for stop in (2, 99):
        parts = train(
            _config(),
            tmp_path / "parts",
            videos=videos,
            loop=Loop(should_stop=lambda stop=stop: len(_losses(tmp_path / "parts")) >= stop),  # type: ignore[misc]
        )
    for name in ("losses.csv", "evaluations.csv", "left_out.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    with safe_open(whole, "pt") as one, safe_open(parts, "pt") as other:
        assert all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118


@pytest.mark.parametrize("left_out", _NAMES)
def test_a_loss_that_is_switched_off_is_not_computed(videos: LabelledVideos, left_out: str) -> None:
    weights = dict.fromkeys(_NAMES, 2.0) | {left_out: 0.0}
    task, full = _task(_config(losses=weights), videos), _task(_config(), videos)
    network = build_network("msnet_resnet18", seed=0)
    found = []
    for one in (task, full):
        one.prepare(network, 0)
        torch.manual_seed(3)
        found.append(one.losses(network, 0, Share(0, 2)))
    assert set(found[0]) == {*_NAMES} - {left_out}
    assert set(task.parameters()) and task.frames(0) == full.frames(0)
    if left_out == "inter_frame":  # other heads are drawn, so that losses are only alike
        assert 0 < float(found[0]["intra_frame"].detach()) < 10


def test_without_losses_on_clips_or_on_frames_their_frames_are_not_decoded(videos: LabelledVideos) -> None:
    only_frames = _task(_config(losses={"clip": 0, "order": 0}), videos)
    only_clips = _task(_config(losses={"intra_frame": 0, "inter_frame": 0}), videos)
    assert (only_frames.frames(0), only_clips.frames(0)) == (4 * 3, 4 * 12)
    for task, names in ((only_frames, {"intra_frame", "inter_frame"}), (only_clips, {"clip", "order"})):
        network = build_network("msnet_resnet18", seed=0)
        task.prepare(network, 0)
        before = network.backbone.get_submodule("layer1.0.conv1.norm").running_mean
        assert isinstance(before, torch.Tensor)
        before = before.clone()
        assert set(task.losses(network, 0, Share(0, 2))) == names
        assert not torch.equal(network.backbone.get_submodule("layer1.0.conv1.norm").running_mean, before)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a loss with a weight above 0; got none"):
        _config(losses=dict.fromkeys(_NAMES, 0))


def test_keys_enter_the_queues_in_the_order_of_the_clips(videos: LabelledVideos) -> None:
    found = []
    for shares in ((0, 1), (1, 0)):
        task, network = _task(_config(), videos), build_network("msnet_resnet18", seed=0)
        task.prepare(network, 0)
        with torch.no_grad():
            losses = [task.losses(network, 0, Share(index, 2)) for index in shares]
        task.finish_step(network, 0, {name: float(loss) for name, loss in losses[0].items()}, Group(_CPU))
        numbers = [task._loader().batch(0, index).examples for index in (0, 1)]
        queues = task._memory.queue("inter_frame"), task._memory.queue("clip")
        assert queues[0].videos.tolist() == torch.cat(numbers).repeat_interleave(2).tolist()
        assert queues[1].videos.tolist() == torch.cat(numbers).tolist()
        found.append((queues[0].keys, queues[1].keys))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_gradients_reach_network_and_heads_but_not_the_keys(videos: LabelledVideos) -> None:
    task, network = _task(_config(), videos), build_network("msnet_resnet18", seed=0)
    scaler = loss_scaler(task.config.precision, _CPU)
    for step in (0, 1):
        losses = compute_gradients(network, task, step, Group(_CPU), scaler).losses
        assert task.finish_step(network, step, losses, Group(_CPU)) is None
    assert isinstance(task, StepFinisher)
    for parameter in (*network.parameters(), *task.parameters()):
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all())
    assert len(task.optimizer(network).param_groups[0]["params"]) == len([*network.parameters(), *task.parameters()])
    assert all(parameter.grad is None for parameter in task._keys.parameters())


def test_a_collapse_is_told_once(tmp_path: Path, videos: LabelledVideos) -> None:
    config = _config(learning_rate=1e-9, collapse_steps=2, epochs=3, evaluate_every_epochs=3)
    start, task = prepare(config, None, _CPU, videos, 0)
    assert isinstance(task, ContrastTask)
    with torch.no_grad():
        for heads in (task._heads, task._keys.heads):  # the same for all videos
            for head in heads.heads.values():
                assert isinstance(head, torch.nn.Sequential)
                head[-1].weight.zero_()  # type: ignore[operator, union-attr]
                head[-1].bias.fill_(1.0)  # type: ignore[operator, union-attr]
    seen: list[Progress] = []
    path = train_task(start, task, tmp_path, Loop(report=seen.append))
    notes = [progress.note for progress in seen]
    assert [note is not None for note in notes] == [False, True, False]
    assert notes[1] is not None and "the training has collapsed" in notes[1]
    assert json.loads(read_checkpoint(path).metadata["recipe"])["collapse"] == notes[1]
    with (tmp_path / "evaluations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["clip_keys_spread"]) < 1e-3 and float(row["retrieval"]) >= 0


def test_evaluation_without_held_out_videos_tells_the_spread_alone(videos: LabelledVideos) -> None:
    task = _task(_config(), LabelledVideos((), videos.training))
    found = task.evaluate(build_network("msnet_resnet18", seed=0), Group(_CPU))
    assert math.isnan(found["retrieval"]) and set(found) >= {"inter_frame_keys_spread", "clip_keys_spread"}


def test_a_classifier_of_the_first_weights_is_left_out(tmp_path: Path, videos: LabelledVideos) -> None:
    save_checkpoint(tmp_path / "x.safetensors", build_network("tsm_resnet18", num_classes=3), licence="CC0-1.0")
    start, _ = prepare(_config(model="tsm_resnet18"), tmp_path / "x.safetensors", _CPU, videos, 0)
    assert start.network.classifier is None and start.network.spec.num_classes is None


def test_prepare_refuses_without_videos() -> None:
    with pytest.raises(ConfigurationError, match=r"expected videos to learn from; got none\. Give --videos"):
        prepare(_config(), None, _CPU, None, 0)


def test_learning_rate_rises_and_falls_along_a_cosine(videos: LabelledVideos) -> None:
    task = _task(_config(epochs=20, warmup_epochs=4, learning_rate=0.1), videos)
    rates: list[float] = [task.learning_rate(step) for step in range(task.steps)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1]) and rates[12] == pytest.approx(0.05)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def _train_in_group(rank: int, port: int, out: Path, videos: LabelledVideos) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    train(_config(), out, videos=videos)
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_group_of_two_trains_as_one_process(tmp_path: Path, videos: LabelledVideos) -> None:
    train(_config(), tmp_path / "one", videos=videos)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_train_in_group, args=(n, port, tmp_path / "two", videos)) for n in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    for name in ("losses.csv", "evaluations.csv"):
        one, two = (_rows(tmp_path / run / name) for run in ("one", "two"))
        for mine, theirs in zip(one, two, strict=True):
            for column, value in mine.items():
                assert value == theirs[column] or float(value) == pytest.approx(float(theirs[column]), rel=1e-3)
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True)["task"]["memory"] for run in ("one", "two")]
    for name in ("queues.clip.videos", "queues.inter_frame.videos"):
        assert torch.equal(states[0][name], states[1][name])
    assert (tmp_path / "one/left_out.csv").read_text() == (tmp_path / "two/left_out.csv").read_text()


def _rows(path: Path) -> list[Mapping[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
