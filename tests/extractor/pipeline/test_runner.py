from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.loading import load_model
from extractor.models.msnet import MSNet, MSNetEnsemble, MSNetOutput
from extractor.pipeline.rows import Rows
from extractor.pipeline.runner import NetworkRunner, load_network
from tests.extractor.pipeline.truth import assert_close, expected_clips, make_config, make_frames


class MeanNetwork:
    """Stands in for a network: a clip's feature is the mean of its values. It notes the shapes of its batches."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.members = (self,)

    def __call__(self, frames: torch.Tensor) -> MSNetOutput:
        self.batches.append((frames.shape[0], frames.shape[1]))
        features = frames.mean((2, 3, 4))[..., None]  # (B, T, 1)
        return MSNetOutput(features.mean(1), features, None, None, None, None, None)


def make_runner(batch_frames: int) -> tuple[NetworkRunner, MeanNetwork]:
    network: Any = MeanNetwork()
    return NetworkRunner(network, make_config(outputs=("clip",)), batch_frames=batch_frames), network


def clip_of(value: int, frames: int = 8) -> np.ndarray:
    return np.full((frames, 4, 4, 3), value, np.uint8)


def submit_all(runner: NetworkRunner, values: list[int], frames: int = 8) -> list[int]:
    """Submit clips of one grey; the list that comes back fills with the greys whose results arrived."""
    arrived: list[int] = []
    greys = {round(float(expected_mean(v)), 3): v for v in values}

    def receive(rows: Rows) -> None:
        arrived.append(greys[round(float(rows["clips/feature"][0, 0]), 3)])

    for value in values:
        runner.submit(0, clip_of(value, frames), receive)
    return arrived


def expected_mean(value: int) -> np.floating[Any]:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((value / 255 - mean) / std).mean()


@pytest.mark.parametrize(
    ("batch_frames", "batches"),
    [(1, [1] * 5), (8, [1] * 5), (15, [1] * 5), (16, [2, 2, 1]), (24, [3, 2]), (31, [3, 2]), (1000, [5])],
)
def test_clips_share_batches_of_so_many_frames(batch_frames: int, batches: list[int]) -> None:
    runner, network = make_runner(batch_frames)
    arrived = submit_all(runner, [10, 60, 110, 160, 210])
    runner.flush()
    assert network.batches == [(count, 8) for count in batches]
    assert arrived == [10, 60, 110, 160, 210]


def test_results_of_a_batch_come_while_the_next_one_is_computed() -> None:
    runner, _ = make_runner(16)
    arrived = submit_all(runner, [10, 60])
    assert arrived == []
    later = submit_all(runner, [110, 160])
    assert (arrived, later) == ([10, 60], [])
    runner.flush()
    assert later == [110, 160]


def test_second_flush_delivers_nothing() -> None:
    runner, network = make_runner(1000)
    arrived = submit_all(runner, [10, 60])
    runner.flush()
    runner.flush()
    assert arrived == [10, 60]
    assert len(network.batches) == 1


def test_clips_of_different_lengths_do_not_share_a_batch() -> None:
    runner, network = make_runner(1000)
    short, long = submit_all(runner, [10, 60], frames=4), submit_all(runner, [10, 60], frames=6)
    runner.flush()
    assert sorted(network.batches) == [(2, 4), (2, 6)]
    assert short == long == [10, 60]


def test_frames_are_normalised_as_the_networks_want_them() -> None:
    runner, _ = make_runner(8)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(runner.to_device(pixels).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_time_of_the_network_is_counted(network: MSNet) -> None:
    runner = NetworkRunner(network, make_config(), batch_frames=8)
    before = runner.network_seconds
    runner.submit(0, make_frames(8), lambda rows: None)
    runner.flush()
    of_clips = runner.network_seconds - before
    runner.sequence(np.array([[0, 8]])).push(make_frames(8), last=True)
    assert before == 0
    assert 0 < of_clips < runner.network_seconds


def test_members_of_an_ensemble_see_their_own_clips(ensemble: MSNetEnsemble) -> None:
    runner = NetworkRunner(ensemble, make_config(outputs=("clip", "frame")), batch_frames=100)
    found: dict[int, Rows] = {}
    frames = {0: make_frames(8, 1), 1: make_frames(16, 2)}
    for member in (1, 0):
        runner.submit(member, frames[member], lambda rows, member=member: found.update({member: rows}))
    runner.flush()
    for member, network in enumerate(ensemble.members):
        expected = expected_clips(network, [frames[member]])
        assert_close(found[member], {path: expected[path] for path in ("clips/feature", "frames/feature")})


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_sequence_returns_every_row_once(pieces: int, network: MSNet) -> None:
    frames = make_frames(26)
    runner = NetworkRunner(network, make_config(sampling="dense"), batch_frames=pieces)
    sequence = runner.sequence(np.array([[0, 26]]))
    parts = (frames[:2], frames[2:19], frames[19:])
    rows = [one for part in parts for one in sequence.push(part, last=part is parts[-1])]
    joined = {path: np.concatenate([one[path] for one in rows if path in one]) for path in rows[-1]}
    expected = expected_clips(network, [frames])
    del expected["clips/logits"]
    assert_close(joined, expected)
    assert [len(one["clips/feature"]) for one in rows] == [0] * (len(rows) - 1) + [1]


@pytest.mark.parametrize(
    ("fields", "num_segments"),
    [
        ({"model": "tsm_resnet18", "num_frames": 12, "seed": 3}, (12,)),
        ({"model": "tsn_resnet18", "sampling": "dense", "dtype": "bfloat16"}, (8,)),
        ({"model": "msnet_en_resnet18", "sampling": "segments", "num_frames": None}, (8, 16)),
    ],
)
def test_load_network_follows_the_configuration(fields: dict[str, Any], num_segments: tuple[int, ...]) -> None:
    config = make_config(**fields)
    network = load_network(config, "random", "cpu")
    assert network.spec.name == config.model
    assert tuple(member.num_segments for member in network.spec.members) == num_segments
    assert tuple(member.spec for member in network.members) == network.spec.members
    if isinstance(network, MSNet):
        assert network.compute_dtype == getattr(torch, config.dtype.value)
        other = load_model(config.model, weights="random", seed=config.seed or 0, dtype=network.compute_dtype)
        for name, tensor in other.state_dict().items():
            assert torch.equal(network.state_dict()[name], tensor)
