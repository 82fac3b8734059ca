"""The checkpoint that comes with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from extractor.models.checkpoints.bundled import bundled_checkpoint, bundled_networks
from extractor.models.loading import load_model
from extractor.models.msnet import MSNet
from schemas.errors import WeightsError


@pytest.mark.parametrize("name", bundled_networks())
def test_bundled_checkpoint_is_small_documented_and_says_what_made_it(name: str) -> None:
    path = bundled_checkpoint(name)
    assert path.stat().st_size < 25_000_000
    assert path.with_suffix(".md").is_file()  # the model card
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == name and metadata["licence"] == "Apache-2.0"
    recipe = json.loads(metadata["recipe"])
    assert recipe["configuration"]["model"] == name and recipe["steps"] > 0


@pytest.mark.parametrize("name", ["tsm_resnet18", "tsn_resnet18"])
def test_weights_for_comparison_load_and_are_documented(name: str) -> None:
    path = Path("weights") / f"{name}.safetensors"
    assert path.stat().st_size < 50_000_000
    assert f"`{path.name}`" in (path.parent / "README.md").read_text()
    network = load_model(name, weights=str(path))
    assert isinstance(network, MSNet) and network.spec.weights_kind == "msnet" and not network.notes
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["recipe"])["configuration"]["model"] == name


def test_bundled_networks_has_the_default_one() -> None:
    assert "msnet_resnet18" in bundled_networks()


def test_load_model_takes_the_bundled_weights_unasked() -> None:
    frames = torch.randn(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    unasked, by_name = (load_model("msnet_resnet18", weights=weights) for weights in (None, "bundled"))
    assert isinstance(unasked, MSNet) and unasked.spec.weights_kind == "msnet"
    assert torch.equal(unasked(frames).frame_features, by_name(frames).frame_features)
    assert not unasked.notes


@pytest.mark.parametrize("name", ["tsm_resnet50", "msnet_en_resnet18"])
def test_load_model_without_weights_says_for_which_network_there_are_some(name: str) -> None:
    with pytest.raises(WeightsError, match=r"none comes with this package \(it has msnet_resnet18\)\. Give the path"):
        load_model(name)
