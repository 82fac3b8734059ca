"""Passes of a network return the same values as the network itself, whatever its mode and the batch size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from extractor.models.loading import load_model
from extractor.models.msnet import build_network
from training.evaluation.passes import evaluating, run_clips, run_sequence, to_pixels


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """(10, 3, 40, 48, 3) uint8."""
    return torch.randint(0, 256, (10, 3, 40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def prepared(pixels: Tensor) -> Tensor:
    """Computed by hand: scaled to [0, 1] and normalised with ImageNet's statistics."""
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    return ((pixels / 255 - mean) / std).movedim(-1, -3)


def test_run_clips_equals_one_pass_in_evaluation_mode(pixels: Tensor) -> None:
    network = build_network("msnet_resnet18", seed=2)
    network.backbone.eval()  # like a trainer that freezes part of the network
    found = run_clips(network, pixels)
    assert network.training and not network.backbone.training
    assert network.motion_squeeze is not None and network.motion_squeeze.training
    wanted = network.eval()(prepared(pixels))
    assert found.displacement is not None and found.confidence is not None
    torch.testing.assert_close(found.frame_features, wanted.frame_features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.displacement, wanted.displacement, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.confidence, wanted.confidence[:, :, 0], atol=1e-4, rtol=0)
    assert not found.displacement.requires_grad


def test_run_sequence_equals_one_clip(pixels: Tensor) -> None:
    network = load_model("msnet_resnet18", weights="random")
    sequence = pixels.flatten(0, 1)  # longer than what is pushed at a time
    found, whole = run_sequence(network, sequence), run_clips(network, sequence.unsqueeze(0))
    assert found.displacement is not None and found.confidence is not None
    assert whole.displacement is not None and whole.confidence is not None
    torch.testing.assert_close(found.frame_features, whole.frame_features[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.displacement, whole.displacement[0], atol=1e-2, rtol=0)
    torch.testing.assert_close(found.confidence, whole.confidence[0], atol=1e-4, rtol=0)


def test_passes_without_an_ms_module_have_features_only(pixels: Tensor) -> None:
    network = load_model("tsn_resnet18", weights="random")
    for found in (run_clips(network, pixels[:1]), run_sequence(network, pixels[0])):
        assert found.frame_features.shape[-2:] == (3, 512)
        assert found.displacement is None and found.confidence is None


def test_evaluating_restores_modes_after_an_error() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Dropout())
    network[0].eval()
    with pytest.raises(KeyError), evaluating(network):
        assert not network.training
        raise KeyError
    assert (network.training, network[0].training, network[1].training) == (True, False, True)


def test_to_pixels_rounds_to_the_nearest_level() -> None:
    frames = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_pixels(frames).tolist() == [[[[0] * 3, [0] * 3], [[1] * 3, [255] * 3]]]
