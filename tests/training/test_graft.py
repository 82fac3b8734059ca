"""A graft: the MS module learns on the backbone of a checkpoint, of which not a bit changes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from extractor.models.checkpoints.checkpoint import read_checkpoint, save_checkpoint
from extractor.models.checkpoints.fitting import restore
from extractor.models.checkpoints.notes import matching_note
from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import describe_network
from schemas.config import Edges
from schemas.errors import ConfigurationError, WeightsError
from tests.extractor.models.checkpoint_factory import blocks_of, random_state, save_tsm
from training.configurations import read_config
from training.start import grafted_network
from training.tasks.motion.config import MotionConfig
from training.tasks.motion.task import MotionTask
from training.train import Loop, train


def _config(steps: int = 2, **changes: object) -> MotionConfig:
    stage = {"name": "matching", "steps": steps, "frames_per_step": 4, "size_px": 64, "num_frames": [4],
             "matching_only": True, "warmup_steps": 0}  # fmt: skip
    fields: dict[str, object] = {
        "frozen_backbone": True,
        "num_segments": 4,
        "evaluate_every_steps": 9,
        "evaluation_clips": 1,
        "evaluation_size_px": 64,
        "textures": 4,
        "shapes": 4,
        "stages": [stage],
    }
    return MotionConfig.model_validate(fields | changes)


def _frames() -> Tensor:
    return torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def _release(folder: Path, *, shifted: bool = True) -> Path:
    state = random_state("resnet18", motion=False)
    return save_tsm(folder / "tsm.pth", state, set(blocks_of(state)) if shifted else set())


def _ours(folder: Path, model: str) -> Path:
    path = folder / f"{model}.safetensors"
    save_checkpoint(path, build_network(model, seed=3), licence="CC0-1.0")
    return path


def _same_outputs(grafted: MSNet, backbone: MSNet) -> bool:
    with torch.no_grad():
        one, other = grafted(_frames()), backbone(_frames())
    assert one.motion is not None and not one.motion.any()
    logits = (one.logits is None) == (other.logits is None) and (
        one.logits is None or other.logits is None or torch.equal(one.logits, other.logits)
    )
    return logits and torch.equal(one.frame_features, other.frame_features)


@pytest.mark.parametrize("name", ["tsm.pth", "tsm_resnet18", "tsn_resnet18", "imagenet"])
def test_a_graft_has_the_features_of_its_backbone_bit_for_bit(tmp_path: Path, name: str) -> None:
    if name == "tsm.pth":
        path, model = _release(tmp_path), "tsm_resnet18"
    elif name == "imagenet":
        state = random_state("resnet18", motion=False, classes=7)
        state["fc.weight"], state["fc.bias"] = state.pop("new_fc.weight"), state.pop("new_fc.bias")
        torch.save(state, tmp_path / "resnet18.pth")
        path, model = tmp_path / "resnet18.pth", "tsn_resnet18"
    else:
        path, model = _ours(tmp_path, name), name
    network = grafted_network(_config(), path).network
    backbone = restore(describe_network(model), read_checkpoint(path))
    assert network.spec.shifted_blocks == backbone.spec.shifted_blocks and network.spec.edges is backbone.spec.edges
    assert _same_outputs(network.eval(), backbone.eval())
    save_checkpoint(tmp_path / "graft.safetensors", network, licence="CC0-1.0")
    loaded = load_model("msnet_resnet18", weights=tmp_path / "graft.safetensors")
    alone = load_model(model, weights=path)
    assert isinstance(loaded, MSNet) and isinstance(alone, MSNet) and _same_outputs(loaded, alone)
    assert loaded.notes[0].startswith("its motion features are 0") and len(loaded.notes) == 1


def test_training_a_graft_changes_its_embedding_alone_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    weights = _release(tmp_path)
    seen: list[int] = []
    whole = train(_config(), tmp_path / "whole", weights=weights)
    loop = Loop(report=lambda progress: seen.append(progress.step), should_stop=lambda: True)
    for _ in range(2):
        parts = train(_config(), tmp_path / "parts", weights=weights, loop=loop)
    assert seen == [1, 2]
    first = grafted_network(_config(), weights).network
    save_checkpoint(tmp_path / "first.safetensors", first, licence="CC0-1.0")
    one, other, start = (load_file(path) for path in (whole, parts, tmp_path / "first.safetensors"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    changed = {name for name, value in one.items() if not torch.equal(value, start[name])}
    with safe_open(whole, "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert "chnl_reduction.0.weight" in changed
    statistics = {name for name in changed if "running_" in name}  # the norms of the module see displacement
    assert all(name.startswith("chnl_reduction.") for name in changed - statistics)
    assert all(name.startswith(("chnl_reduction.", "flow_refinement.")) for name in changed)
    held_out = recipe["held_out"]
    hardly = held_out["error_cells"] >= 0.9 * held_out["zero_error_cells"]
    told = load_model("msnet_resnet18", weights=whole).notes
    assert any("hardly better than none" in note for note in told) == hardly
    assert recipe["configuration"]["frozen_backbone"] and recipe["start"]["file"] == "tsm.pth"
    grafted, alone = load_model("msnet_resnet18", weights=whole), load_model("tsm_resnet18", weights=weights)
    assert isinstance(grafted, MSNet) and isinstance(alone, MSNet) and _same_outputs(grafted, alone)


def test_a_graft_of_a_trained_module_keeps_it(tmp_path: Path) -> None:
    path = _ours(tmp_path, "msnet_resnet18")
    network = grafted_network(_config(), path).network
    assert network.motion_squeeze is not None and not network.motion_squeeze.is_zero
    before = restore(describe_network("msnet_resnet18"), read_checkpoint(path))
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in before.state_dict().items())


def test_a_frozen_backbone_computes_as_in_evaluation_and_takes_no_gradient() -> None:
    config = _config()
    network = build_network("msnet_resnet18", num_classes=3)
    MotionTask(config, width=512, device=torch.device("cpu")).prepare(network, 0)
    modes = {module.training for module in network.backbone.modules()}
    assert modes == {False} and network.motion_squeeze is not None and network.motion_squeeze.training
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning and all(name.startswith("motion_squeeze.") for name in learning)


def test_a_stage_with_matching_fixed_trains_the_transformation_of_a_graft_alone(tmp_path: Path) -> None:
    weights = _release(tmp_path)
    stage = {"name": "features", "steps": 2, "frames_per_step": 4, "size_px": 64, "num_frames": [4],
             "matching_fixed": True, "warmup_steps": 0}  # fmt: skip
    save_checkpoint(tmp_path / "a.safetensors", grafted_network(_config(), weights).network, licence="CC0-1.0")
    one = load_file(tmp_path / "a.safetensors")
    other = load_file(train(_config(stages=[stage]), tmp_path / "run", weights=weights))
    changed = {name for name, value in one.items() if not torch.equal(value, other[name])}
    assert "flow_refinement.conv4.4.weight" in changed
    scaled = {"chnl_reduction.1.weight"}  # as every training stores the embedding
    assert all(name.startswith("flow_refinement.") for name in changed - scaled)


def test_the_recipe_of_features_leaves_backbone_and_matching_alone() -> None:
    recipe = read_config("graft-features")
    assert isinstance(recipe, MotionConfig) and recipe.frozen_backbone
    assert all(stage.matching_fixed for stage in recipe.stages)


def test_a_frozen_backbone_keeps_the_edges_of_its_weights_unless_told() -> None:
    assert _config().edges is None and _config(frozen_backbone=False).edges is Edges.REPEAT
    assert _config(edges="zeros").edges is Edges.ZEROS
    assert isinstance(recipe := read_config("graft"), MotionConfig) and recipe.frozen_backbone
    assert MotionConfig.model_validate(recipe.model_dump(mode="json")) == recipe and recipe.edges is None


def test_a_release_without_marks_of_the_shift_stays_without_it(tmp_path: Path) -> None:
    assert grafted_network(_config(), _release(tmp_path, shifted=False)).network.spec.shifted_blocks == ()


def test_a_graft_is_evaluated_by_what_it_learns(tmp_path: Path) -> None:
    """The heads of boundaries and motion never learn where matching alone is learned."""
    path = train(_config(1), tmp_path / "run", weights=_release(tmp_path))
    with (tmp_path / "run/evaluations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    learned = {"step", "matching", "regression", "confidence", "error_cells", "zero_error_cells", "visible_error_cells"}
    assert {name for name, value in row.items() if value != "nan"} == learned
    assert set(json.loads(read_checkpoint(path).metadata["recipe"])["held_out"]) == learned


def test_a_graft_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got no weights\. Give --weights"):
        grafted_network(_config(), None)
    with pytest.raises(ConfigurationError, match=r"got tsm_resnet18\. Use --model msnet_resnet18"):
        grafted_network(_config(model="tsm_resnet18"), _release(tmp_path))
    with pytest.raises(WeightsError, match="it is a tsm_resnet34"):
        grafted_network(_config(), _ours(tmp_path, "tsm_resnet34"))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ('{"held_out": {"error_cells": 0.54, "zero_error_cells": 0.535}}', True),
        ('{"held_out": {"error_cells": 0.3, "zero_error_cells": 0.535}}', False),
        ('{"held_out": {"error_cells": 0.3, "zero_error_cells": 0}}', False),
        ('{"held_out": {"error_cells": NaN, "zero_error_cells": 1}}', False),
        ('{"held_out": {"top1": 50.0}}', False),
        ('{"held_out": [1]}', False),
        ("[" * 100_000, False),
        ("{}", False),
    ],
)
def test_displacement_no_better_than_none_is_told(recipe: str, told: bool) -> None:
    assert (matching_note({"recipe": recipe}) is not None) == told


def test_training_leaves_behind_what_was_said_of_the_first_weights(tmp_path: Path) -> None:
    weights = _release(tmp_path)
    assert "no MotionSqueeze module" in load_model("msnet_resnet18", weights=weights).notes[0]
    config = _config(1, frozen_backbone=False)
    notes = load_model("msnet_resnet18", weights=train(config, tmp_path / "run", weights=weights)).notes
    assert not any("no MotionSqueeze module" in note or "motion features are 0" in note for note in notes)
