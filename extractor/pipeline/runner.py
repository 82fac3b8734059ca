"""The network's side of the pipeline: clips of many items share batches; long sequences run one by one."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from extractor.models.loading import load_model, normalize
from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.models.spec import describe_network
from extractor.models.streaming import DenseStream
from extractor.pipeline.rows import RowMaker, Rows
from schemas.config import ExtractionConfig

Frames = npt.NDArray[np.uint8]
Receiver = Callable[[Rows], None]


@dataclass(slots=True)
class _Waiting:
    """A clip that waits for its batch."""

    frames: Frames  # (T, size, size, 3)
    receive: Receiver


def load_network(config: ExtractionConfig, weights: str, device: str) -> MSNet | MSNetEnsemble:
    """Load the network of a configuration onto a device. weights: as `load_model` takes them."""
    return load_model(
        config.model,
        weights=weights,
        num_segments=config.num_frames,
        seed=config.seed or 0,
        dtype=getattr(torch, config.dtype.value),
        device=device,
        edges=config.edges if describe_network(config.model).shifted_blocks else None,
    )


class NetworkRunner:
    """Runs a network over clips and sequences and returns the `Rows` of each.

    Clips of different items share batches of up to `batch_frames` frames, so results come later than clips; `flush`
    delivers the rest. On an asynchronous device a batch is computed while the next one is gathered.
    `network_seconds` is the time spent running or waiting for the network. Not thread-safe.
    """

    def __init__(self, network: MSNet | MSNetEnsemble, config: ExtractionConfig, *, batch_frames: int) -> None:
        self._members = network.members
        self._rows = RowMaker(config)
        self._batch_frames = batch_frames
        self._waiting: defaultdict[tuple[int, int], list[_Waiting]] = defaultdict(list)
        self._in_flight: tuple[Mapping[str, Tensor], list[_Waiting]] | None = None
        self.network_seconds = 0.0

    def submit(self, member: int, frames: Frames, receive: Receiver) -> None:
        """Queue a clip (T, size, size, 3) uint8 RGB for a member; `receive` gets its rows, in order of submission."""
        key = (member, len(frames))
        self._waiting[key].append(_Waiting(frames, receive))
        if len(self._waiting[key]) * len(frames) + len(frames) > self._batch_frames:
            self._launch(key)

    def flush(self) -> None:
        """Run every queued clip and deliver all results."""
        for key in list(self._waiting):
            self._launch(key)
        self._collect()

    def sequence(self, clips: npt.NDArray[np.int64]) -> RowStream:
        """Start one long sequence whose clips are these ranges of its frames, (c, 2)."""
        return RowStream(self, DenseStream(self._members[0], clips), self._rows, self._batch_frames)

    def to_device(self, frames: Frames) -> Tensor:
        """Turn uint8 (..., size, size, 3) into normalised floats (..., 3, size, size) on the network's device."""
        tensor = torch.from_numpy(frames)
        device = self._members[0].device
        if device.type != "cpu":
            tensor = tensor.pin_memory().to(device, non_blocking=True)
        return normalize(tensor)

    @torch.no_grad()
    def _launch(self, key: tuple[int, int]) -> None:
        batch = self._waiting.pop(key, [])
        if not batch:
            return
        started = time.perf_counter()
        frames = self.to_device(np.stack([clip.frames for clip in batch]))
        tensors = self._rows.of_clips(self._members[key[0]](frames))
        self.network_seconds += time.perf_counter() - started
        self._collect()
        self._in_flight = (tensors, batch)

    def _collect(self) -> None:
        if self._in_flight is None:
            return
        (tensors, batch), self._in_flight = self._in_flight, None
        started = time.perf_counter()
        rows = self._rows.split_clips(tensors)
        self.network_seconds += time.perf_counter() - started
        for clip, clip_rows in zip(batch, rows, strict=True):
            clip.receive(clip_rows)


class RowStream:
    """Rows of one sequence of frames, which runs through the network as it comes; see `DenseStream`."""

    def __init__(self, runner: NetworkRunner, stream: DenseStream, rows: RowMaker, piece_frames: int) -> None:
        self._runner = runner
        self._stream = stream
        self._rows = rows
        self._piece_frames = piece_frames

    def push(self, frames: Frames, *, last: bool) -> list[Rows]:
        """Take the next frames, (n, size, size, 3) uint8 RGB, n >= 1; return the rows that they complete.

        last: no more frames come. What layers held back comes out in the same pass.
        """
        started = time.perf_counter()
        starts = range(0, len(frames), self._piece_frames)
        rows = []
        for start in starts:
            piece = self._runner.to_device(frames[start : start + self._piece_frames])
            ends = last and start == starts[-1]
            rows.append(self._rows.of_stream(self._stream.finish(piece) if ends else self._stream.push(piece)))
        self._runner.network_seconds += time.perf_counter() - started
        return rows
