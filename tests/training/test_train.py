"""Training in miniature: it learns, resumes as if uninterrupted, and writes a checkpoint that loads."""

from __future__ import annotations

import csv
import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import describe_network
from schemas.config import Edges
from schemas.errors import ConfigurationError, StorageError, WeightsError
from training.configurations import read_config
from training.embedding import enlarge_embedding
from training.evaluation.matching import measure_matching
from training.tasks.motion.config import MotionConfig
from training.train import Loop, Progress, train
from training.world import World, WorldConfig


def _config(steps: int = 6, model: str = "msnet_resnet18", **changes: object) -> MotionConfig:
    matching = {"name": "matching", "steps": steps // 2, "matching_only": True, "warmup_steps": 2}
    everything = {"name": "everything", "steps": steps - steps // 2, "warmup_steps": 2, "num_frames": [4, 5]}
    common = {"frames_per_step": 8, "size_px": 64}
    fields: dict[str, object] = {
        "model": model,
        "evaluate_every_steps": 4,
        "evaluation_clips": 5,
        "evaluation_size_px": 64,
        "num_segments": 4,
        "textures": 6,
        "shapes": 8,
        "stages": [{**common, "num_frames": [4], **matching}, {**common, **everything}],
    }
    return MotionConfig.model_validate(fields | changes)


def _column(path: Path, name: str) -> list[float]:
    with path.open(newline="") as file:
        return [float(row[name]) if row[name] else 0.0 for row in csv.DictReader(file)]


def test_train_resumes_with_the_losses_of_an_uninterrupted_run(tmp_path: Path) -> None:
    seen: list[Progress] = []
    whole = train(_config(), tmp_path / "whole", loop=Loop(report=seen.append))
    for stop_after in (2, 5, 99):  # within either stage
        parts = train(
            _config(),
            tmp_path / "parts",
            loop=Loop(should_stop=lambda stop=stop_after: len(_column(tmp_path / "parts/losses.csv", "step")) >= stop),  # type: ignore[misc]
        )
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert [progress.held_out is not None for progress in seen] == [False, False, False, True, False, True]
    assert set(seen[0].losses) == {"matching", "regression", "confidence"}
    assert set(seen[5].losses) == {*seen[0].losses, "boundary", "actor_motion", "camera_motion"}
    for name in ("losses.csv", "evaluations.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    with safe_open(whole, "pt") as one, safe_open(parts, "pt") as other:
        assert all(torch.equal(one.get_tensor(name), other.get_tensor(name)) for name in one.keys())  # noqa: SIM118


@pytest.mark.slow
def test_train_goes_back_to_the_saved_state_after_a_crash(tmp_path: Path) -> None:
    train(_config(), tmp_path / "whole")

    def crash(progress: Progress) -> None:
        if progress.step == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(_config(), tmp_path / "run", loop=Loop(report=crash, save_every_seconds=0.0))
    train(_config(), tmp_path / "run")
    assert (tmp_path / "run/losses.csv").read_text() == (tmp_path / "whole/losses.csv").read_text()


def test_train_stores_its_recipe_in_a_half_precision_checkpoint(tmp_path: Path) -> None:
    path = train(_config(2), tmp_path)
    with safe_open(path, "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        dtypes = {file.get_tensor(name).dtype for name in file.keys() if file.get_tensor(name).ndim > 1}  # noqa: SIM118
    assert MotionConfig.model_validate(recipe["configuration"]) == _config(2)
    assert recipe["steps"] == 2 and recipe["start"] == "random weights" and recipe["device"] == "cpu"
    assert recipe["held_out"]["zero_error_cells"] > 0
    assert dtypes == {torch.float16}


def test_train_of_a_network_without_motion_skips_stages_for_matching_alone(tmp_path: Path) -> None:
    path = train(_config(4, model="tsm_resnet18"), tmp_path)
    assert _column(tmp_path / "losses.csv", "step") == [1, 2]
    assert all(_column(tmp_path / "losses.csv", "boundary")) and not any(_column(tmp_path / "losses.csv", "matching"))
    assert load_model("tsm_resnet18", weights=path)(torch.zeros(1, 4, 3, 64, 64)).frame_features.isfinite().all()
    with pytest.raises(ConfigurationError, match="not matching_only"):
        train(_config(stages=_config(4).model_dump()["stages"][:1], model="tsm_resnet18"), tmp_path)


def test_train_starts_from_a_checkpoint(tmp_path: Path) -> None:
    first = train(_config(2), tmp_path / "first")
    still = _config(1, stages=[{"name": "still", "steps": 1, "frames_per_step": 8, "size_px": 64, "num_frames": [4],
                                "learning_rate": 1e-12, "final_learning_rate": 0, "warmup_steps": 0}])  # fmt: skip
    second = train(still, tmp_path / "second", weights=first)
    with safe_open(first, "pt") as one, safe_open(second, "pt") as other:
        assert torch.equal(one.get_tensor("conv1.weight"), other.get_tensor("conv1.weight"))
        start = json.loads(other.metadata()["recipe"])["start"]
        assert start["file"] == "model.safetensors" and start["recipe"] == json.loads(one.metadata()["recipe"])
        assert json.loads(one.metadata()["numbers"])["edges"] == "repeat"
    with pytest.raises(WeightsError, match="does not fit"):
        train(_config(2, model="msnet_resnet50"), tmp_path / "third", weights=first)


def test_train_declares_repeated_edges_whatever_it_starts_from(tmp_path: Path) -> None:
    zeros = replace(describe_network("msnet_resnet18"), edges=Edges.ZEROS)
    save_checkpoint(tmp_path / "zeros.safetensors", build_network(zeros), licence="CC0-1.0")
    assert load_model("msnet_resnet18", weights=tmp_path / "zeros.safetensors").spec.edges is Edges.ZEROS
    trained = train(_config(2), tmp_path / "run", weights=tmp_path / "zeros.safetensors")
    assert load_model("msnet_resnet18", weights=trained).spec.edges is Edges.REPEAT


@pytest.mark.parametrize("model", ["msnet_resnet18", pytest.param("msnet_mobilenetv2", marks=pytest.mark.slow)])
def test_train_keeps_matching_fixed_where_a_stage_says_so(tmp_path: Path, model: str) -> None:
    stages = [{"name": "features", "steps": 2, "frames_per_step": 8, "size_px": 64, "num_frames": [4],
               "matching_fixed": True, "warmup_steps": 0}]  # fmt: skip
    config = _config(model=model, stages=stages)
    before, after = build_network(model, seed=config.seed), load_model(model, weights=train(config, tmp_path))
    assert isinstance(after, MSNet)
    enlarge_embedding(before, config.embedding_halvings)
    clips = World(WorldConfig(height=64, width=64, num_frames=4), seed=2_000_000).sample(0, 2)
    one, other = measure_matching(before, clips), measure_matching(after, clips)
    assert one.inside.mean_cells == pytest.approx(other.inside.mean_cells, rel=1e-3)  # kernels in float16
    frames = torch.rand(1, 4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, trained = before.eval()(frames).frame_features, after(frames).frame_features
    assert float((trained - features).norm() / features.norm()) > 0.01
    assert set(_column(tmp_path / "losses.csv", "matching")) == {0.0}
    assert all(_column(tmp_path / "losses.csv", "boundary"))


def test_train_refuses_a_stage_with_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="which leaves nothing to train"):
        _config(stages=[{"name": "none", "steps": 1, "matching_only": True, "matching_fixed": True}])


def test_train_refuses_the_folder_of_another_configuration(tmp_path: Path) -> None:
    train(_config(2), tmp_path)
    with pytest.raises(ConfigurationError, match=r"another configuration \(weight_decay differs\)"):
        train(_config(2, weight_decay=0.5), tmp_path)


def test_a_training_goes_on_that_was_saved_before_a_field_was_known(tmp_path: Path) -> None:
    train(_config(2), tmp_path, loop=Loop(should_stop=lambda: True))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    older = json.loads(state["config"])
    del older["frozen_backbone"]
    torch.save(state | {"config": json.dumps(older)}, tmp_path / "state.pt")
    with pytest.raises(ConfigurationError, match=r"another configuration \(frozen_backbone differs\)"):
        train(_config(2, frozen_backbone=True, edges="repeat"), tmp_path, weights=tmp_path / "model.safetensors")
    train(_config(2), tmp_path)
    assert _column(tmp_path / "losses.csv", "step") == [1, 2]
    del older["seed"]  # no training was ever without it
    torch.save(state | {"config": json.dumps(older)}, tmp_path / "state.pt")
    with pytest.raises(ConfigurationError, match=r"another configuration \(seed differs\)"):
        train(_config(2), tmp_path)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos")])
def test_train_on_a_full_disk_keeps_the_last_state(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_config(2), tmp_path, loop=Loop(should_stop=lambda: True))
    before = (tmp_path / "state.pt").read_bytes()

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(StorageError, match=r"expected room in .* run the same command again; the last saved state"):
        train(_config(2), tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_train_names_the_state_it_cannot_read(tmp_path: Path) -> None:
    for content in (b"", b"no state", b"PK\x03\x04 broken"):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"the state of a training; got .*state\.pt, which cannot be read"):
            train(_config(2), tmp_path)


@pytest.mark.slow
def test_train_with_bfloat16_has_losses_near_those_of_float32(tmp_path: Path) -> None:
    train(_config(2), tmp_path / "full")
    train(_config(2, precision="bfloat16"), tmp_path / "mixed")
    for name in ("matching", "regression", "confidence"):
        full, mixed = (_column(tmp_path / run / "losses.csv", name)[0] for run in ("full", "mixed"))
        assert mixed == pytest.approx(full, rel=0.05) and mixed != full


@pytest.mark.slow
def test_train_a_few_hundred_steps_beats_random_weights(tmp_path: Path) -> None:
    stages = [
        {"name": "matching", "steps": 200, "frames_per_step": 24, "size_px": 64, "num_frames": [4],
         "matching_only": True, "nuisances": 0.0, "max_speed": 0.5, "warmup_steps": 50},
        {"name": "everything", "steps": 100, "frames_per_step": 24, "size_px": 64, "num_frames": [4, 8],
         "nuisances": 0.0, "max_speed": 0.5, "learning_rate": 5e-4},
    ]  # fmt: skip
    path = train(_config(stages=stages, evaluate_every_steps=100, textures=48, shapes=64), tmp_path)
    matching = _column(tmp_path / "losses.csv", "matching")
    assert sum(matching[160:200]) < 0.7 * sum(matching[:40])
    boundary = _column(tmp_path / "losses.csv", "boundary")[200:]
    assert sum(boundary[-25:]) < sum(boundary[:25])
    clips = World(WorldConfig(height=64, width=64, num_frames=4, nuisances=0.0, max_speed=0.5), seed=2_000_000).sample(
        0, 32
    )
    trained = load_model("msnet_resnet18", weights=path)
    assert isinstance(trained, MSNet)
    after, before = measure_matching(trained, clips), measure_matching(build_network("msnet_resnet18", seed=0), clips)
    assert after.visible.mean_cells < 0.8 * before.visible.mean_cells
    assert after.visible.mean_cells < after.visible_zero.mean_cells


def test_the_default_recipe_names_a_network_that_exists() -> None:
    assert build_network(read_config("default").model).motion_squeeze is not None
