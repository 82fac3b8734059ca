"""`extract_video`: the features of one video in this process, without a store and without Ray."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import Unpack

from extractor.extraction.collecting import VideoRows
from extractor.extraction.features import VideoFeatures, VideoPart, joined
from extractor.extraction.request import Request, RequestFields, SamplingFields, with_fields
from extractor.extraction.resolving import resolve
from extractor.models.spec import member_frames
from extractor.pipeline.devices import best_device, device_of
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.files import FileFrames
from extractor.pipeline.messages import Message
from extractor.pipeline.network import load_network
from extractor.pipeline.writing import RowsWriter
from extractor.video.decoding import CHUNK_BYTES, decode
from extractor.video.listing import with_segment
from extractor.video.objects.cache import ObjectCache
from schemas.errors import ConfigurationError
from schemas.layout import datasets_of
from schemas.records import FileJob, Item, is_address

Video = str | PathLike[str]


class VideoExtractor:
    """Extracts one video after another on one device, in this process: the network is loaded once.

    request: what to extract; `fields` are those of `Request` by name, and win over it. device: as torch calls it;
    "auto" is the first GPU, or the CPU if there is none. batch_frames: frames in a batch of the network; None leaves it
    to the device. cache: where objects are kept, if a path is an address.

    What is extracted is what a store holds, by the same decoders, batches and number formats. A file that makes a
    decoder hang or crash stops this process, while `jobs.extract` decodes in processes of their own and goes on.

    Raises ConfigurationError or WeightsError as `jobs.extract` does. `config` says what was decided,
    `shape` how wide the outputs are.
    """

    def __init__(
        self,
        request: Request | None = None,
        *,
        device: str = "auto",
        batch_frames: int | None = None,
        cache: ObjectCache | None = None,
        **fields: Unpack[RequestFields],
    ) -> None:
        resolved = resolve(with_fields(request, fields))
        name = best_device() if device == "auto" else device
        self.config = resolved.config
        self.network = load_network(resolved.config, resolved.weights, name)
        self.shape = resolved.shape
        self._datasets = datasets_of(resolved.config, resolved.shape)
        self._device = device_of(name)
        self._batch_frames = batch_frames
        self._cache = cache

    def extract(
        self,
        path: Video,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        fps: float | None = None,
    ) -> VideoFeatures:
        """The features of a video, or of a segment of it; see `extract_video`."""
        job = _job(path, start_seconds, end_seconds, fps)
        with closing(self._parts(job)) as parts:
            return joined(job.items[0].video_id, list(parts), self.config, self._rows().empty())

    def parts(
        self,
        path: Video,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        fps: float | None = None,
    ) -> Generator[VideoPart, None, None]:
        """The same features as they become known, in bounded memory however long the video is.

        A video fails as late as its damage is found: only the last part, which has `clips`, says that all is well. A
        part that `restarts` voids those before it. Close the generator to stop early.
        """
        return self._parts(_job(path, start_seconds, end_seconds, fps))

    def _parts(self, job: FileJob) -> Generator[VideoPart, None, None]:
        rows, messages = self._rows(), list[Message]()
        writer = RowsWriter(lambda shard: rows)
        feeder = Feeder(
            self.network, self.config, self._datasets, self._device, messages.append, batch_frames=self._batch_frames
        )
        file = FileFrames(job, "", feeder, messages.append)

        def taken() -> VideoPart | None:
            writer.handle(messages)
            messages.clear()
            return rows.take()

        batch_bytes = 3 * self.config.size**2 * feeder.batch_frames  # a part for each batch, not for many
        events = decode(
            job,
            self.config,
            members=member_frames(self.config),
            chunk_bytes=min(CHUNK_BYTES, batch_bytes),
            cache=self._cache,
        )
        with closing(events):
            for event in events:
                file.handle(event)
                feeder.poll()
                if (part := taken()) is not None:
                    yield part
        feeder.flush()
        if (part := taken()) is not None:
            yield part

    def _rows(self) -> VideoRows:
        return VideoRows(self._datasets, self.shape)


def extract_video(
    path: Video,
    network: str = "msnet_resnet18",
    weights: str | Path | None = None,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    fps: float | None = None,
    device: str = "auto",
    **fields: Unpack[SamplingFields],
) -> VideoFeatures:
    """Extract the features of a video: the arrays and times that a store would hold.

    They come from the same decoders and batches; on a CPU they are bit for bit those that the same machine stores.

    path: a video, a folder of numbered images (with `fps`), or an address. network, weights: as `msnet weights list`
    shows them. start_seconds, end_seconds: a segment, on the container's clock. device: "auto", "cpu" or as torch
    calls it. fields: those of `Request` by name: sampling, num_frames, rate_hz, hop, clips, edges, outputs, size,
    resize, dtype, store_dtype, decoder, keep_corrupt, seed.

    All rows are held in memory; `VideoExtractor.parts` yields them as they come. The network is loaded by every call:
    for several videos, make one `VideoExtractor`. For many, `jobs.extract` uses all cores and GPUs.

    Raises VideoError with its `failure` class if the video cannot be extracted, ConfigurationError for options that do
    not fit together, WeightsError for weights that cannot be used. A broken file may also end the process, or keep it
    busy for ever: nothing watches the decoder here, as `jobs.extract` does.
    """
    extractor = VideoExtractor(device=device, model=network, weights=weights, **fields)
    return extractor.extract(path, start_seconds=start_seconds, end_seconds=end_seconds, fps=fps)


def _job(path: Video, start_seconds: float | None, end_seconds: float | None, fps: float | None) -> FileJob:
    """The job of one item, under the id that a listing of the file gives it."""
    given = fspath(path)
    start, end = start_seconds or 0.0, math.inf if end_seconds is None else end_seconds
    if not (0 <= start < end):
        raise ConfigurationError(
            f"expected a segment from 0 s or later to a later end; got {start:g} to {end:g} s. Correct start_seconds "
            "or end_seconds"
        )
    if fps is not None and not 0 < fps < math.inf:
        raise ConfigurationError(f"expected a number above 0 for fps; got {fps}. Give that of the images")
    if "\0" in given:
        raise ConfigurationError(f"expected a path; got {given!r}, which has a NUL in it. Correct it")
    item = Item(PurePath(given).name, start_seconds, end_seconds)
    item = replace(item, video_id=with_segment(item.video_id, item))
    return FileJob(given if is_address(given) else str(Path(given).absolute()), (item,), fps=fps)
