"""The truth about a file: a full forward decoding and a demux, with nothing but PyAV and plain loops."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractor.video.containers.preflight import inspect_video
from extractor.video.decoders.backends import DecodingRequest
from extractor.video.decoding import decode
from schemas.config import ExtractionConfig
from schemas.errors import VideoError
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, Item, Restart


def true_frames(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame in output order, native size, rotated as the file says."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.best("video")):
            quarter_turns = (frame.rotation // 90) % 4
            frames.append(np.rot90(frame.to_ndarray(format="rgb24"), k=quarter_turns))
    return frames


def true_times(path: Path) -> list[float]:
    """Sorted presentation times of the packets that are not discarded; made up if a stamp is missing."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stamps = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        if None in stamps:
            known = [float(stamp * stream.time_base) for stamp in stamps if stamp is not None]
            start = min(known) if known else 0.0
            return [start + number / float(stream.average_rate) for number in range(len(stamps))]
        return [float(stamp * stream.time_base) for stamp in sorted(stamps)]


def config(**changes: object) -> ExtractionConfig:
    """A configuration that samples every item as one sequence, small."""
    fields = {"model": "m", "weights": "random", "seed": 0, "sampling": "dense", "rate_hz": 10.0, "size": 32}
    return ExtractionConfig.model_validate({**fields, **changes})


def events(path: Path, *items: Item, fps: float | None = None, **changes: object) -> list[DecodingEvent]:
    """All events of a file; the whole file if no items are named."""
    return list(decode(FileJob(str(path), items or (Item("v"),), fps=fps), config(**changes)))


def kept(found: list[DecodingEvent]) -> tuple[Header, list[FrameChunk], Decoded]:
    """Header, the chunks behind the last restart, and the end."""
    header, end = found[0], found[-1]
    assert isinstance(header, Header)
    assert isinstance(end, Decoded)
    restarts = [number for number, event in enumerate(found) if isinstance(event, Restart)]
    chunks = [event for event in found[restarts[-1] if restarts else 0 :] if isinstance(event, FrameChunk)]
    return header, chunks, end


def failure_of(path: Path, **changes: object) -> VideoError:
    """The error that decoding a file ends with."""
    with pytest.raises(VideoError) as caught:
        events(path, **changes)
    return caught.value


def request(path: Path, index: list[int] | None = None, *, to_end: bool = True, keep: bool = False) -> DecodingRequest:
    """A request for some frames of a file, or all."""
    found = inspect_video(path, keep_corrupt=keep)
    every = np.arange(found.info.num_frames) if index is None else np.array(index)
    return DecodingRequest(path, found, every, to_end, keep)
