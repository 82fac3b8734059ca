"""What the pipeline must produce, computed by calling the network clip by clip; and files without a decoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from extractor.pipeline.devices import CPUDevice, Device
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.files import FileFrames
from extractor.pipeline.messages import ItemDone, Message
from extractor.pipeline.writing import RowsWriter
from extractor.store.commits.staging import Attempt, StagingLog
from extractor.video.sampling import plan_for
from schemas.config import ExtractionConfig
from schemas.records import (
    Decoded,
    DecodingEvent,
    Failure,
    FileJob,
    FrameChunk,
    Header,
    Item,
    ItemPlan,
    PixelGrid,
    VideoInfo,
)

FPS = 10.0
SIDE = 64
Arrays = dict[str, npt.NDArray[Any]]


def make_config(**fields: Any) -> ExtractionConfig:
    values = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "size": SIDE, "store_dtype": "float32"}
    return ExtractionConfig(**(values | {"rate_hz": FPS} | fields))


def make_frames(count: int, seed: int = 0, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """A drifting texture with some noise, (count, side, side, 3): no two cells and no two frames are alike."""
    random = np.random.default_rng(seed)
    texture = random.integers(20, 236, (side, side, 3))
    frames = [np.roll(texture, (2 * k, 3 * k), (0, 1)) + random.integers(-9, 10, texture.shape) for k in range(count)]
    return np.stack(frames).astype(np.uint8)


def make_info(count: int, **fields: Any) -> VideoInfo:
    values = {"codec": "h264", "container": "mp4", "width": 128, "height": 96, "rotation": 0, "fps": FPS}
    span = {"num_frames": count, "start_seconds": 0.0, "end_seconds": count / FPS}
    return VideoInfo(**(values | span | fields))


def make_plan(count: int, config: ExtractionConfig, item: Item, members: Sequence[int] | None = None) -> ItemPlan:
    return plan_for(np.arange(count) / FPS, count / FPS, item, config, members)


def events_of(
    frames: npt.NDArray[np.uint8],
    plans: Sequence[ItemPlan | Failure],
    *,
    chunks: Sequence[int] = (5,),
    left_out: Sequence[int] = (),
    not_valid: Sequence[int] = (),
    info: VideoInfo | None = None,
    decoded: Decoded | None = None,
) -> Iterator[DecodingEvent]:
    """The events of a file: those of `frames` that any item needs, in chunks whose sizes take turns."""
    yield Header(info or make_info(len(frames)), PixelGrid(2.0, 1.5, -3.0, 0.25), tuple(plans))
    yield from chunks_of(frames, plans, chunks, left_out, not_valid)
    yield decoded or Decoded("pyav", "18.1")


def chunks_of(
    frames: npt.NDArray[np.uint8],
    plans: Sequence[ItemPlan | Failure],
    chunks: Sequence[int] = (5,),
    left_out: Sequence[int] = (),
    not_valid: Sequence[int] = (),
) -> Iterator[FrameChunk]:
    needed = {int(k) for plan in plans if isinstance(plan, ItemPlan) for k in plan.index} - set(left_out)
    index, turn = sorted(needed), 0
    while index:
        size = chunks[turn % len(chunks)]
        part, index, turn = np.array(index[:size]), index[size:], turn + 1
        yield FrameChunk(part, frames[part], ~np.isin(part, not_valid))


class MemoryWriter:
    """An `ItemWriter` that keeps its rows; after `after` appends, it raises `error`, if given."""

    def __init__(self, video_id: str, error: Exception | None = None, after: int = 0) -> None:
        self.video_id = video_id
        self.appended: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
        self.clips: list[dict[str, Any]] | None = None
        self.resets = self.appends = 0
        self._error, self._after = error, after

    def append(self, rows: Mapping[str, npt.NDArray[Any]]) -> None:
        assert self.clips is None
        self.appends += 1
        if self._error is not None and self.appends > self._after:
            raise self._error
        for path, array in rows.items():
            self.appended[path].append(np.array(array))

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        assert self.clips is None
        self.clips = [dict(clip) for clip in clips]

    def reset(self) -> None:
        self.resets += 1
        self.appended.clear()

    @property
    def rows(self) -> Arrays:
        return {path: np.concatenate(arrays) for path, arrays in self.appended.items()}


class File:
    """A file through the pipeline: a writer for each item by id (the last one opened), and what was reported."""

    def __init__(
        self,
        network: Any,
        config: ExtractionConfig,
        *video_ids: str,
        batch_frames: int = 32,
        errors: Mapping[str, Exception] | None = None,
        device: Device | None = None,
    ) -> None:
        self.writers: dict[str, MemoryWriter] = {}
        self.opened: list[MemoryWriter] = []
        self.reports: list[ItemDone | Failure] = []
        self.errors = errors or {}
        self._writer = RowsWriter(lambda shard: self)
        self.feeder = make_feeder(network, config, self.tell, batch_frames, device)
        job = FileJob("/nowhere/a.mp4", tuple(Item(video_id) for video_id in video_ids))
        self.frames = FileFrames(job, "shard-00000", self.feeder, self.tell)

    def tell(self, message: Message) -> None:
        self.reports += [report for _, report in self._writer.handle([message])]

    def item(self, video_id: str) -> MemoryWriter:
        self.writers[video_id] = MemoryWriter(video_id, self.errors.get(video_id))
        self.opened.append(self.writers[video_id])
        return self.writers[video_id]

    def fail(self, failure: Failure) -> None:
        """A shard's staging hears of failures, too."""

    @property
    def done(self) -> bool:
        return len(self.reports) == len(self.frames.job.items)

    def take(self, events: Iterable[DecodingEvent]) -> File:
        for event in events:
            self.frames.handle(event)
        return self

    def flush(self) -> File:
        self.feeder.flush()
        return self


def make_feeder(
    network: Any,
    config: ExtractionConfig,
    tell: Callable[[Message], None],
    batch_frames: int,
    device: Device | None = None,
) -> Feeder:
    return Feeder(network, config, (), device or CPUDevice(), tell, batch_frames=batch_frames)


def extract(
    network: Any,
    config: ExtractionConfig,
    frames: npt.NDArray[np.uint8],
    plans: Sequence[ItemPlan],
    *,
    batch_frames: int = 32,
    **options: Any,
) -> File:
    """The whole file through the pipeline."""
    file = File(network, config, *(plan.video_id for plan in plans), batch_frames=batch_frames)
    return file.take(events_of(frames, plans, **options)).flush()


def stage(
    network: Any,
    config: Any,
    attempt: Attempt,
    video_ids: list[str],
    events: Iterable[DecodingEvent],
    *,
    batch_frames: int = 32,
) -> list[ItemDone | Failure]:
    """The whole file through the pipeline into the staging of a shard."""
    reports: list[ItemDone | Failure] = []
    with StagingLog(attempt) as log:
        writer = RowsWriter(lambda shard: log)

        def tell(message: Message) -> None:
            reports.extend(report for _, report in writer.handle([message]))

        feeder = make_feeder(network, config, tell, batch_frames)
        job = FileJob("/nowhere/a.mp4", tuple(Item(video_id) for video_id in video_ids))
        file = FileFrames(job, attempt.shard, feeder, tell)
        for event in events:
            file.handle(event)
        feeder.flush()
        log.sync()
    return reports


def expected_clips(network: MSNet, clips: Iterable[npt.NDArray[np.uint8]], motion_form: str = "pooled") -> Arrays:
    """Rows of clips (T, side, side, 3), each through the network alone."""
    rows: defaultdict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    for clip in clips:
        with torch.no_grad():
            output = network(normalize(clip)[None])
        rows["clips/feature"].append(output.clip_features.numpy())
        if output.logits is not None:
            rows["clips/logits"].append(output.logits.numpy())
        rows["frames/feature"].append(output.frame_features[0].numpy())
        if output.motion is not None:
            rows["frames/motion"].append(pooled(output.motion[0].numpy(), motion_form))
            rows["pairs/displacement"].append(output.displacement[0].numpy())
            rows["pairs/confidence"].append(output.confidence[0].numpy())
            rows["pairs/tied"].append(np.packbits(output.tied[0].numpy(), axis=-1))
    return {path: np.concatenate(arrays) for path, arrays in rows.items()}


def pooled(maps: npt.NDArray[np.float32], form: str) -> npt.NDArray[np.float32]:
    """Pool (T, C, h, w) as the store keeps it; a grid's cell is the mean of all cells that it touches."""
    if form == "full":
        return maps
    if form == "pooled":
        return maps.mean((2, 3))
    side, (h, w) = int(form), maps.shape[2:]
    grid = np.empty((*maps.shape[:2], side, side), np.float32)
    for i in range(side):
        for j in range(side):
            rows = slice(i * h // side, -(-(i + 1) * h // side))
            columns = slice(j * w // side, -(-(j + 1) * w // side))
            grid[:, :, i, j] = maps[:, :, rows, columns].mean((2, 3))
    return grid


def assert_close(found: Mapping[str, npt.NDArray[Any]], expected: Arrays) -> None:
    """Tensors within 1e-4 of their norm row by row, displacement of tied cells apart; everything else equal."""
    for path, wanted in expected.items():
        got = found[path]
        assert got.shape == wanted.shape, path
        if path == "pairs/tied":
            assert np.unpackbits(got ^ wanted).mean() < 1e-3
            continue
        if wanted.dtype.kind != "f" or path == "frames/time_seconds":
            np.testing.assert_array_equal(got, wanted, path)
            continue
        if path == "pairs/displacement":
            tied = np.unpackbits(found["pairs/tied"] | expected["pairs/tied"], axis=-1, count=wanted.shape[-1])
            got, wanted = got * (1 - tied[:, None]), wanted * (1 - tied[:, None])
        axes = tuple(range(1, wanted.ndim))
        gap = np.sqrt(np.square(np.subtract(got, wanted, dtype=np.float64)).sum(axes))
        norm = np.sqrt(np.square(wanted, dtype=np.float64).sum(axes))
        assert (gap <= 1e-4 * norm + 1e-6).all(), (path, (gap / (norm + 1e-12)).max())
