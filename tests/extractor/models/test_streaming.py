"""Dense streams against one uncut pass over the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from extractor import DenseStream, MSNet
from extractor.models.backbones.fusion import fuse
from extractor.models.msnet import build_network
from extractor.models.spec import describe_network
from extractor.models.streaming import StreamOutput
from schemas.config import Edges
from tests.extractor.models.networks import random_network

BOUND = 1e-4


def sequence(count: int, height: int = 48, width: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def pushes(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def stream(network: MSNet, frames: torch.Tensor, sizes: list[int]) -> list[StreamOutput]:
    dense = DenseStream(network)
    return [dense.push(piece) for piece in frames.split(sizes)] + [dense.finish()]


def check_equals_uncut(network: MSNet, frames: torch.Tensor, sizes: list[int]) -> None:
    expected = network(frames.unsqueeze(0))
    outputs = stream(network, frames, sizes)
    starts = {"first_frame": 0, "first_motion": 0, "first_pair": 0, "first_clip": 0}
    for output in outputs:
        assert {name: getattr(output, name) for name in starts} == starts
        starts["first_frame"] += len(output.frame_features)
        starts["first_motion"] += 0 if output.motion is None else len(output.motion)
        starts["first_pair"] += 0 if output.tied is None else len(output.tied)
        starts["first_clip"] += len(output.clip_features)
    names = ["frame_features"] + ["motion", "displacement", "confidence"] * network.spec.has_motion
    for name in names:
        whole, pieces = getattr(expected, name)[0], torch.cat([getattr(output, name) for output in outputs])
        assert pieces.shape == whole.shape, name
        if name == "displacement":
            assert expected.tied is not None
            keep = ~expected.tied[0].unsqueeze(1)
            whole, pieces = whole * keep, pieces * keep
        assert (pieces - whole).norm() / whole.norm() < BOUND, name
    assert [len(output.clip_features) for output in outputs] == [0] * (len(outputs) - 1) + [1]
    torch.testing.assert_close(outputs[-1].clip_features, expected.clip_features, rtol=BOUND, atol=1e-6)
    assert expected.logits is not None
    torch.testing.assert_close(outputs[-1].logits, expected.logits, rtol=BOUND, atol=1e-6)


@pytest.mark.parametrize("edges", Edges)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("msnet_resnet18", size) for size in (1, 5, 16, 100)),
        ("msnet_resnet50", 5),
        *(pytest.param("msnet_resnet50", size, marks=pytest.mark.slow) for size in (1, 16, 100)),
        *(("msnet_mobilenetv2", size) for size in (1, 5, 16, 100)),
    ],
)
def test_dense_stream_equals_one_uncut_pass(name: str, size: int, edges: Edges) -> None:
    network = random_network(name, num_classes=3, edges=edges)
    check_equals_uncut(network, sequence(21), pushes(21, size))


@pytest.mark.parametrize("clips", [[[0, 8], [8, 16], [13, 21]], [[k, k + 4] for k in range(18)], [[0, 2], [15, 17]]])
@pytest.mark.parametrize("sizes", [[21], [1] * 21, [9, 2, 10]])
def test_clips_of_a_stream_are_means_over_their_frames(clips: list[list[int]], sizes: list[int]) -> None:
    network = random_network("msnet_resnet18", num_classes=3)
    frames = sequence(21, 32, 32)
    dense = DenseStream(network, np.array(clips))
    pieces = frames.split(sizes)
    outputs = [*map(dense.push, pieces[:-1]), dense.finish(pieces[-1])]
    features = torch.cat([output.frame_features for output in outputs]).double()
    assert len(features) == 21
    expected = torch.stack([features[start:stop].mean(0) for start, stop in clips]).float()
    found = torch.cat([output.clip_features for output in outputs])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert network.classifier is not None
    torch.testing.assert_close(torch.cat([output.logits for output in outputs]), network.classifier(expected))
    known = np.cumsum([len(output.frame_features) for output in outputs])
    first = [output.first_clip for output in outputs] + [len(clips)]
    assert first[1:] == [sum(stop <= frames for _, stop in clips) for frames in known]


@pytest.mark.parametrize("sizes", [[5], [2, 3], [4, 1]])
def test_the_last_frames_may_come_with_the_end(sizes: list[int]) -> None:
    network = random_network("msnet_resnet18")
    frames = sequence(5, 32, 32)
    dense = DenseStream(network)
    pieces = frames.split(sizes)
    outputs = [*map(dense.push, pieces[:-1]), dense.finish(pieces[-1])]
    alone = stream(network, frames, sizes)
    for name in ("frame_features", "displacement", "clip_features"):
        whole = torch.cat([getattr(output, name) for output in alone])
        assert torch.equal(torch.cat([getattr(output, name) for output in outputs]), whole), name


@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_mobilenetv2", "tsm_resnet50"])
def test_frames_that_stand_still_have_one_feature_where_edges_repeat(name: str) -> None:
    network = random_network(name)
    still = sequence(1).expand(12, -1, -1, -1)
    pieces = torch.cat([output.frame_features for output in stream(network, still, [5, 7])])
    for features in (network(still.unsqueeze(0)).frame_features[0], pieces):
        norms = features.norm(dim=1)
        assert norms.max() / norms.median() < 1 + 1e-4
    network = random_network(name, edges=Edges.ZEROS)
    norms = network(still.unsqueeze(0)).frame_features[0].norm(dim=1)
    assert norms.max() / norms.min() > 1.02


@pytest.mark.parametrize("name", ["tsn_resnet18", "tsm_resnet18"])
def test_dense_stream_works_without_motion(name: str) -> None:
    network = random_network(name, num_classes=3)
    check_equals_uncut(network, sequence(12), [5, 1, 6])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_dense_stream_takes_sequences_shorter_than_the_reach(count: int) -> None:
    network = random_network("msnet_resnet50", num_classes=3)
    for size in (1, count):
        check_equals_uncut(network, sequence(count, 32, 32), pushes(count, size))


def test_dense_stream_follows_blocks_that_do_not_shift() -> None:
    every_second = [block for i, block in enumerate(describe_network("tsm_resnet50").shifted_blocks) if i % 2 == 0]
    spec = describe_network("msnet_resnet50", num_classes=3, shifted_blocks=every_second)
    network = fuse(build_network(spec))
    assert network.spec.reach == (8, 9)
    check_equals_uncut(network, sequence(20, 32, 32), [3, 3, 8, 6])


def test_dense_stream_keeps_its_state_to_itself() -> None:
    network = random_network("msnet_resnet18")
    first, second = sequence(9, 32, 32, seed=1), sequence(9, 32, 32, seed=2)
    alone = stream(network, first, [4, 5])
    one, other = DenseStream(network), DenseStream(network)
    interleaved = []
    for piece, noise in zip(first.split([4, 5]), second.split([4, 5]), strict=True):
        interleaved.append(one.push(piece))
        other.push(noise)
    interleaved.append(one.finish())
    for got, expected in zip(interleaved, alone, strict=True):
        assert torch.equal(got.frame_features, expected.frame_features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dense_stream_works_in_lower_precision(dtype: torch.dtype) -> None:
    network = random_network("msnet_resnet18", dtype=dtype)
    frames = sequence(8, 32, 32)
    got = torch.cat([output.frame_features for output in stream(network, frames, [3, 1, 4])])
    expected = network(frames.unsqueeze(0)).frame_features[0]
    assert (got - expected).norm() / expected.norm() < 1e-2


def test_dense_stream_refuses_what_is_no_sequence() -> None:
    network = random_network("tsn_resnet18")
    dense = DenseStream(network)
    with pytest.raises(ValueError, match="at least 2 frames; got 0"):
        dense.finish()
    dense.push(sequence(1))
    with pytest.raises(ValueError, match="at least 2 frames; got 1"):
        dense.finish()
    with pytest.raises(ValueError, match=r"like those before; got \(64, 64\)"):
        dense.push(sequence(1, 64, 64))
    with pytest.raises(ValueError, match=r"\(n, 3, H, W\)"):
        dense.push(torch.zeros(0, 3, 8, 8))
    dense.push(sequence(1))
    dense.finish()
    with pytest.raises(ValueError, match="unfinished sequence of at least 2 frames; got a finished one"):
        dense.finish()
    with pytest.raises(ValueError, match="unfinished stream; got frames after its end"):
        dense.push(sequence(1))
    with pytest.raises(ValueError, match="evaluation mode"):
        DenseStream(build_network("tsn_resnet18"))
