"""The way to a GPU without one: every kind of network through the feeder on a fake device, and planted faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from extractor.extraction.resolving import network_shape
from extractor.models.loading import _pixel_statistics, load_model, normalize
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.pieces import Piece
from extractor.models.streaming import SequenceStreams
from extractor.pipeline.devices import CUDADevice, Device
from schemas.config import Sampling
from schemas.layout import datasets_of
from schemas.records import Item
from schemas.tensors import output_choices
from tests.extractor.models.test_pieces import random_batches, ranges_of
from tests.extractor.pipeline.fake_cuda import FakeCuda, FakeStream, WaitedError, WrongDeviceError, fake_cuda
from tests.extractor.pipeline.lacking_memory import LackingDevice
from tests.extractor.pipeline.test_out_of_memory import failing_at
from tests.extractor.pipeline.truth import File, events_of, make_config, make_frames, make_plan

pytestmark = pytest.mark.slow

Network = MSNet | MSNetEnsemble
DTYPES = ("float32", "float16", "bfloat16")
ENSEMBLE = "msnet_en_resnet18"
NETWORKS = ("msnet_resnet18", "tsm_resnet18", "tsn_resnet18", "msnet_resnet50", "msnet_mobilenetv2", ENSEMBLE)


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCuda]:
    with fake_cuda(tmp_path_factory.mktemp("compiled")) as mode:
        with mode.waiting():
            normalize(torch.zeros(1, 8, 8, 3, dtype=torch.uint8, device="cuda"))  # makes constants, once
        yield mode


@pytest.fixture(scope="module", params=[(name, dtype) for name in NETWORKS for dtype in DTYPES], ids="-".join)
def network(request: pytest.FixtureRequest, cuda: FakeCuda) -> Network:
    name, dtype = request.param
    return load(cuda, name, dtype)


@pytest.fixture(scope="module")
def msnet(cuda: FakeCuda) -> MSNet:
    found = load(cuda, "msnet_resnet18", "float32")
    assert isinstance(found, MSNet)
    return found


def load(cuda: FakeCuda, name: str, dtype: str) -> Network:
    with cuda.waiting():
        return load_model(name, weights="random", num_classes=5, dtype=getattr(torch, dtype), device="cuda")


def on_device(*shape: int) -> Tensor:
    return torch.empty(*shape, 3, 64, 64, device="cuda")


def assert_on_device(output: Any) -> None:
    for field in fields(output):
        tensor = getattr(output, field.name)
        if tensor is not None:
            assert tensor.device.type == "cuda", field.name
            assert tensor.dtype == (torch.bool if field.name == "tied" else torch.float32), field.name


def extract(
    network: Network, sampling: Sampling, dtype: str, batch_frames: int = 16, device: Device | None = None
) -> None:
    """Three items of a file through the feeder, whose rows are checked against the store's datasets."""
    name, ensemble = network.spec.name, network.spec.is_ensemble
    lengths = tuple(member.num_segments for member in network.spec.members)
    config = make_config(
        model=name,
        sampling=sampling,
        dtype=dtype,
        store_dtype="float16",
        num_frames=None if ensemble else 8,
        outputs=tuple(
            choice
            for choice, stored in output_choices().items()
            if (stored.needs != "motion" or network.members[0].spec.has_motion)
            and (stored.grid or ()) <= (2, 2)  # stage 4 has 2 x 2 cells
        ),
    )
    plans = [make_plan(40, config, Item(k, *span), lengths) for k, span in (("a", (0, 3)), ("b", (1, 3)), ("c", ()))]
    file = File(network, config, "a", "b", "c", batch_frames=batch_frames, device=device or CUDADevice("cuda"))
    file.take(events_of(make_frames(40), plans, chunks=(3, 11))).flush()
    assert [type(report).__name__ for report in file.reports] == ["ItemDone"] * 3, file.reports
    for dataset in datasets_of(config, network_shape(config, 5)):
        for writer in file.writers.values():
            rows = writer.rows[dataset.path]
            assert (rows.shape[1:], rows.dtype) == (dataset.shape, dataset.dtype), dataset.path


def test_a_forward_pass_stays_on_the_device(network: Network) -> None:
    with torch.no_grad():
        if isinstance(network, MSNetEnsemble):
            output = network([on_device(2, member.num_segments) for member in network.spec.members])
        else:
            output = network(on_device(2, 5))
    assert_on_device(output)


def test_streams_of_ragged_batches_stay_on_the_device(network: Network) -> None:
    lengths = [2, 3, 17, 9, 2]
    for member in network.members:
        streams = SequenceStreams(member)
        for batch in random_batches(lengths, np.random.default_rng(3)):
            pieces = [Piece(n, stop - start, stop == lengths[n], ranges_of(n, lengths[n])) for n, start, stop in batch]
            plan = streams.open.plan(pieces)
            output = streams.run(on_device(sum(piece.frames for piece in pieces)), plan)
            assert_on_device(output)
            assert len(output.frame_features) == plan.frames.sum()
            assert len(output.clip_features) == plan.clips.sum()


def test_the_feeder_never_waits_but_for_the_rows(network: Network) -> None:
    dtype = str(network.members[0].compute_dtype).removeprefix("torch.")
    for sampling in (Sampling.SEGMENTS,) if network.spec.is_ensemble else Sampling:
        extract(network, sampling, dtype)


def planted(work: Callable[[Tensor], object]) -> Callable[[Tensor], Tensor]:
    """`normalize` that also does `work` on the frames, on the device."""

    def normalize_and_more(pixels: Tensor) -> Tensor:
        frames = normalize(pixels)
        work(frames)
        return frames

    return normalize_and_more


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x[0, 0, 0, 0].item(),
    "float": lambda x: float(x.sum()),
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x[0, 0, 0].tolist(),
    "bool": lambda x: bool((x > 0).any()),
    "if": lambda x: 1 if x.isnan().any() else 0,
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: x.unique(),
    "masked select": lambda x: x.masked_select(x > 0),
    "mask as an index": lambda x: x[x > 0],
    "mask that is assigned to": lambda x: x.__setitem__(x[:, 0, 0, 0] > 0, x[:1]),
    "repeats": lambda x: x.repeat_interleave(torch.ones(len(x), dtype=torch.int64, device="cuda"), 0),
    "constant": lambda x: torch.tensor([0.5, 0.25], device="cuda"),
    "constant like": lambda x: x.new_tensor([0.5, 0.25]),
    "upload": lambda x: torch.ones(3).to("cuda"),
    "upload, not blocking, not pinned": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "upload, blocking, pinned": lambda x: torch.ones(3).pin_memory().to("cuda"),
    "upload into": lambda x: torch.empty(3, device="cuda").copy_(torch.ones(3)),
    "download": lambda x: torch.empty(x.shape, pin_memory=True).copy_(x),
    "download, not blocking, not pinned": lambda x: torch.empty(x.shape).copy_(x, non_blocking=True),
    "synchronize": lambda x: torch.cuda.synchronize(),
}
MISPLACED: dict[str, Callable[[Tensor], object]] = {
    "rows": lambda x: x[torch.arange(len(x))],
    "rows to fill": lambda x: x.index_fill(0, torch.arange(len(x)), 0),
    "rows assigned to": lambda x: x.__setitem__(torch.arange(len(x)), x),
    "operand": lambda x: x + torch.ones(64),
}


@pytest.mark.parametrize("work", WAITING.values(), ids=WAITING)
def test_what_waits_while_a_batch_is_launched_is_noticed(
    work: Callable[[Tensor], object], msnet: MSNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.pipeline.feeder.normalize", planted(work))
    with pytest.raises(WaitedError):
        extract(msnet, Sampling.WINDOWS, "float32")


@pytest.mark.parametrize("work", MISPLACED.values(), ids=MISPLACED)
def test_a_tensor_on_the_wrong_device_is_noticed(
    work: Callable[[Tensor], object], msnet: MSNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.pipeline.feeder.normalize", planted(work))
    with pytest.raises(WrongDeviceError):
        extract(msnet, Sampling.WINDOWS, "float32")


@pytest.mark.parametrize("name", ["kernel", "distant", "by_priority", "priority", "offsets"])
def test_a_table_of_the_network_left_on_the_cpu_is_noticed(
    name: str, msnet: MSNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert msnet.motion_squeeze is not None
    tables = msnet.motion_squeeze.soft_argmax
    monkeypatch.setitem(tables._buffers, name, torch.ones(getattr(tables, name).shape))
    with pytest.raises(WrongDeviceError):
        extract(msnet, Sampling.WINDOWS, "float32")


def test_a_table_of_rows_left_on_the_cpu_is_noticed(msnet: MSNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.models.streaming._upload", lambda array, device: torch.from_numpy(array))
    with pytest.raises(WrongDeviceError):
        extract(msnet, Sampling.WINDOWS, "float32")


def test_frames_from_memory_that_is_not_pinned_are_noticed(msnet: MSNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDADevice, "buffer", Device.buffer)
    with pytest.raises(WaitedError, match="an upload"):
        extract(msnet, Sampling.WINDOWS, "float32")


def test_constants_are_made_once_and_by_the_host(cuda: FakeCuda) -> None:
    """Made on a stream, another stream could read them before they are done."""
    frames = torch.zeros(1, 8, 8, 3, dtype=torch.uint8, device="cuda")
    _pixel_statistics.cache_clear()
    with cuda.waiting():
        normalize(frames)
    normalize(frames)


def test_a_launch_follows_what_the_usual_stream_does(msnet: MSNet, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[FakeStream] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: streams.append(FakeStream()) or streams[-1])
    extract(msnet, Sampling.WINDOWS, "float32")
    (stream,) = streams
    assert stream.waited_for and set(stream.waited_for) == {torch.cuda.current_stream()}


def test_batches_without_memory_are_halved_and_leave_nothing(msnet: MSNet) -> None:
    """As on a CPU, and in the downloads too."""
    noted = LackingDevice(CUDADevice("cuda"), iter(lambda: None, 0))
    extract(msnet, Sampling.WINDOWS, "float32", 16, noted)
    count = min(noted.operations)
    operations = [*np.random.default_rng(0).integers(0, count, 3).tolist(), noted.operations[0] - 1]
    device = LackingDevice(CUDADevice("cuda"), failing_at(operations))
    extract(msnet, Sampling.WINDOWS, "float32", 16, device)
    assert device.fails > 1


def test_the_batch_follows_from_the_free_memory(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    device = CUDADevice("cuda")
    for free, size, frames in ((100 << 30, 224, 256), (100 << 30, 448, 64), (2 << 30, 224, 83), (0, 224, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 200 << 30))
        assert device.batch_frames(size) == frames


def test_busy_time_is_that_between_the_events_of_each_batch(msnet: MSNet) -> None:
    device = CUDADevice("cuda")
    extract(msnet, Sampling.DENSE, "float32", 7, device)
    assert device.busy_seconds == pytest.approx(0.001 * -(-(30 + 20 + 40) // 7))
