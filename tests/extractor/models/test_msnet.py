"""The networks of the family: names, numbers, shapes, training, folding, precision."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from extractor import (
    MSNetOutput,
    build_network,
    describe_network,
    load_model,
    normalize,
)
from extractor.models.backbones.fusion import FoldedConv, fuse
from extractor.models.backbones.layers import ConvNorm
from extractor.models.spec import NETWORK_NAMES
from schemas.config import Edges
from schemas.errors import ConfigurationError

TENSORS = ("clip_features", "frame_features", "motion", "displacement", "confidence", "logits")


def clips(batch: int, length: int, height: int = 64, width: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, length, 3, height, width, generator=torch.Generator().manual_seed(seed))


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def largest_error(got: MSNetOutput, expected: MSNetOutput) -> float:
    """Largest relative error of any tensor; displacement without tied cells."""
    errors = []
    for name in TENSORS:
        a, b = getattr(got, name), getattr(expected, name)
        assert (a is None) == (b is None)
        if a is None:
            continue
        if name == "displacement":
            keep = ~(got.tied | expected.tied).unsqueeze(2)  # type: ignore[operator]
            a, b = a * keep, b * keep
        errors.append(relative(a, b))
    return max(errors)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tsm_resnet18", 11_689_768),
        ("msnet_resnet18", 11_710_753),
        ("tsm_resnet50", 25_557_288),
        ("msnet_resnet50", 25_628_193),
    ],
)
def test_build_network_has_the_parameters_of_the_reference(name: str, parameters: int) -> None:
    network = build_network(name, num_classes=1000)
    unused_norm = 256  # the reference counts a `bn2` that nothing uses
    assert sum(parameter.numel() for parameter in network.parameters()) + unused_norm == parameters


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_describe_network_knows_every_name(name: str) -> None:
    spec = describe_network(name)
    assert spec.has_motion == name.startswith("msnet")
    assert spec.is_ensemble == ("_en_" in name)
    assert bool(spec.shifted_blocks) == (not name.startswith("tsn"))


def test_describe_network_has_the_published_numbers() -> None:
    reaches = {
        "msnet_resnet18": (8, 9),
        "msnet_resnet50": (16, 17),
        "msnet_resnet101": (33, 34),
        "tsn_resnet50": (0, 0),
    }
    assert {name: tuple(describe_network(name).reach) for name in reaches} == reaches
    spec = describe_network("msnet_resnet50", num_segments=16)
    assert (spec.feature_dim, spec.motion_channels, spec.num_segments) == (2048, 512, 16)
    assert spec.cells(224, 224) == (28, 28) and spec.cells(65, 64) == (9, 8)
    ensemble = describe_network("msnet_en_resnet50")
    assert [member.num_segments for member in ensemble.members] == [8, 16] and ensemble.feature_dim == 4096
    mobile = describe_network("msnet_mobilenetv2")
    assert (mobile.feature_dim, mobile.motion_channels, len(mobile.shifted_blocks)) == (1280, 32, 10)


def test_describe_network_refuses_what_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"got 'msnet_resnet19'\. Did you mean msnet_resnet18\?"):
        describe_network("msnet_resnet19")
    with pytest.raises(ConfigurationError, match="at least 2 frames; got 1"):
        describe_network("msnet_resnet18", num_segments=1)
    with pytest.raises(ConfigurationError, match="8-frame and a 16-frame member"):
        describe_network("msnet_en_resnet18", num_segments=8)
    with pytest.raises(ConfigurationError, match="no temporal shift"):
        describe_network("tsn_resnet18", shifted_blocks=["layer1.0"])


@pytest.mark.parametrize(
    "name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2", "tsm_resnet34", "tsn_resnet18"]
)
@pytest.mark.parametrize("size", [(64, 64), (50, 83)])
def test_network_returns_the_documented_shapes(name: str, size: tuple[int, int]) -> None:
    network = load_model(name, weights="random", num_classes=5)
    spec = network.spec
    output = network(clips(2, 3, *size))
    assert output.clip_features.shape == (2, spec.feature_dim)
    assert output.frame_features.shape == (2, 3, spec.feature_dim)
    assert output.logits.shape == (2, 5)
    if not spec.has_motion:
        assert output.motion is output.displacement is output.confidence is output.tied is None
        assert output.displacement_px is None
        return
    cells = spec.cells(*size)
    assert output.motion.shape == (2, 3, spec.motion_channels, *cells)
    assert output.displacement.shape == (2, 2, 2, *cells) and output.confidence.shape == (2, 2, 1, *cells)
    assert output.tied.shape == (2, 2, *cells) and output.tied.dtype == torch.bool
    assert torch.equal(output.displacement_px, output.displacement * 8)
    assert all(getattr(output, tensor).dtype == torch.float32 for tensor in TENSORS)
    torch.testing.assert_close(output.clip_features, output.frame_features.mean(1))


def test_network_without_classes_has_no_logits() -> None:
    assert load_model("tsn_resnet18", weights="random")(clips(1, 2)).logits is None


@pytest.mark.parametrize(
    "frames", [torch.zeros(1, 1, 3, 32, 32), torch.zeros(2, 3, 32, 32), torch.zeros(1, 2, 4, 8, 8)]
)
def test_network_refuses_other_shapes(frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected float frames \(B, T, 3, H, W\)"):
        load_model("tsn_resnet18", weights="random")(frames)


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2"])
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    network = load_model(name, weights="random", num_classes=3)
    frames = clips(3, 4)
    together = network(frames)
    for i in range(3):
        alone = network(frames[i : i + 1])
        one = MSNetOutput(**{key: getattr(together, key)[i : i + 1] for key in (*TENSORS, "tied")})
        error = largest_error(alone, one)
        assert error < 1e-5


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2", "tsn_resnet34"])
def test_fuse_equals_the_network_in_evaluation_mode(name: str) -> None:
    network = build_network(name, num_classes=3)
    network(clips(2, 3)).logits.sum().backward()  # moves the statistics of batch norm
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    fused = fuse(network)
    assert network.training and not fused.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert not any(isinstance(module, ConvNorm) for module in fused.modules())
    with torch.no_grad():
        expected = network.eval()(clips(1, 4, seed=1))
    error = largest_error(fused(clips(1, 4, seed=1)), expected)
    assert error < 5e-6


def test_folded_convolutions_equal_packed_or_not() -> None:
    generator = torch.Generator().manual_seed(0)
    for kernel, stride, groups in ((1, 1, 1), (1, 2, 1), (3, 2, 1), (7, 1, 16)):
        unit = ConvNorm(16, 16, kernel, stride=stride, groups=groups, activation="relu6").eval()
        folded = FoldedConv(unit, dtype=torch.float32, device=torch.device("cpu"))
        x = torch.randn(2, 16, 9, 7, generator=generator).contiguous(memory_format=torch.channels_last)
        addend = torch.randn_like(unit(x))
        for extra in (None, addend):
            packed = folded(x, extra)
            plain = folded(x.clone().requires_grad_(), extra)  # gradients take the public convolution
            torch.testing.assert_close(packed, plain.detach(), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(packed, unit(x, extra).detach(), atol=1e-5, rtol=1e-5)


def test_fused_networks_can_be_copied() -> None:
    network = load_model("msnet_resnet18", weights="random")
    frames = clips(1, 2)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(frames).clip_features, network(frames).clip_features)


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2", "tsm_resnet18"])
def test_gradients_reach_every_parameter(name: str) -> None:
    network = build_network(name, num_classes=4)
    output = network(clips(2, 3))
    torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 3])).backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_training_updates_the_statistics_of_batch_norm() -> None:
    network = build_network("msnet_resnet18", num_classes=4)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    network(clips(2, 3))
    assert all(int(norm.num_batches_tracked) == 1 for norm in norms)


def test_build_network_follows_the_seed_and_leaves_the_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build_network("tsn_resnet18", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(one.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet101", "msnet_mobilenetv2"])
def test_random_features_fit_in_float16(name: str) -> None:
    features = load_model(name, weights="random")(clips(1, 2)).frame_features.abs()
    assert 1e-3 < features.mean() < 1e3


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 2e-2)])
@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_mobilenetv2"])
def test_lower_precision_stays_near_float32(name: str, dtype: torch.dtype, bound: float) -> None:
    frames = clips(1, 3)
    expected = load_model(name, weights="random", num_classes=3)(frames)
    got = load_model(name, weights="random", num_classes=3, dtype=dtype)(frames)
    assert relative(got.frame_features, expected.frame_features) < bound
    assert relative(got.confidence, expected.confidence) < bound
    assert got.frame_features.dtype == got.motion.dtype == got.displacement.dtype == torch.float32


def test_ensemble_averages_logits_and_concatenates_features() -> None:
    network = load_model("msnet_en_resnet18", weights="random", num_classes=3)
    frames = (clips(2, 8, 32, 32), clips(2, 16, 32, 32))
    output = network(frames)
    eight, sixteen = (member(clip) for member, clip in zip(network.members, frames, strict=True))
    assert eight.frame_features.shape == (2, 8, 512) and sixteen.displacement.shape == (2, 15, 2, 4, 4)
    for name in ("clip_features", "frame_features", "motion", "displacement", "confidence", "tied"):
        assert torch.equal(getattr(output, name), torch.cat((getattr(eight, name), getattr(sixteen, name)), 1)), name
    torch.testing.assert_close(output.logits, (eight.logits + sixteen.logits) / 2)
    without = load_model("msnet_en_resnet18", weights="random")
    assert without(frames).logits is None
    with pytest.raises(ValueError, match="2 members"):
        network((frames[0],))


def test_ensemble_members_differ() -> None:
    network = load_model("msnet_en_resnet18", weights="random")
    frames = clips(1, 3, 32, 32)
    features = [member(frames).clip_features for member in network.members]
    assert not torch.equal(*features)
    assert len(network.notes) == 2


def test_load_model_says_what_random_weights_are() -> None:
    assert "random weights (seed 3)" in load_model("tsn_resnet18", weights="random", seed=3).notes[0]


def test_load_model_refuses_devices_and_dtypes_that_cannot_be_used() -> None:
    with pytest.raises(ConfigurationError, match="float64"):
        load_model("tsn_resnet18", weights="random", dtype=torch.float64)
    with pytest.raises(ConfigurationError, match="can be used here; got 'abacus'"):
        load_model("tsn_resnet18", weights="random", device="abacus")


def test_normalize_is_what_the_reference_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    got = normalize(pixels)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(normalize(torch.from_numpy(pixels)), got)
    assert normalize(np.zeros((2, 3, 5, 4, 3), np.uint8)).shape == (2, 3, 3, 5, 4)
    with pytest.raises(ValueError, match="uint8"):
        normalize(torch.zeros(2, 5, 4, 3))


def test_edges_may_be_given_by_name() -> None:
    frames = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    by_name, by_value = (load_model("msnet_resnet18", weights="random", edges=e) for e in ("zeros", Edges.ZEROS))
    default = load_model("msnet_resnet18", weights="random")
    assert by_name.spec.edges is Edges.ZEROS
    assert torch.equal(by_name(frames).clip_features, by_value(frames).clip_features)
    assert not torch.equal(by_name(frames).clip_features, default(frames).clip_features)


def test_edges_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected edges 'repeat' or 'zeros'; got 'mirror'"):
        load_model("msnet_resnet18", weights="random", edges="mirror")
    with pytest.raises(
        ConfigurationError, match="expected no edges for tsn_resnet18, which has no temporal shift; got 'zeros'"
    ):
        load_model("tsn_resnet18", weights="random", edges="zeros")
