"""The networks on a GPU against those on the CPU; skipped without a GPU."""

from __future__ import annotations

import pytest
import torch

from extractor import DenseStream, load_model

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device() -> torch.device:
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is None or not accelerator.is_available():
        pytest.skip("needs a GPU")
    found: torch.device = accelerator.current_accelerator()
    return found


def frames(length: int = 8) -> torch.Tensor:
    return torch.randn(1, length, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.cpu() - b).norm() / b.norm())


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_accelerator_agrees_with_the_cpu(name: str, dtype: torch.dtype, bound: float, device: torch.device) -> None:
    expected = load_model(name, weights="random")(frames())
    found = load_model(name, weights="random", dtype=dtype, device=device)(frames())
    assert found.frame_features.device.type == device.type
    assert difference(found.frame_features, expected.frame_features) < bound
    assert difference(found.confidence, expected.confidence) < bound


def test_accelerator_streams_the_features_of_a_clip(device: torch.device) -> None:
    network = load_model("msnet_resnet18", weights="random", device=device)
    clip = frames(20)
    stream = DenseStream(network)
    pieces = [stream.push(piece).frame_features for piece in clip[0].split(7)]
    pieces.append(stream.finish().frame_features)
    assert difference(torch.cat(pieces), network(clip).frame_features[0].cpu()) < 1e-4
