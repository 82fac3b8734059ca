"""Which network a checkpoint is loaded as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from extractor.models.checkpoints.checkpoint import save_checkpoint
from extractor.models.msnet import build_network
from jobs.weights.loading import load_weights
from schemas.errors import WeightsError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tsn.safetensors"
    save_checkpoint(path, build_network("tsn_resnet18", seed=3), licence="CC0-1.0", recipe={})
    return path


def test_load_weights_takes_the_network_that_the_checkpoint_is_of(checkpoint: Path) -> None:
    what, network = load_weights(checkpoint, None, "cpu")
    assert (what.model, what.weights) == ("tsn_resnet18", str(checkpoint)) == (network.spec.name, str(checkpoint))
    assert what.sha256 == network.spec.weights_sha256 and len(what.sha256 or "") == 64 and not network.training


def test_load_weights_of_the_package(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def bundled(name: str) -> Path:
        asked.append(name)
        return checkpoint

    monkeypatch.setattr("extractor.models.checkpoints.bundled.bundled_checkpoint", bundled)
    assert load_weights("bundled", "tsn_resnet18", "cpu")[0].weights == str(checkpoint)
    load_weights(Path("bundled"), None, "cpu")
    assert asked == ["tsn_resnet18", "msnet_resnet18"]


def test_load_weights_that_are_random_says_so() -> None:
    what, _ = load_weights(Path("random"), "msnet_resnet18", "cpu")
    assert what.sha256 is None and "random weights" in what.notes[0]


def test_load_weights_refuses_what_is_not_one_network(tmp_path: Path) -> None:
    torch.save({"state_dict": {"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}}, tmp_path / "other.pt")
    for weights, model, words in (
        ("random", None, "got none. Give --model"),
        ("random", "msnet_en_resnet18", "expected a single network; got msnet_en_resnet18, an ensemble of two"),
        (tmp_path / "missing.safetensors", None, "missing.safetensors"),
        (tmp_path / "other.pt", None, "got .*other.pt. Name its network with --model"),
    ):
        with pytest.raises(WeightsError, match=words):
            load_weights(weights, model, "cpu")
