"""What `benchmarks.gpu` holds true of a device: number formats, batches, a lack of memory, NaN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.number_formats import differences, middle, outputs_of
from extractor import MSNet, load_model, normalize
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS
from extractor.models.pieces import WHOLE, Piece
from extractor.models.streaming import SequenceStreams
from extractor.pipeline.devices import CPUDevice, Device, Ticket, Work, device_of
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.messages import BatchRows
from extractor.video.frames import read_frames
from extractor.video.listing import list_videos
from schemas.config import ExtractionConfig

__all__ = ["Row", "Sizes", "check_batches", "check_formats", "check_memory", "check_nan", "feed", "random_frames"]

Frames = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]

_MODEL = "msnet_resnet18"  # the one with bundled weights
_FEATURE_ERROR = {"float16": 2e-2, "bfloat16": 1e-1}  # docs/numerics.md has 0.005 and 0.03 on a CPU
_CELL_ERROR = {"float16": 0.02, "bfloat16": 0.2}
_SAME = 1e-4
_FEW_BYTES = 4 << 30  # what is left to the process while it must run out of memory


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. holds: None where nothing is asked of the value."""

    name: str
    value: float
    note: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    size: side of a frame in pixels. clips: in the batch of the comparison with TSM. seconds: that each speed is
    measured. dense_frames: of a video in dense. backbones, dtypes: of the speeds. sequences: lengths of those that
    share batches. too_many: frames of a batch that must not fit. videos, video_seconds, height, width, copies: of the
    extraction.
    """

    size: int
    clips: int
    seconds: float
    dense_frames: int
    backbones: tuple[str, ...]
    dtypes: tuple[str, ...]
    sequences: tuple[int, ...]
    too_many: int
    videos: int
    video_seconds: tuple[float, float]
    height: int
    width: int
    copies: int


def check_formats(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """The bundled weights in float16 and bfloat16 against float32, on clips of the videos."""
    clips = [middle(read_frames(job, size=sizes.size).pixels, 8) for job in list_videos(videos).jobs]
    expected = outputs_of(clips, _MODEL, BUNDLED_WEIGHTS, torch.float32, device)
    rows = []
    for name in _FEATURE_ERROR:
        found = differences(outputs_of(clips, _MODEL, BUNDLED_WEIGHTS, getattr(torch, name), device), expected)
        for quantity, most in (
            ("frame features, relative, median", _FEATURE_ERROR[name]),
            ("displacement, cells, mean", _CELL_ERROR[name]),
        ):
            rows.append(_at_most(f"{name} against float32: {quantity}", found[quantity], most))
    return rows


def check_batches(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """Frame features of sequences that share batches against those of each sequence by itself."""
    network, config = _network(device, sizes)
    sequences = [random_frames(count, sizes.size, seed) for seed, count in enumerate(sizes.sequences)]
    together, _ = feed(network, config, device_of(device), sequences, batch_frames=16)
    alone = [feed(network, config, device_of(device), [frames])[0][0] for frames in sequences]
    return [_at_most("batches against single sequences: frame features, relative", _gap(together, alone), _SAME)]


def check_memory(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """A batch that does not fit is halved until it does, and its features are those of small batches."""
    network, config = _network(device, sizes)
    sequences = [random_frames(sizes.too_many, sizes.size, 0)]
    expected, _ = feed(network, config, device_of(device), sequences)
    if device == "cpu":
        small = _SmallDevice(sizes.too_many // 4)
        found, left = feed(network, config, small, sequences, batch_frames=sizes.too_many)
    else:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, _FEW_BYTES / total), device)
        try:
            found, left = feed(network, config, device_of(device), sequences, batch_frames=sizes.too_many)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    return [
        Row("out of memory: frames in a batch afterwards", left, f"of {sizes.too_many}", left < sizes.too_many),
        _at_most("out of memory: frame features against small batches, relative", _gap(found, expected), _SAME),
    ]


def check_nan(device: str, videos: Path, sizes: Sizes) -> list[Row]:
    """Frames of NaN end as NaN of their own sequence, and the device goes on."""
    network, _ = _network(device, sizes)
    frames = [normalize(random_frames(8, sizes.size, seed)).to(device) for seed in range(3)]
    sound, ill = (
        _streamed(network, [frames[0], middle_one, frames[2]])
        for middle_one in (frames[1], torch.full_like(frames[1], torch.nan))
    )
    reached = float(ill[8:16].isfinite().all(1).float().mean())
    others = torch.cat([ill[:8] - sound[:8], ill[16:] - sound[16:]])
    return [
        Row("NaN: share of its own frames that look sound", reached, "0 is right", reached == 0),
        _at_most("NaN: largest change of the other sequences", float(others.abs().nan_to_num(torch.inf).max()), 1e-4),
    ]


def feed(
    network: MSNet,
    config: ExtractionConfig,
    device: Device,
    sequences: list[Frames],
    *,
    batch_frames: int | None = None,
) -> tuple[list[Features], int]:
    """Frame features of sequences through a feeder, and how many frames its batches have at the end."""
    parts: list[list[Any]] = [[] for _ in sequences]

    def deliver(batch: BatchRows) -> None:
        at = 0
        for number, _, frames, *_ in batch.spans.tolist():
            parts[number].append(batch.rows["frames/feature"][at : at + frames])
            at += frames

    feeder = Feeder(network, config, (), device, deliver, batch_frames=batch_frames)
    for number, frames in enumerate(sequences):
        feeder.push(feeder.open(number, 0, 0, WHOLE), [frames], last=True)
    feeder.flush()
    return [np.concatenate(rows) for rows in parts], feeder.batch_frames


def random_frames(count: int, size: int, seed: int) -> Frames:
    """Frames (count, size, size, 3) of noise that drifts."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 256, (size, size, 3), np.uint8)
    return np.stack([np.roll(first, (2 * k, 3 * k), (0, 1)) for k in range(count)])


class _SmallDevice(CPUDevice):
    """A CPU that has no memory for more than `most` frames."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def launch(self, work: Work) -> Ticket:
        if work.frames > self._most:
            raise torch.OutOfMemoryError("out of memory, as was asked for")
        return super().launch(work)


def _network(device: str, sizes: Sizes) -> tuple[MSNet, ExtractionConfig]:
    network = load_model(_MODEL, device=device)
    assert isinstance(network, MSNet)
    config = ExtractionConfig(
        model=_MODEL, weights="random", seed=0, sampling="dense", size=sizes.size, store_dtype="float32"
    )
    return network, config


@torch.no_grad()
def _streamed(network: MSNet, sequences: list[torch.Tensor]) -> torch.Tensor:
    """Frame features, on the host, of sequences that share a batch."""
    streams = SequenceStreams(network)
    plan = streams.open.plan([Piece(number, len(frames), True) for number, frames in enumerate(sequences)])
    return streams.run(torch.cat(sequences), plan).frame_features.cpu()


def _gap(found: list[Features], expected: list[Features]) -> float:
    """The largest relative difference of a row."""
    a, b = np.concatenate(found), np.concatenate(expected)
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


def _at_most(name: str, value: float, most: float) -> Row:
    return Row(name, value, f"<= {most:g}", value <= most)
