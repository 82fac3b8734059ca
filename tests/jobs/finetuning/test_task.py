"""Backbone and head together: they learn, resume as if uninterrupted, and what is handed over belongs together."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, build_network
from gebd.heads.networks.base import Head
from gebd.heads.networks.building import build_head
from gebd.heads.networks.spec import HeadSpec
from gebd.heads.trained import load_head
from gebd.metric.predictions import load_predictions
from jobs.finetuning.config import FinetuneConfig
from jobs.finetuning.product import WEIGHTS_NAME, Product
from jobs.finetuning.task import FinetuneTask, frozen_modules
from jobs.finetuning.videos import BoundaryVideos
from schemas.config import ExtractionConfig, Sampling
from tests.jobs.finetuning.made import boundary_videos
from training.start import Start
from training.train import Loop, Progress, train_task

MODEL = "msnet_mobilenetv2"  # the smallest one
TENSORS = ("frame", "displacement", "confidence")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> BoundaryVideos:
    return boundary_videos(tmp_path_factory.mktemp("videos"))


def _config(**changes: object) -> FinetuneConfig:
    head = {"head": "temporal", "window_seconds": 2.0, "hop_seconds": 1.0, "raters": "best", "width": 8}
    fields: dict[str, object] = {
        "model": MODEL,
        "size_px": 32,
        "clips_per_step": 4,
        "clips_per_share": 2,
        "epochs": 3,
        "learning_rate": 1e-3,
        "evaluate_every_epochs": 2,
        "head": head | {"tensors": TENSORS},
    }
    return FinetuneConfig.model_validate(fields | changes)


def _head(config: FinetuneConfig) -> Head:
    shapes = {"frame": (1280,), "displacement": (2, 4, 4), "confidence": (1, 4, 4)}
    head = config.head
    tensors = tuple((name, shapes[name]) for name in head.tensors)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_head(HeadSpec(head.head, tensors, head.context_frames, head.width, head.dropout))


def _trained(
    out: Path,
    videos: BoundaryVideos,
    config: FinetuneConfig | None = None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> MSNet:
    config = config or _config()
    network = build_network(MODEL, seed=0)
    extraction = ExtractionConfig(
        model=MODEL, weights="0" * 64, sampling=Sampling.DENSE, size=32, outputs=config.head.tensors
    )
    out.mkdir(exist_ok=True)
    product = Product(out, config.head, extraction)
    task = FinetuneTask(config, videos, network, _head(config), product, loader_workers=0)
    train_task(Start(network, "random weights"), task, out / "training", Loop(1e9, report, should_stop))
    return network


def _losses(out: Path) -> list[float]:
    with (out / "training" / "losses.csv").open(newline="") as file:
        return [float(row["boundary"]) for row in csv.DictReader(file)]


def test_an_interrupted_training_has_the_losses_of_an_uninterrupted_one(tmp_path: Path, videos: BoundaryVideos) -> None:
    steps: list[int] = []
    _trained(tmp_path / "whole", videos)
    _trained(tmp_path / "cut", videos, report=lambda one: steps.append(one.step), should_stop=lambda: len(steps) == 2)
    assert steps == [1, 2]
    _trained(tmp_path / "cut", videos)
    assert _losses(tmp_path / "cut") == _losses(tmp_path / "whole")
    for name in ("head.safetensors", WEIGHTS_NAME):
        one, other = (load_bytes(tmp_path / folder / name) for folder in ("whole", "cut"))
        assert one == other
    left_out = (tmp_path / "whole" / "training" / "left_out.csv").read_text()
    assert "3.mp4,cannot_open" in left_out


def load_bytes(path: Path) -> dict[str, bytes]:
    """Tensors of a file by name, without its metadata, which tells the seconds that a training took."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}  # noqa: SIM118


@pytest.mark.slow
def test_it_learns_and_hands_over_what_belongs_together(tmp_path: Path, videos: BoundaryVideos) -> None:
    found: list[Progress] = []
    _trained(tmp_path, videos, _config(epochs=30, evaluate_every_epochs=10), report=found.append)
    losses = _losses(tmp_path)
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    evaluated = [progress.held_out for progress in found if progress.held_out]
    assert len(evaluated) == 3
    trained = load_head(tmp_path)
    weights = (tmp_path / WEIGHTS_NAME).read_bytes()
    assert trained.extraction.weights == hashlib.sha256(weights).hexdigest()
    best = max(evaluated, key=lambda one: one["f1"])
    assert trained.validation_f1 == best["f1"] and trained.picker.threshold == best["threshold"]
    network = load_model(MODEL, weights=tmp_path / WEIGHTS_NAME)
    assert isinstance(network, MSNet) and network.spec.edges is trained.extraction.edges
    predicted = load_predictions(tmp_path / "validation_predictions.json")
    assert set(predicted) == {video.video_id for video in videos.validation}
    recipe = json.loads(_metadata(tmp_path / WEIGHTS_NAME)["recipe"])
    assert recipe["configuration"]["task"] == "finetune"


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.slow
def test_shares_of_a_step_add_up_to_the_whole_step(tmp_path: Path, videos: BoundaryVideos) -> None:
    """Norms keep their statistics, so that a share's clips do not see one another; dropout alone differs."""
    head = _config().head.model_copy(update={"dropout": 0.0, "noise": 0.0})
    losses = []
    for per_share in (1, 4):
        config = _config(epochs=1, clips_per_share=per_share, head=head.model_dump(), least_scale=1.0)
        _trained(tmp_path / str(per_share), videos, config)
        losses.append(_losses(tmp_path / str(per_share))[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("stages", [0, 2, 3])
def test_frozen_stages_stay_and_the_rest_learns(tmp_path: Path, videos: BoundaryVideos, stages: int) -> None:
    before = build_network(MODEL, seed=0)
    after = _trained(tmp_path, videos, _config(epochs=1, warmup_epochs=0, frozen_stages=stages))
    kept = {id(parameter) for module in frozen_modules(after, stages) for parameter in module.parameters()}
    changed = {
        name: not torch.equal(one, other)
        for (name, one), other in zip(after.named_parameters(), before.parameters(), strict=True)
        if ".norm." not in name
    }
    for name, parameter in after.named_parameters():
        if id(parameter) in kept:
            assert not changed.get(name, False), name
    assert changed["backbone.features.18.conv.weight"]
    assert changed["backbone.features.2.expand.conv.weight"] is (stages == 0)
    assert changed["backbone.features.7.expand.conv.weight"] is (stages < 3)
    statistics = [(name, one) for name, one in after.named_buffers() if "running" in name]
    theirs = dict(before.named_buffers())
    assert all(torch.equal(one, theirs[name]) for name, one in statistics)


@pytest.mark.slow
def test_gradient_checkpointing_changes_no_loss(tmp_path: Path, videos: BoundaryVideos) -> None:
    for kept in (False, True):
        _trained(tmp_path / str(kept), videos, _config(epochs=1, gradient_checkpointing=kept))
    assert _losses(tmp_path / "False") == pytest.approx(_losses(tmp_path / "True"), rel=1e-5)


def test_windows_learn_too(tmp_path: Path, videos: BoundaryVideos) -> None:
    head = {"head": "contrast", "tensors": ("frame",), "context_seconds": 0.5, "raters": "best", "stretch": 0.0}
    config = _config(form="windows", epochs=1, head=head)
    _trained(tmp_path, videos, config)
    assert load_head(tmp_path).head.spec.name == "contrast"


def test_another_part_of_videos_is_another_training(tmp_path: Path, videos: BoundaryVideos) -> None:
    assert videos.digest() == videos.digest()
    fewer = replace(videos, training=videos.training[:2])
    assert fewer.digest() != videos.digest()
