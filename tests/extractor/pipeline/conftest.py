from __future__ import annotations

import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, MSNetEnsemble


@pytest.fixture(scope="package", autouse=True)
def few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="package")
def network() -> MSNet:
    found = load_model("msnet_resnet18", weights="random", num_segments=8, num_classes=5)
    assert isinstance(found, MSNet)
    return found


@pytest.fixture(scope="package")
def ensemble() -> MSNetEnsemble:
    found = load_model("msnet_en_resnet18", weights="random", num_classes=5)
    assert isinstance(found, MSNetEnsemble)
    return found
