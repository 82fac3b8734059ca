"""One file: the decoder's events in; frames to the feeder, and what becomes of its items to the writer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from extractor.pipeline.feeder import Feeder
from extractor.pipeline.items import ItemFrames, item_frames
from extractor.pipeline.messages import FramesDamaged, ItemBegins, ItemDecoded, ItemDropped, ItemFailed, Message
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, DecodingEvent, Failure, FileJob, FrameChunk, Header, ItemPlan, Restart

_NUMBERS = count()
"""Of items, in this process."""


class FileFrames:
    """Takes the decoder's events of one file for all its items.

    Nothing of an item becomes durable before its file is decoded to the end without an error: a late error drops what
    came before it. `tell` receives the messages for the writer: of each item of the job in the end one `ItemDecoded` or
    one `ItemFailed`.
    """

    def __init__(self, job: FileJob, shard: str, feeder: Feeder, tell: Callable[[Message], None]) -> None:
        self.job = job
        self.ended = False  # every item is decoded or failed
        self._shard = shard
        self._feeder = feeder
        self._tell = tell
        self._header: Header | None = None
        self._items: list[ItemFrames] = []
        self._failed: set[str] = set()
        self._started = time.monotonic()

    def handle(self, event: DecodingEvent) -> None:
        """Take the decoder's next event."""
        match event:
            case Header():
                self._header = event
                self._begin()
            case FrameChunk():
                for item in self._items:
                    damaged = item.add(event.index, event.frames, event.valid)
                    if len(damaged):
                        self._tell(FramesDamaged(item.number, damaged))
            case Restart():
                self._begin()
            case Decoded():
                self._end(event)

    def fail(self, error: VideoError, attempts: int = 1) -> None:
        """Fail every item: the file cannot be decoded."""
        self.cancel()
        for item in self.job.items:
            self._fail(Failure(item.video_id, error.failure, error.message, attempts, self._seconds()))
        self.ended = True

    def cancel(self) -> None:
        """Drop every item without a failure, as at a shutdown."""
        for item in self._items:
            item.drop()
            self._tell(ItemDropped(item.number))
        self._items = []

    def _begin(self) -> None:
        self.cancel()
        assert self._header is not None
        for plan in self._header.plans:
            if isinstance(plan, ItemPlan):
                item = item_frames(next(_NUMBERS), plan, self._feeder)
                self._tell(ItemBegins(item.number, self._shard, plan))
                self._items.append(item)

    def _end(self, decoded: Decoded) -> None:
        assert self._header is not None
        for plan in self._header.plans:
            if isinstance(plan, Failure):
                self._fail(plan)
        of_video = _manifest_columns(self._header, decoded)
        for item in self._items:
            if item.missing_frames:
                item.drop()
                self._tell(ItemDropped(item.number))
                message = f"expected {len(item.plan.index)} frames from the decoder; {item.missing_frames} did not come"
                self._fail(Failure(item.plan.video_id, FailureClass.CORRUPT, message, 1, self._seconds()))
            else:
                self._tell(ItemDecoded(item.number, of_video))
        self._items = []
        self.ended = True

    def _fail(self, failure: Failure) -> None:
        if failure.video_id not in self._failed:
            self._failed.add(failure.video_id)
            self._tell(ItemFailed(self._shard, failure))

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _manifest_columns(header: Header, decoded: Decoded) -> Mapping[str, Any]:
    """What every manifest row of a file's items says about it."""
    info, grid = header.info, header.grid
    width, height = info.displayed_size
    return {
        "fps": info.fps,
        "video_start_seconds": info.start_seconds,
        "video_end_seconds": info.end_seconds,
        "width": width,
        "height": height,
        "pixel_aspect": info.pixel_aspect,
        "codec": info.codec,
        "container": info.container,
        "scale_x": grid.scale_x,
        "scale_y": grid.scale_y,
        "offset_x": grid.offset_x,
        "offset_y": grid.offset_y,
        "times_made_up": info.times_made_up,
        "decoder": decoded.decoder,
        "decoder_version": decoded.decoder_version,
        "fallback_reason": decoded.fallback_reason,
        "flags": ",".join(dict.fromkeys((*info.flags, *decoded.flags))),
        "bad_packets": decoded.bad_packets,
        "bad_frames": decoded.bad_frames,
    }
