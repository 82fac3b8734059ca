"""One file on its way: the decoder's events in, staged items and failures out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extractor.pipeline.items import ItemRun, ItemWriter, start_item
from extractor.pipeline.runner import NetworkRunner
from schemas.errors import FailureClass, VideoError
from schemas.records import Decoded, DecodingEvent, Failure, FileJob, FrameChunk, Header, ItemPlan, Restart

__all__ = ["FileRun", "ItemDone"]


@dataclass(frozen=True, slots=True)
class ItemDone:
    """An item whose features are durable."""

    video_id: str
    clips: int
    frames: int


class FileRun:
    """Turns the events of one file into staged items.

    Nothing of an item is durable before its file was decoded to the end without a complaint: an error late in a file
    discards what came before it. `report` is called once for each item, with `ItemDone` or `Failure`.
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
        self._runs: list[ItemRun] = []
        self._decoded: Decoded | None = None
        self._reported: set[str] = set()
        self._started = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether every item of the file was reported."""
        return len(self._reported) == len(self.job.items)

    def handle(self, event: DecodingEvent) -> None:
        """Take the decoder's next event."""
        match event:
            case Header():
                self._header = event
                self._begin()
            case FrameChunk():
                for run in self._runs:
                    run.add(event.index, event.frames, event.valid)
            case Restart():
                self._begin()
            case Decoded():
                self._end(event)
        self.settle()

    def fail(self, error: VideoError, attempts: int = 1) -> None:
        """The file cannot be decoded: every item that is not reported yet fails."""
        self._cancel()
        for item in self.job.items:
            self._report_failure(Failure(item.video_id, error.failure, error.message, attempts, self._seconds()))

    def settle(self) -> None:
        """Make durable what became complete; to be called after the runner gave results."""
        if self._decoded is None:
            return
        for run in [run for run in self._runs if run.complete]:
            self._runs.remove(run)
            if run.refused:
                run.cancel()
                self._report_failure(self._failure(run, FailureClass.NOT_FINITE, run.refused))
                continue
            run.finish(self._manifest_rows(run))
            self._reported.add(run.plan.video_id)
            frames = int(run.clips[-1]["frame_stop"])
            self._report(ItemDone(run.plan.video_id, len(run.clips), frames))

    def cancel(self) -> None:
        """Give the file up without reporting anything, as at a shutdown."""
        self._cancel()

    def _begin(self) -> None:
        self._cancel()
        assert self._header is not None
        plans = [plan for plan in self._header.plans if isinstance(plan, ItemPlan)]
        self._runs = [start_item(plan, self._runner, self._open_writer(plan.video_id)) for plan in plans]

    def _end(self, decoded: Decoded) -> None:
        self._decoded = decoded
        assert self._header is not None
        for plan in self._header.plans:
            if isinstance(plan, Failure):
                self._report_failure(plan)
        for run in list(self._runs):
            if run.missing_frames:
                run.cancel()
                self._runs.remove(run)
                message = f"{run.missing_frames} of {len(run.plan.index)} frames did not come from the decoder"
                self._report_failure(self._failure(run, FailureClass.CORRUPT, message))
            else:
                run.end()

    def _cancel(self) -> None:
        for run in self._runs:
            run.cancel()
        self._runs = []

    def _report_failure(self, failure: Failure) -> None:
        if failure.video_id not in self._reported:
            self._reported.add(failure.video_id)
            self._report(failure)

    def _failure(self, run: ItemRun, failure: FailureClass, message: str) -> Failure:
        return Failure(run.plan.video_id, failure, message, 1, self._seconds())

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _manifest_rows(self, run: ItemRun) -> Sequence[Mapping[str, Any]]:
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
        return [{**clip, **of_video} for clip in run.clips]
