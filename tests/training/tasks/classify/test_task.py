"""Learning classes of videos: it learns, resumes as if uninterrupted, and its checkpoint knows the classes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from extractor.models.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from extractor.models.loading import load_model
from extractor.models.msnet import build_network
from extractor.video.encoding import encode_video
from schemas.errors import ConfigurationError
from training.clips.records import Example
from training.labels.labelled import LabelledVideos
from training.start import class_names, first_network
from training.tasks.classify.config import ClassifyConfig
from training.train import Loop, Progress, train


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideos:
    """Two classes, which differ in brightness; the last training video is broken."""
    folder = tmp_path_factory.mktemp("videos")
    examples = []
    for number in range(6):
        path = folder / f"{number}.mp4"
        low, high = ((0, 60), (190, 255))[number % 2]
        frames = np.random.default_rng(number).integers(low, high, (12, 64, 64, 3), dtype=np.uint8)
        encode_video(path, iter(frames), fps=12)
        examples.append(Example(path.name, str(path), label=number % 2))
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video")
    training = (*examples[:4], Example(broken.name, str(broken), label=0))
    return LabelledVideos(("dark", "light"), training, (*examples[4:], Example("b2", str(broken), label=1)))


def _config(**changes: object) -> ClassifyConfig:
    fields: dict[str, object] = {
        "num_segments": 4,
        "epochs": 6,
        "clips_per_step": 4,
        "clips_per_share": 2,
        "learning_rate": 0.01,
        "evaluate_every_epochs": 3,
        "clips": {"size_px": 64},
    }
    return ClassifyConfig.model_validate(fields | changes)


def _losses(run: Path) -> list[float]:
    with (run / "losses.csv").open(newline="") as file:
        return [float(row["cross_entropy"]) for row in csv.DictReader(file)]


def test_train_learns_classes_and_names_what_it_could_not_use(tmp_path: Path, videos: LabelledVideos) -> None:
    seen: list[Progress] = []
    clips = {"size_px": 64, "scales": [1.0], "flip": 0.0}
    rates = {"learning_rate": 0.003, "classifier_rate": 10.0, "schedule": "cosine"}
    config, out = _config(epochs=8, dropout=0.0, clips=clips, **rates), tmp_path / "run"
    path = train(config, out, weights="bundled", videos=videos, loop=Loop(report=seen.append))
    losses = _losses(out)
    assert len(losses) == 8 and losses[-1] < 0.5 * losses[0]
    assert seen[-1].held_out is not None and seen[-1].held_out["top1"] in (50, 100)
    assert seen[-1].seconds_left == 0 and seen[0].seconds_left is None
    checkpoint = read_checkpoint(path)
    assert class_names(checkpoint) == ("dark", "light")
    logits = load_model("msnet_resnet18", weights=path)(torch.zeros(1, 4, 3, 64, 64)).logits
    assert logits is not None and logits.shape == (1, 2)
    rows = list(csv.DictReader((out / "left_out.csv").read_text().splitlines()))
    assert [(row["video_id"], row["failure"]) for row in rows] == [("b2", "cannot_open"), ("broken.mp4", "cannot_open")]
    assert (tmp_path / "run/best.safetensors").exists() and list((tmp_path / "run/tensorboard").iterdir())


@pytest.mark.slow
def test_train_resumes_as_if_uninterrupted_with_mean_weights(tmp_path: Path, videos: LabelledVideos) -> None:
    config = _config(ema_decay=0.5, gradient_checkpointing=True)
    whole = train(config, tmp_path / "whole", videos=videos)
    for stop in (2, 99):
        parts = train(
            config,
            tmp_path / "parts",
            videos=videos,
            loop=Loop(should_stop=lambda stop=stop: len(_losses(tmp_path / "parts")) >= stop),  # type: ignore[misc]
        )
    for name in ("losses.csv", "evaluations.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    with safe_open(whole, "pt") as one, safe_open(parts, "pt") as other:
        assert all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_train_in_mixed_precision_has_losses_near_those_of_float32(
    tmp_path: Path, videos: LabelledVideos, precision: str
) -> None:
    for name in ("float32", precision):
        train(_config(epochs=1, dropout=0.0, precision=name), tmp_path / name, videos=videos)
    (full,), (mixed,) = _losses(tmp_path / "float32"), _losses(tmp_path / precision)
    assert mixed == pytest.approx(full, rel=0.02) and mixed != full


def test_train_takes_frozen_norms_as_they_are(tmp_path: Path, videos: LabelledVideos) -> None:
    path = train(_config(epochs=1, frozen_norms=True), tmp_path, videos=videos)
    before = build_network("msnet_resnet18", num_classes=2, seed=0).state_dict()
    with safe_open(path, "pt") as file:
        assert torch.equal(
            file.get_tensor("layer1.0.bn1.running_mean"), before["backbone.layer1.0.conv1.norm.running_mean"]
        )
        assert torch.equal(file.get_tensor("layer1.0.bn1.weight"), before["backbone.layer1.0.conv1.norm.weight"])


@pytest.mark.slow
def test_train_saves_what_was_trained_before_a_loss_that_is_not_finite(
    tmp_path: Path, videos: LabelledVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(progress: Progress) -> None:
        if progress.step == 2:
            monkeypatch.setattr(
                "torch.nn.functional.cross_entropy", lambda *_, **__: torch.tensor(np.nan).requires_grad_()
            )

    with pytest.raises(
        ConfigurationError, match=r"finite losses; got .*nan.* at step 3. Lower learning_rate"
    ) as refused:
        train(_config(), tmp_path / "run", videos=videos, loop=Loop(report=spoil))
    assert "\n" not in str(refused.value)
    state = torch.load(tmp_path / "run/state.pt", weights_only=True)
    assert state["step"] == 2 and all(bool(value.isfinite().all()) for value in state["network"].values())
    monkeypatch.undo()
    train(_config(), tmp_path / "run", videos=videos)
    train(_config(), tmp_path / "whole", videos=videos)
    assert _losses(tmp_path / "run") == _losses(tmp_path / "whole")


def test_train_refuses_other_videos_in_the_same_folder(tmp_path: Path, videos: LabelledVideos) -> None:
    train(_config(epochs=1), tmp_path, videos=videos)
    fewer = LabelledVideos(videos.classes, videos.training[:3], videos.validation)
    with pytest.raises(ConfigurationError, match=r"another configuration \(videos\.training differs\)"):
        train(_config(epochs=1), tmp_path, videos=fewer)


@pytest.mark.parametrize(("classes", "kept"), [(("a", "b"), True), (("a", "c"), False), (("a", "b", "c"), False)])
def test_first_network_keeps_a_classifier_of_the_same_classes(
    tmp_path: Path, classes: tuple[str, ...], kept: bool
) -> None:
    network = build_network("tsm_resnet18", num_classes=2)
    save_checkpoint(tmp_path / "x.safetensors", network, licence="x", recipe={"classes": ["a", "b"]})
    start = first_network(_config(model="tsm_resnet18"), tmp_path / "x.safetensors", classes)
    assert start.network.classifier is not None and network.classifier is not None
    assert start.network.spec.num_classes == len(classes)
    same = start.network.classifier.weight.shape == network.classifier.weight.shape
    assert (same and torch.equal(start.network.classifier.weight, network.classifier.weight)) == kept
    assert any("is replaced by a new one" in note for note in start.network.notes) != kept


def test_first_network_of_others_keeps_a_classifier_of_as_many_classes(tmp_path: Path) -> None:
    network = build_network("tsm_resnet18", num_classes=2)
    save_checkpoint(tmp_path / "x.safetensors", network, licence="x")
    start = first_network(_config(model="tsm_resnet18"), tmp_path / "x.safetensors", ("x", "y"))
    assert start.network.classifier is not None and network.classifier is not None
    assert torch.equal(start.network.classifier.weight, network.classifier.weight)


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_learning_rates_follow_the_schedule(videos: LabelledVideos, schedule: str) -> None:
    from training.tasks.classify.task import ClassifyTask

    config = _config(epochs=40, schedule=schedule, warmup_epochs=2, learning_rate=0.1)
    task = ClassifyTask(config, videos, build_network("tsm_resnet18", num_classes=2), loader_workers=0)
    rates: list[float] = [task.learning_rate(step) for step in range(task.steps)]
    assert rates[:2] == pytest.approx([0.05, 0.1])
    if schedule == "steps":
        assert [rates[19], rates[20], rates[29], rates[30]] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    else:
        assert (
            rates[2] == 0.1
            and rates[21] == pytest.approx(0.05)
            and rates == sorted(rates[:2]) + sorted(rates[2:])[::-1]
        )


def test_optimizer_has_the_groups_of_tsm(videos: LabelledVideos) -> None:
    from training.tasks.classify.task import ClassifyTask

    network = build_network("tsm_resnet18", num_classes=2)
    task = ClassifyTask(_config(classifier_rate=5.0), videos, network, loader_workers=0)
    groups = {(g["rate"], g["weight_decay"]): len(g["params"]) for g in task.optimizer(network).param_groups}
    assert groups == {(1.0, 5e-4): 20, (1.0, 0.0): 40, (5.0, 5e-4): 1, (10.0, 0.0): 1}


def test_recipe_says_it_all(tmp_path: Path, videos: LabelledVideos) -> None:
    path = train(_config(epochs=1), tmp_path, videos=videos)
    recipe = json.loads(read_checkpoint(path).metadata["recipe"])
    assert recipe["configuration"]["task"] == "classify" and recipe["configuration"]["videos"]["training"] == 5
    assert recipe["classes"] == ["dark", "light"] and set(recipe["held_out"]) == {"step", "top1", "top5", "loss"}
