"""Frames pass without the MS module, segments with it, and the key network follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from extractor.models.msnet import MSNet, build_network
from extractor.models.spec import describe_network
from schemas.config import Edges
from training.tasks.contrast.config import LossWeights
from training.tasks.contrast.networks import (
    KeyNetwork,
    Projections,
    frame_features,
    segment_features,
    statistics_kept,
)


def _frames(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("edges", [Edges.REPEAT, Edges.ZEROS])
def test_frame_features_are_those_without_shift_and_module(edges: Edges) -> None:
    network = build_network(replace(describe_network("msnet_resnet18"), edges=edges), seed=1).eval()
    plain = build_network("tsn_resnet18", seed=2).eval()
    plain.load_state_dict(
        {name: value for name, value in network.state_dict().items() if not name.startswith("motion_squeeze")}
    )
    frames = _frames(3)
    with torch.no_grad():
        found = frame_features(network, frames)
        expected = plain(frames.unsqueeze(1).expand(3, 2, 3, 32, 32)).frame_features[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_frame_features_leave_the_module_without_gradient() -> None:
    network = build_network("msnet_resnet18", seed=1)
    frame_features(network, _frames(2)).sum().backward()  # type: ignore[no-untyped-call]
    assert network.motion_squeeze is not None
    assert all(parameter.grad is None for parameter in network.motion_squeeze.parameters())
    assert all(parameter.grad is not None for parameter in network.backbone.parameters())


def test_segment_features_see_no_other_segment() -> None:
    network = build_network("msnet_resnet18", seed=1).eval()
    clips = _frames(2, 3, 2)
    with torch.no_grad():
        found = segment_features(network, clips)
        for video in range(2):
            for segment in range(3):
                alone = network(clips[video, segment].unsqueeze(0)).clip_features[0]
                torch.testing.assert_close(found[video, segment], alone, rtol=1e-4, atol=1e-5)
        shuffled = segment_features(network, clips[:, [2, 0, 1]])
    torch.testing.assert_close(shuffled, found[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept", [True, False])
def test_statistics_kept_changes_no_statistic(kept: bool) -> None:
    network = build_network("tsn_resnet18", seed=1)
    norm = network.backbone.get_submodule("layer1.0.conv1.norm")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    before = norm.running_mean.clone()
    with statistics_kept(network, kept):
        frame_features(network, _frames(2))
    assert torch.equal(norm.running_mean, before) == kept and norm.track_running_stats


@pytest.mark.parametrize("left_out", ["intra_frame", "inter_frame", "clip", "order"])
def test_projections_are_those_of_the_losses(left_out: str) -> None:
    heads = Projections(LossWeights.model_validate({left_out: 0}), 16, 8, 3)
    assert set(heads.heads) == {"intra_frame", "inter_frame", "clip", "order"} - {left_out}
    assert (heads.classifier is None) == (left_out == "order")
    for name in heads.heads:
        embedded = heads.embed(name, torch.randn(5, 16))
        assert embedded.shape == (5, 8)
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(5))
    if left_out != "order":
        assert heads.score_order(torch.randn(4, 3, 16)).shape == (4, 2)


def test_projections_centre_and_scale_features_of_either_kind() -> None:
    heads = Projections(LossWeights(), 6, 4, 3)
    features = 5 + 3 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    moments = torch.zeros(2, 2, 6)
    moments[1] = torch.stack((features.mean(0), features.square().mean(0)))
    before = heads.embed("inter_frame", features)
    heads.settle(moments, kept=0.0)
    assert torch.equal(heads.embed("inter_frame", features), before)  # no frames were seen
    centred = (features - features.mean(0)) / features.var(0, correction=0).mean().sqrt()
    expected = torch.nn.functional.normalize(heads.heads["clip"](centred), dim=1)
    torch.testing.assert_close(heads.embed("clip", features), expected, rtol=1e-4, atol=1e-5)
    heads.settle(torch.zeros(2, 2, 6), kept=0.0)
    torch.testing.assert_close(heads.embed("clip", features), expected, rtol=1e-4, atol=1e-5)
    heads.settle(moments * torch.tensor([2.0, 4.0]).view(2, 1), kept=0.75)  # of features twice as large
    torch.testing.assert_close(heads.centre[1], 1.25 * features.mean(0))
    torch.testing.assert_close(heads.scale[1], 1.25 * features.var(0, correction=0).mean().sqrt())


def _pair() -> tuple[MSNet, Projections, KeyNetwork]:
    network, heads = build_network("msnet_resnet18", seed=1), Projections(LossWeights(), 512, 8, 3)
    return network, heads, KeyNetwork(network, heads)


def test_key_network_follows_by_its_momentum_and_is_not_trained() -> None:
    network, heads, keys = _pair()
    first = {name: value.clone() for name, value in keys.named_parameters()}
    with torch.no_grad():
        for parameter in (*network.parameters(), *heads.parameters()):
            parameter.add_(1.0)
    keys.follow(network, heads, 0.75)
    for name, value in keys.named_parameters():
        torch.testing.assert_close(value, first[name] + 0.25)
        assert not value.requires_grad


def test_key_network_embeds_by_the_statistics_of_the_share_and_keeps_none() -> None:
    network, _, keys = _pair()
    before = {name: value.clone() for name, value in keys.network.named_buffers()}
    frames = _frames(4)
    with torch.no_grad():
        torch.testing.assert_close(frame_features(keys.network, frames), frame_features(network, frames))
    for name, value in keys.network.named_buffers():
        assert torch.equal(value, before[name])
