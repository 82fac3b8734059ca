"""A batch for which there is no memory, at any operation: nothing is lost, and nothing of the failed try is held."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from extractor.pipeline.devices import CPUDevice, Ticket, Work
from extractor.pipeline.messages import Rows
from schemas.errors import ResourceError
from tests.extractor.pipeline.lacking_memory import LackingDevice, LackingMemory
from tests.extractor.pipeline.test_feeder import PUSHES, SEQUENCES, run
from tests.extractor.pipeline.truth import make_frames


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """What only the garbage collector would free is held until it happens to come."""
    with LackingMemory(None):  # what is made once: constants, and what torch imports for a dispatch mode
        normalize(make_frames(1))
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def operations_of_a_batch(network: MSNet) -> int:
    device = LackingDevice(CPUDevice(), iter(lambda: None, 0))
    run(network, SEQUENCES, PUSHES, 16, device)
    return min(device.operations)


def failing_at(operations: list[int]) -> Iterator[int | None]:
    """A launch fails at each of these operations; the one after it does not."""
    for operation in operations:
        yield operation
        yield None
    while True:
        yield None


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_a_batch_that_fails_at_any_operation_changes_no_row_and_leaves_nothing(seed: int, network: MSNet) -> None:
    expected = run(network, SEQUENCES, PUSHES, 16)
    count = operations_of_a_batch(network)
    operations = np.random.default_rng(seed).integers(0, count, 6).tolist()
    device = LackingDevice(CPUDevice(), failing_at(operations))
    found = run(network, SEQUENCES, PUSHES, 32, device)
    assert device.fails > 2
    for number, rows in expected.items():
        for path, array in rows.items():
            np.testing.assert_array_equal(found[number][path], array, path)


def test_a_batch_that_fails_at_its_last_operation_is_tried_again_as_it_was(network: MSNet) -> None:
    """There the network has run, and its rows are brought to the store's formats or to the host."""
    expected = run(network, SEQUENCES, PUSHES, 16, store_dtype="float16")
    noted = LackingDevice(CPUDevice(), iter(lambda: None, 0))
    run(network, SEQUENCES, PUSHES, 16, noted, store_dtype="float16")
    device = LackingDevice(CPUDevice(), failing_at([noted.operations[0] - 1]))
    found = run(network, SEQUENCES, PUSHES, 16, device, store_dtype="float16")
    assert device.fails == 1
    for number, rows in expected.items():
        for path, array in rows.items():
            np.testing.assert_array_equal(found[number][path], array, path)


class ReadingLate(CPUDevice):
    """Reads its frames as late as a stream may, when its rows are waited for: it looks whether they are the same."""

    def launch(self, work: Work) -> Ticket:
        return _Late(super().launch(work), work.buffer)  # type: ignore[attr-defined]


class _Late:
    def __init__(self, ticket: Ticket, buffer: torch.Tensor) -> None:
        self._ticket, self._buffer, self._frames = ticket, buffer, buffer.clone()

    def done(self) -> bool:
        return False

    def rows(self) -> Rows:
        assert torch.equal(self._buffer, self._frames), "frames were written over before they were read"
        return self._ticket.rows()


@pytest.mark.parametrize(
    "failing",
    [
        "10",
        "110",
        "10101",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("1010", "1101", "1010101", "1100101")),
    ],
)
def test_frames_of_a_batch_in_halves_stay_until_all_of_them_were_read(failing: str, network: MSNet) -> None:
    device = LackingDevice(ReadingLate(), (3 if lacks == "1" else None for lacks in failing.ljust(100, "0")))
    expected = run(network, SEQUENCES, PUSHES, 16)
    found = run(network, SEQUENCES, PUSHES, 16, device)
    for number, rows in expected.items():
        for path, array in rows.items():
            np.testing.assert_array_equal(found[number][path], array, path)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCompile with ...",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_libraries_without_memory_are_understood_and_quoted(message: str, network: MSNet) -> None:
    class Full(CPUDevice):
        def launch(self, work: Work) -> Ticket:
            raise RuntimeError(message)

    with pytest.raises(ResourceError, match="memory on the device for one frame of 64 px") as caught:
        run(network, SEQUENCES, PUSHES, 16, Full())
    assert message.partition("\n")[0] in str(caught.value)


def test_a_held_tensor_is_noticed(network: MSNet) -> None:
    """Planted: an error that is kept, and with it the frames of the failed try."""

    class Keeping(LackingDevice):
        def launch(self, work: Work) -> Ticket:
            try:
                return super().launch(work)
            except torch.OutOfMemoryError as error:
                self.kept = error
                raise

    device = Keeping(CPUDevice(), failing_at([operations_of_a_batch(network) // 2]))
    with pytest.raises(AssertionError, match="of the failed try are still referenced"):
        run(network, SEQUENCES, PUSHES, 16, device)
