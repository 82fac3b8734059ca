"""What float16 holds of a small embedding, and where NaN goes."""

from __future__ import annotations

import pytest
import torch

from extractor import DenseStream, MSNetOutput, build_network, load_model
from extractor.models.backbones.fusion import FoldedConv, fuse
from extractor.models.motion_squeeze import MotionSqueeze
from extractor.models.msnet import MSNet
from tests.extractor.models.networks import random_network

SMALLEST_NORMAL = 2.0**-14  # of float16
TENSORS = ("clip_features", "frame_features", "motion", "displacement", "confidence", "tied")
NAMES = ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2"]


def frames(batch: int, length: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, 3, size, size, generator=torch.Generator().manual_seed(seed))


def drifting(length: int, size: int) -> torch.Tensor:
    """A clip (1, length, 3, size, size) of a smooth texture that moves, with a little noise."""
    coarse = torch.nn.functional.interpolate(frames(1, 1, size // 8)[0], size=size, mode="bicubic")
    moved = [coarse.roll((2 * t, 5 * t), (2, 3)) for t in range(length)]
    return torch.stack(moved, 1) + 0.05 * frames(1, length, size, seed=1)


def with_small_embedding(name: str) -> MSNet:
    network = build_network(name)
    norm = network.motion_squeeze.reduction.norm  # type: ignore[union-attr]
    torch.nn.init.constant_(norm.weight, 1.3 * 2.0**-13)
    torch.nn.init.constant_(norm.bias, -0.7 * 2.0**-14)
    return network


@pytest.fixture
def unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that are loaded in the test keep their embedding as it is stored."""
    monkeypatch.setattr(MotionSqueeze, "enlarge_embedding", lambda module: None)


def embedded_weights(network: MSNet) -> torch.Tensor:
    weight: torch.Tensor = network.motion_squeeze.reduction.weight  # type: ignore[union-attr]
    return weight


def test_bundled_weights_are_normal_numbers_in_float16() -> None:
    weight = embedded_weights(load_model("msnet_resnet18", dtype=torch.float16))
    assert (weight.abs() < SMALLEST_NORMAL).float().mean() < 0.01


def test_bundled_weights_are_subnormal_in_float16_unless_scaled(unscaled: None) -> None:
    weight = embedded_weights(load_model("msnet_resnet18", dtype=torch.float16))
    assert (weight.abs() < SMALLEST_NORMAL).all()


@pytest.mark.parametrize("name", ["bundled", *NAMES])
def test_scaling_the_embedding_changes_no_bit_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def output() -> tuple[MSNetOutput, float]:
        network = load_model("msnet_resnet18") if name == "bundled" else fuse(with_small_embedding(name))
        return network(drifting(3, 96)), float(embedded_weights(network).abs().max())

    scaled, largest = output()
    monkeypatch.setattr(MotionSqueeze, "enlarge_embedding", lambda module: None)
    plain, small = output()
    assert largest == small * 2.0**12
    assert 0.02 < plain.confidence.mean() < 0.95, "the epsilon does not matter here"
    for tensor in TENSORS:
        assert torch.equal(getattr(scaled, tensor), getattr(plain, tensor)), tensor


def test_scaling_the_embedding_brings_float16_nearer_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = drifting(3, 160)
    expected = load_model("msnet_resnet18")(clip)

    def errors() -> tuple[float, float]:
        found = load_model("msnet_resnet18", dtype=torch.float16)(clip)
        untied = ~(found.tied | expected.tied)
        off = (found.displacement - expected.displacement).norm(dim=2)[untied]
        return float(off.median()), float((found.confidence - expected.confidence).abs().mean())

    scaled = errors()
    monkeypatch.setattr(MotionSqueeze, "enlarge_embedding", lambda module: None)
    plain = errors()
    assert scaled[0] < 0.7 * plain[0] and scaled[1] < 0.5 * plain[1]


def test_fuse_folds_a_folded_network_again() -> None:
    once = fuse(with_small_embedding("msnet_resnet18"))
    twice = fuse(once, device="cpu")
    assert torch.equal(twice(frames(1, 2, 32)).motion, once(frames(1, 2, 32)).motion)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_nan_in_a_frame_makes_all_of_its_clip_nan_and_nothing_of_others(name: str, dtype: torch.dtype) -> None:
    network = random_network(name, dtype=dtype)
    clips = frames(3, 3, 32)
    expected = network(clips)
    clips[1, 1, 0, 16, 16] = float("nan")
    got = network(clips)
    for tensor in TENSORS:
        found = getattr(got, tensor)
        assert torch.equal(found[[0, 2]], getattr(expected, tensor)[[0, 2]]), tensor
        if tensor != "tied":
            assert found[1].isnan().all(), tensor
    assert not got.tied[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_mobilenetv2"])
def test_nan_from_any_convolution_reaches_the_features(name: str, dtype: torch.dtype) -> None:
    network = random_network(name, dtype=dtype)
    clips = frames(2, 2, 32)
    expected = network(clips)
    convolutions = {key: module for key, module in network.named_modules() if isinstance(module, FoldedConv)}
    assert len(convolutions) > 20
    for key, convolution in convolutions.items():
        hook = convolution.register_forward_hook(_plant)
        got = network(clips)
        hook.remove()
        assert got.clip_features[1].isnan().any(), key
        for tensor in TENSORS:
            assert torch.equal(getattr(got, tensor)[0], getattr(expected, tensor)[0]), (key, tensor)
        if key.endswith("reduction"):
            assert got.displacement[1].isnan().any() and got.confidence[1].isnan().any()


def _plant(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    """One value of the last frame or pair becomes NaN, in a channel that no shift moves."""
    spoilt = output.clone()
    spoilt[-1, -1, 0, 0] = float("nan")
    return spoilt


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nan_in_one_stream_leaves_another_of_the_network_alone(dtype: torch.dtype) -> None:
    network = random_network("msnet_resnet18", dtype=dtype)
    good = frames(1, 5, 32)[0]
    bad = good.clone()
    bad[2, 0, 16, 16] = float("nan")
    expected = DenseStream(network).finish(good)
    spoilt, clean = DenseStream(network), DenseStream(network)
    outputs = [stream.push(x[:3]) for stream, x in ((spoilt, bad), (clean, good))]
    assert not any(output.frame_features.numel() for output in outputs)
    got, kept = spoilt.finish(bad[3:]), clean.finish(good[3:])
    assert got.frame_features.isnan().any() and got.clip_features.isnan().all()
    torch.testing.assert_close(kept.frame_features, expected.frame_features, rtol=1e-4, atol=1e-4)
