"""Dense streams against one uncut pass over the whole sequence."""

from __future__ import annotations

import pytest
import torch

from extractor import DenseStream, MSNet, load_model
from extractor.models.fusion import fuse
from extractor.models.msnet import build_network
from extractor.models.spec import describe_network
from extractor.models.streaming import StreamOutput

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
    starts = {"first_frame": 0, "first_motion": 0, "first_pair": 0}
    for output in outputs:
        assert {name: getattr(output, name) for name in starts} == starts
        starts["first_frame"] += len(output.frame_features)
        starts["first_motion"] += 0 if output.motion is None else len(output.motion)
        starts["first_pair"] += 0 if output.tied is None else len(output.tied)
    names = ["frame_features"] + ["motion", "displacement", "confidence"] * network.spec.has_motion
    for name in names:
        whole, pieces = getattr(expected, name)[0], torch.cat([getattr(output, name) for output in outputs])
        assert pieces.shape == whole.shape, name
        if name == "displacement":
            assert expected.tied is not None
            keep = ~expected.tied[0].unsqueeze(1)
            whole, pieces = whole * keep, pieces * keep
        assert (pieces - whole).norm() / whole.norm() < BOUND, name
    assert all(output.clip_features is None and output.logits is None for output in outputs[:-1])
    torch.testing.assert_close(outputs[-1].clip_features, expected.clip_features[0], rtol=BOUND, atol=1e-6)
    assert expected.logits is not None
    torch.testing.assert_close(outputs[-1].logits, expected.logits[0], rtol=BOUND, atol=1e-6)


@pytest.mark.parametrize("size", [1, 5, 16, 100])
@pytest.mark.parametrize("name", ["msnet_resnet18", "msnet_resnet50", "msnet_mobilenetv2"])
def test_dense_stream_equals_one_uncut_pass(name: str, size: int) -> None:
    network = load_model(name, weights="random", num_classes=3)
    check_equals_uncut(network, sequence(21), pushes(21, size))


@pytest.mark.parametrize("name", ["tsn_resnet18", "tsm_resnet18"])
def test_dense_stream_works_without_motion(name: str) -> None:
    network = load_model(name, weights="random", num_classes=3)
    check_equals_uncut(network, sequence(12), [5, 1, 6])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_dense_stream_takes_sequences_shorter_than_the_reach(count: int) -> None:
    network = load_model("msnet_resnet50", weights="random", num_classes=3)
    for size in (1, count):
        check_equals_uncut(network, sequence(count, 32, 32), pushes(count, size))


def test_dense_stream_follows_blocks_that_do_not_shift() -> None:
    every_second = [block for i, block in enumerate(describe_network("tsm_resnet50").shifted_blocks) if i % 2 == 0]
    spec = describe_network("msnet_resnet50", num_classes=3, shifted_blocks=every_second)
    network = fuse(build_network(spec))
    assert network.spec.reach == (8, 9)
    check_equals_uncut(network, sequence(20, 32, 32), [3, 3, 8, 6])


def test_dense_stream_keeps_its_state_to_itself() -> None:
    network = load_model("msnet_resnet18", weights="random")
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
    network = load_model("msnet_resnet18", weights="random", dtype=dtype)
    frames = sequence(8, 32, 32)
    got = torch.cat([output.frame_features for output in stream(network, frames, [3, 1, 4])])
    expected = network(frames.unsqueeze(0)).frame_features[0]
    assert (got - expected).norm() / expected.norm() < 1e-2


def test_dense_stream_refuses_what_is_no_sequence() -> None:
    network = load_model("tsn_resnet18", weights="random")
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
    with pytest.raises(ValueError, match="finished"):
        dense.push(sequence(1))
    with pytest.raises(ValueError, match="evaluation mode"):
        DenseStream(build_network("tsn_resnet18"))
