"""Frames to batches and batches to rows: who shares a batch, and what a device without memory does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from extractor.models.loading import load_model, normalize
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.pieces import WHOLE
from extractor.pipeline.devices import CPUDevice, Device, StandInDevice, Ticket, Work
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.messages import ROW_KINDS, BatchRows, Rows, row_kinds
from extractor.pipeline.network import load_network
from schemas.errors import ResourceError
from schemas.layout import datasets_of
from schemas.tensors import NetworkShape
from tests.extractor.pipeline.truth import assert_close, expected_clips, make_config, make_frames

SHAPE = NetworkShape(512, 512, 128, (8, 8), 5)


class Noting(CPUDevice):
    """A device that notes how many frames its batches have, and has no memory for some of them."""

    def __init__(self, failing: Any = ()) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.launches = 0
        self._failing = iter(failing)

    def launch(self, work: Work) -> Ticket:
        self.launches += 1
        if next(self._failing, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(work.frames)
        return super().launch(work)


def run(
    network: Any,
    sequences: Mapping[int, np.ndarray],
    pushes: list[tuple[int, int]],
    batch_frames: int,
    device: Device | None = None,
    **fields: Any,
) -> dict[int, Rows]:
    """All rows of sequences that are pushed in turns (sequence, frames), the rest of each at its last turn."""
    delivered: list[BatchRows] = []
    config = make_config(sampling="dense", **fields)
    feeder = Feeder(
        network, config, datasets_of(config, SHAPE), device or CPUDevice(), delivered.append, batch_frames=batch_frames
    )
    opened = {number: feeder.open(number, 0, 0, WHOLE) for number in sequences}
    left = dict(sequences)
    for turn, (number, count) in enumerate(pushes):
        last = all(later != number for later, _ in pushes[turn + 1 :])
        take = len(left[number]) if last else count
        feeder.push(opened[number], [left[number][:take]], last=last)
        left[number] = left[number][take:]
        feeder.poll()
    feeder.flush()
    return rows_of(delivered)


def rows_of(delivered: list[BatchRows]) -> dict[int, Rows]:
    found: dict[int, dict[str, list[Any]]] = {}
    for batch in delivered:
        at, kinds = dict.fromkeys(ROW_KINDS, 0), row_kinds()
        for item, _, *counts in batch.spans.tolist():
            own = dict(zip(at, counts, strict=True))
            for path, array in batch.rows.items():
                kind = kinds[path]
                found.setdefault(item, {}).setdefault(path, []).append(array[at[kind] : at[kind] + own[kind]])
            at = {kind: at[kind] + own[kind] for kind in at}
        for path, array in batch.rows.items():
            assert len(array) == at[kinds[path]], path
    return {item: {path: np.concatenate(parts) for path, parts in rows.items()} for item, rows in found.items()}


SEQUENCES = {number: make_frames(count, number) for number, count in ((1, 9), (2, 30), (3, 2), (4, 17))}
PUSHES = [(1, 4), (2, 11), (4, 3), (3, 2), (2, 7), (1, 5), (4, 14), (2, 12)]


@pytest.mark.parametrize("batch_frames", [1, 7, 16, 1000])
def test_every_sequence_has_the_rows_of_one_uncut_pass(batch_frames: int, network: MSNet) -> None:
    device = Noting()
    found = run(network, SEQUENCES, PUSHES, batch_frames, device)
    for number, frames in SEQUENCES.items():
        expected = expected_clips(network, [frames])
        del expected["clips/logits"]
        assert_close(found[number], expected)
    assert sum(device.batches) == sum(map(len, SEQUENCES.values()))
    assert all(count <= batch_frames for count in device.batches)
    assert device.batches[:-1] == [batch_frames] * (len(device.batches) - 1), "only the last batch is not full"


def test_results_do_not_depend_on_the_batches_to_the_bit(network: MSNet) -> None:
    first = run(network, SEQUENCES, PUSHES, 5)
    for batch_frames, pushes in ((16, PUSHES), (1000, sorted(PUSHES))):
        for number, rows in run(network, SEQUENCES, pushes, batch_frames).items():
            for path, array in rows.items():
                np.testing.assert_array_equal(array, first[number][path], path)


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 6), marks=pytest.mark.slow)])
def test_a_device_without_memory_gets_half_the_batch(network: MSNet, seeds: range) -> None:
    """At random launches; no sequence is the worse for it."""
    expected = run(network, SEQUENCES, PUSHES, 16)
    for seed in seeds:
        random = np.random.default_rng(seed)
        lacks = np.concatenate([[True], random.random(30) < 0.5])
        lacks[1:] &= ~lacks[:-1]  # half a batch fits
        device = Noting(lacks)
        found = run(network, SEQUENCES, PUSHES, 32, device)
        assert device.launches > len(device.batches)
        for number, rows in expected.items():
            for path, array in rows.items():
                np.testing.assert_array_equal(found[number][path], array, path)


def test_a_device_without_memory_for_one_frame_ends_the_run_in_a_sentence(network: MSNet) -> None:
    with pytest.raises(ResourceError, match="expected memory on the device for one frame of 64 px"):
        run(network, SEQUENCES, PUSHES, 16, Noting(iter(lambda: True, False)))


def test_other_errors_are_not_taken_for_a_lack_of_memory(network: MSNet) -> None:
    class Broken(CPUDevice):
        def launch(self, work: Work) -> Ticket:
            raise RuntimeError("a kernel that does not exist")

    with pytest.raises(RuntimeError, match="a kernel that does not exist"):
        run(network, SEQUENCES, PUSHES, 16, Broken())


def test_a_dropped_sequence_leaves_the_others_as_they_are(network: MSNet) -> None:
    config = make_config(sampling="dense")
    delivered: list[BatchRows] = []
    feeder = Feeder(network, config, datasets_of(config, SHAPE), CPUDevice(), delivered.append, batch_frames=8)
    kept, dropped = (feeder.open(number, 0, 0, WHOLE) for number in (1, 2))
    frames = make_frames(20)
    feeder.push(kept, [frames[:6]], last=False)
    feeder.push(dropped, [make_frames(5, 3)], last=False)
    feeder.drop(dropped)
    feeder.push(kept, [frames[6:9], frames[9:]], last=True)
    feeder.flush()
    expected = expected_clips(network, [frames])
    del expected["clips/logits"]
    assert_close(rows_of(delivered)[1], expected)


def test_members_of_an_ensemble_have_batches_of_their_own(ensemble: MSNetEnsemble) -> None:
    delivered: list[BatchRows] = []
    config = make_config(outputs=("clip", "frame"))
    device = Noting()
    feeder = Feeder(ensemble, config, datasets_of(config, SHAPE), device, delivered.append, batch_frames=100)
    frames = {0: make_frames(8, 1), 1: make_frames(16, 2)}
    for member in (1, 0):
        feeder.push(feeder.open(member, 0, member, WHOLE), [frames[member]], last=True)
    feeder.flush()
    assert sorted(device.batches) == [8, 16]
    for member, network in enumerate(ensemble.members):
        expected = expected_clips(network, [frames[member]])
        assert_close(rows_of(delivered)[member], {path: expected[path] for path in ("clips/feature", "frames/feature")})


def test_a_stand_in_returns_rows_of_the_right_shapes_in_its_time(network: MSNet) -> None:
    device = StandInDevice(2000.0, 16)
    found = run(network, SEQUENCES, PUSHES, 16, device)
    real = run(network, SEQUENCES, PUSHES, 16)
    for number, rows in real.items():
        assert {path: array.shape for path, array in found[number].items()} == {
            path: array.shape for path, array in rows.items()
        }
        assert {path: array.dtype for path, array in found[number].items()} == {
            path: array.dtype for path, array in rows.items()
        }
    assert device.busy_seconds == pytest.approx(sum(map(len, SEQUENCES.values())) / 2000.0)


def test_time_of_the_device_is_counted(network: MSNet) -> None:
    device = CPUDevice()
    run(network, SEQUENCES, PUSHES, 16, device)
    assert device.busy_seconds > 0


@pytest.mark.parametrize(("size", "frames"), [(224, 12), (112, 32), (64, 98), (512, 2), (4096, 1)])
def test_batches_on_a_cpu_follow_from_the_frame_size(size: int, frames: int) -> None:
    assert CPUDevice().batch_frames(size) == frames


def test_frames_are_normalised_as_the_networks_want_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normalize(pixels).numpy(), expected, rtol=1e-5, atol=1e-5)


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
