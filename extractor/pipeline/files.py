"""One file: the decoder's events in, staged items and failures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extractor.pipeline.items import ClipsAssembly, ItemAssembly, ItemWriter, SequenceAssembly
from extractor.pipeline.runner import NetworkRunner
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, DecodingEvent, Failure, FileJob, FrameChunk, Header, ItemPlan, Restart


@dataclass(frozen=True, slots=True)
class ItemDone:
    """An item whose features are durable."""

    video_id: str
    clips: int
    frames: int


class FileAssembly:
    """Assembles the items of one file from the decoder's events.

    Nothing of an item is durable before its file is decoded to the end without an error: a late error discards what
    came before it. `report` is called once per item, with `ItemDone` or `Failure`.
    """

    def __init__(
        self,
        job: FileJob,
        runner: NetworkRunner,
        open_writer: Callable[[str], ItemWriter],
        report: Callable[[ItemDone | Failure], None],
    ) -> None:
        self.job = job
        self._runner = runner
        self._open_writer = open_writer
        self._report = report
        self._header: Header | None = None
        self._items: list[ItemAssembly] = []
        self._decoded: Decoded | None = None
        self._reported: set[str] = set()
        self._started = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether every item of the file is reported."""
        return len(self._reported) == len(self.job.items)

    def handle(self, event: DecodingEvent) -> None:
        """Take the decoder's next event."""
        match event:
            case Header():
                self._header = event
                self._begin()
            case FrameChunk():
                for item in self._items:
                    item.add(event.index, event.frames, event.valid)
            case Restart():
                self._begin()
            case Decoded():
                self._end(event)
        self.settle()

    def fail(self, error: VideoError, attempts: int = 1) -> None:
        """Fail every item that is not reported yet: the file cannot be decoded."""
        self.cancel()
        for item in self.job.items:
            self._report_failure(Failure(item.video_id, error.failure, error.message, attempts, self._seconds()))

    def settle(self) -> None:
        """Make complete items durable. Call it whenever the runner has returned results."""
        if self._decoded is None:
            return
        for item in [item for item in self._items if item.complete]:
            self._items.remove(item)
            if item.refused:
                item.cancel()
                self._report_failure(self._failure(item, FailureClass.NOT_FINITE, item.refused))
                continue
            item.finish(self._manifest_rows(item))
            self._reported.add(item.plan.video_id)
            frames = int(item.clips[-1]["frame_stop"])
            self._report(ItemDone(item.plan.video_id, len(item.clips), frames))

    def cancel(self) -> None:
        """Discard every unfinished item without reporting it, as at a shutdown."""
        for item in self._items:
            item.cancel()
        self._items = []

    def _begin(self) -> None:
        self.cancel()
        assert self._header is not None
        for plan in self._header.plans:
            if isinstance(plan, ItemPlan):
                kind = ClipsAssembly if plan.ranges is None else SequenceAssembly
                self._items.append(kind(plan, self._runner, self._open_writer(plan.video_id)))

    def _end(self, decoded: Decoded) -> None:
        self._decoded = decoded
        assert self._header is not None
        for plan in self._header.plans:
            if isinstance(plan, Failure):
                self._report_failure(plan)
        for item in list(self._items):
            if item.missing_frames:
                item.cancel()
                self._items.remove(item)
                message = f"expected {len(item.plan.index)} frames from the decoder; {item.missing_frames} did not come"
                self._report_failure(self._failure(item, FailureClass.CORRUPT, message))
            else:
                item.end()

    def _report_failure(self, failure: Failure) -> None:
        if failure.video_id not in self._reported:
            self._reported.add(failure.video_id)
            self._report(failure)

    def _failure(self, item: ItemAssembly, failure: FailureClass, message: str) -> Failure:
        return Failure(item.plan.video_id, failure, message, 1, self._seconds())

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _manifest_rows(self, item: ItemAssembly) -> Sequence[Mapping[str, Any]]:
        assert self._header is not None and self._decoded is not None
        info, grid, decoded = self._header.info, self._header.grid, self._decoded
        width, height = info.displayed_size
        of_video = {
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
        return [{**clip, **of_video} for clip in item.clips]
