from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from extractor.models.checkpoints.inspection import inspect_checkpoint
from tests.extractor.models.checkpoint_factory import random_state, save_reference


def without(state: dict, *prefixes: str) -> dict:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("backbone", "motion", "lost", "nearest", "missing"),
    [
        ("resnet18", True, "layer3.1", "msnet_resnet18", 10),
        ("resnet34", False, "layer1.2.conv2", "tsm_resnet34", 1),
        ("resnet50", True, "layer4.2.bn3", "msnet_resnet50", 4),
    ],
)
def test_checkpoint_of_no_network_is_held_against_the_nearest(
    tmp_path: Path, backbone: str, motion: bool, lost: str, nearest: str, missing: int
) -> None:
    state = without(random_state(backbone, motion=motion), f"{lost}.")
    state["layer9.0.conv1.weight"] = state["conv1.weight"]  # so that no network has just these blocks
    report = inspect_checkpoint(save_reference(tmp_path / "a.pth", state))
    assert report.architecture is None
    assert (report.fit.model, report.fit.fits) == (nearest, False)
    assert all(name.startswith(f"{lost}.") for name in report.fit.missing)
    assert len(report.fit.missing) == missing
    assert report.fit.unexpected == ("module.base_model.layer9.0.conv1.weight",)
    asked = inspect_checkpoint(tmp_path / "a.pth", "msnet_resnet101")
    assert asked.fit.model == "msnet_resnet101" and len(asked.fit.missing) > missing


def test_own_file_of_a_network_that_is_not_known_is_held_against_the_nearest(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in random_state("resnet18").items() if "num_batches" not in name}
    state["fc.weight"], state["fc.bias"] = state.pop("new_fc.weight"), state.pop("new_fc.bias")
    numbers = json.dumps({"shifted_blocks": []})
    metadata = {"format": "msnet-features", "format_version": "1", "architecture": "msnet_later", "numbers": numbers}
    save_file(state, tmp_path / "later.safetensors", metadata)
    report = inspect_checkpoint(tmp_path / "later.safetensors")
    assert (report.kind, report.architecture, report.fit.model) == ("msnet", None, "msnet_resnet18")
    assert report.fit.problem == "it is a msnet_later"
