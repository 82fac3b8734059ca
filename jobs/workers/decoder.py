"""A process that only decodes: a file that hangs or kills it costs no other file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import torch

from extractor.models.spec import member_frames
from extractor.video.decoding import decode
from extractor.video.probing import ProbedItem, probe
from schemas.config import ExtractionConfig
from schemas.errors import VideoError
from schemas.records import DecodingEvent, FileJob


class Decoder:
    """Decodes the files of a queue, one event per call. A plain class; `ray.remote` makes an actor of it."""

    def __init__(self, config: ExtractionConfig) -> None:
        torch.set_num_threads(1)  # of resizing; the processes are the parallelism
        self._config = config
        self._member_frames = member_frames(config)
        self._queue: deque[tuple[FileJob, str]] = deque()
        self._events: Iterator[DecodingEvent] | None = None

    def process_id(self) -> int:
        """Id of this process, for watching its memory."""
        return os.getpid()

    def enqueue(self, job: FileJob, distrust: str = "") -> None:
        """Queue a file. distrust: why decord must not decode it (a decoder died on it); empty if it may."""
        self._queue.append((job, distrust))

    def next(self) -> DecodingEvent | VideoError | None:
        """The next event, file after file. A VideoError ends its file. None if the queue is empty."""
        if self._events is None:
            if not self._queue:
                return None
            job, distrust = self._queue.popleft()
            self._events = decode(job, self._config, members=self._member_frames, distrust=distrust)
        try:
            return next(self._events)
        except StopIteration:
            self._events = None
            return self.next()
        except VideoError as error:
            self._events = None
            return error

    def probe(self, jobs: list[FileJob]) -> list[list[ProbedItem]]:
        """What demuxing finds for the items of each file; bad files raise nothing."""
        return [probe(job, self._config, self._member_frames) for job in jobs]
