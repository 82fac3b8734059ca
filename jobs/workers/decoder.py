"""A process that only decodes: a file that hangs or kills it costs no other file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from extractor.models.spec import member_frames
from extractor.video.objects.cache import ObjectCache
from jobs.workers.imports import without_collection
from schemas.config import ExtractionConfig
from schemas.errors import VideoError
from schemas.records import Ask, Decoded, DecodingEvent, FileJob, FrameChunk, Header

if TYPE_CHECKING:
    from extractor.video.containers.preflight import Inspection
    from extractor.video.probing import ProbedItem

_SHORT_SECONDS = 60.0


def _follows_at_once(event: DecodingEvent | VideoError, shared: bool) -> bool:
    """Whether the event after this one costs nothing, or comes soon: what is known of a long file is told first.

    shared: only what was asked for comes, all of it in one answer.
    """
    match event:
        case Header(info=info):
            return not shared and info.end_seconds - info.start_seconds < _SHORT_SECONDS
        case FrameChunk(last=last):
            return last is not shared
    return shared or isinstance(event, Decoded)  # the end of the file


class Decoder:
    """Decodes the files of a queue, one event per call. A plain class; `ray.remote` makes an actor of it."""

    def __init__(self, config: ExtractionConfig, cache: ObjectCache | None = None) -> None:
        with without_collection():  # here, as the extractor, which imports this class first of all, need not wait
            import torch

            from extractor.video.decoding import decode

        torch.set_num_threads(1)  # of resizing; the processes are the parallelism
        self._decode = decode
        self._config = config
        self._cache = cache
        self._member_frames = member_frames(config)
        self._queue: deque[tuple[FileJob, str]] = deque()
        self._events: Iterator[DecodingEvent] | None = None
        self._shared = False  # whether stretches of the file at hand are asked for
        self._ask = Ask(None)

    def process_id(self) -> int:
        """Id of this process, for watching its memory."""
        return os.getpid()

    def next(
        self, files: Sequence[tuple[FileJob, str]] = (), ask: Ask | None = None, inspection: Inspection | None = None
    ) -> list[DecodingEvent | VideoError]:
        """The next events of one file, file after file; empty if none is left. A VideoError ends its file.

        As many as come with one chunk of frames, since every answer costs as much as copying a dozen of them.
        files: are queued first, each with the reason why decord must not decode it (a decoder died on it), or "".
        ask: for a stretch of the file at hand; empty if that is no longer there. Where a file has stretches, only those
        that are asked for come, and a Restart ends it. inspection: of the file that begins now, by the decoder that
        began it.
        """
        self._queue += files
        if self._events is None and self._queue and ask is None:
            self._begin(*self._queue.popleft(), inspection)
        if self._events is None or (self._shared and ask is None):
            return []
        self._ask = ask or self._ask
        found: list[DecodingEvent | VideoError] = []
        try:
            while not found or _follows_at_once(found[-1], self._shared):
                found.append(next(self._events))
                self._shared |= isinstance(found[-1], Header) and found[-1].stretches > 1
        except StopIteration:
            self._events = None
        except VideoError as error:
            self._events = None
            found.append(error)
        return found

    def _begin(self, job: FileJob, distrust: str, inspection: Inspection | None) -> None:
        self._shared = False
        self._events = self._decode(
            job,
            self._config,
            members=self._member_frames,
            distrust=distrust,
            cache=self._cache,
            asked=(lambda: self._ask) if job.shared else None,
            inspection=inspection,
        )

    def probe(self, jobs: list[FileJob]) -> list[list[ProbedItem]]:
        """What demuxing finds for the items of each file; bad files raise nothing."""
        from extractor.video.probing import probe

        return [probe(job, self._config, self._member_frames) for job in jobs]
