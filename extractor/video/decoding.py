"""One file in, resized sampled frames out: which decoder is used, when its word is taken back, when the file fails.

The rule is in docs/decoding.md. In short: an unflagged file is decoded forward by decord; a flagged one, or one under
which decord misbehaves, from the start by PyAV; what even PyAV calls damaged fails by its class.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.video.containers.preflight import Inspection, inspect_video
from extractor.video.decoders.backends import Misbehaved, NativeFrames, Request, Tally
from extractor.video.decoders.decord_backend import HELD_BYTES, decord_frames, decord_name_and_version, held_bytes
from extractor.video.decoders.pyav_backend import pyav_frames, pyav_image_frames, pyav_name_and_version
from extractor.video.fingerprints import check_job
from extractor.video.sampling import TOLERANCE_SECONDS, plan_for
from extractor.video.transforms import Resizer, pixel_grid
from schemas.config import DecoderPolicy, ExtractionConfig
from schemas.errors import FailureClass, VideoError
from schemas.records import (
    Decoded,
    DecodingEvent,
    Failure,
    FileJob,
    FrameChunk,
    Header,
    Item,
    ItemPlan,
    Restart,
    VideoInfo,
)

__all__ = ["CHUNK_BYTES", "decode", "inspect_job", "plan_items", "suggested_deadline_seconds"]

CHUNK_BYTES = 8 * 1024 * 1024
"""Bytes of resized frames that are handed on at a time: 55 frames of 224 x 224."""

_SLOWEST_BYTES_A_SECOND = 100_000  # a tenth of what a slow core decodes of ordinary video
_SLOWEST_OF_REAL_TIME = 2.0
_LONGEST_SECONDS = 3600.0  # for the size of a file: a header may claim days


def decode(
    job: FileJob,
    config: ExtractionConfig,
    *,
    members: Sequence[int] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    distrust: str = "",
) -> Iterator[DecodingEvent]:
    """Decode one file for all its items: Header, FrameChunk..., Decoded; after a Restart the chunks start over.

    members: frames a clip of each member of an ensemble takes; None means config.num_frames. distrust: why decord is
    not to try this file, where its process hung or died at an earlier attempt; ignored where config.decoder allows
    decord only.

    Work is done when the next event is asked for, so that a slow consumer holds the decoder back; close the generator
    to stop early. A frame that several items need comes once. Items that cannot be sampled (too short) are failures in
    the header; where all of them are, Decoded follows at once, with an empty decoder.

    Raises VideoError where the file as a whole fails, also where it is changed meanwhile; all chunks are void then.
    """
    job = check_job(job)
    try:
        with closing(_events(job, config, members, chunk_bytes, distrust)) as events:
            for event in events:
                if isinstance(event, Decoded):
                    check_job(job)
                yield event
    except VideoError:
        check_job(job)  # a file that is written to while it is read looks damaged, and is not
        raise


def _events(
    job: FileJob, config: ExtractionConfig, members: Sequence[int] | None, chunk_bytes: int, distrust: str
) -> Generator[DecodingEvent, None, None]:
    """Events of a file that is taken to stay as it is."""
    inspection = inspect_video(job.path, fps=job.fps, keep_corrupt=config.keep_corrupt)
    inspection = _flag_what_decord_would_hold(inspection)
    info = inspection.info
    plans = plan_items(inspection, job.items, config, members)
    grid = pixel_grid(*info.displayed_size, config.resize, config.size, info.pixel_aspect)
    yield Header(info, grid, plans)
    index = _union(plans)
    if not len(index):
        yield Decoded("", "", flags=info.flags)
        return
    request = Request(Path(job.path), inspection, index, _reaches_end(plans, job.items, info), config.keep_corrupt)
    reason = "" if config.decoder is DecoderPolicy.DECORD else distrust
    if _decord_may(config.decoder, info) and not reason:
        run = _Run(request, config, chunk_bytes)
        try:
            yield from run.chunks(decord_frames(request))
        except Misbehaved as verdict:
            reason = str(verdict)
        else:
            yield run.decoded(*decord_name_and_version())
            return
        if config.decoder is DecoderPolicy.AUTO:
            yield Restart(reason)
    if config.decoder is DecoderPolicy.DECORD:
        raise VideoError(FailureClass.CORRUPT, f"{job.path}: {reason}; use --decoder auto for a second opinion")
    request = replace(request, tally=Tally())
    run = _Run(request, config, chunk_bytes)
    yield from run.chunks(pyav_image_frames(request) if inspection.images else pyav_frames(request))
    yield run.decoded(*pyav_name_and_version(), reason)


def inspect_job(job: FileJob, *, keep_corrupt: bool = False) -> Inspection:
    """Demux the file of a job. Raises VideoError (missing, changed, and what `inspect_video` raises)."""
    check_job(job)
    return inspect_video(job.path, fps=job.fps, keep_corrupt=keep_corrupt)


def plan_items(
    inspection: Inspection, items: Sequence[Item], config: ExtractionConfig, members: Sequence[int] | None = None
) -> tuple[ItemPlan | Failure, ...]:
    """A plan, or why there is none, for each item of a file."""
    plans: list[ItemPlan | Failure] = []
    for item in items:
        try:
            plans.append(plan_for(inspection.times_seconds, inspection.info.end_seconds, item, config, members))
        except VideoError as error:
            plans.append(Failure(item.video_id, error.failure, error.message))
    return tuple(plans)


def suggested_deadline_seconds(
    size_bytes: int | None, duration_seconds: float = 0.0, *, base_seconds: float = 60.0
) -> float:
    """Seconds without an event after which the decoding of a file is taken to hang: generous, as a false alarm costs
    a video.

    base_seconds for any file, and for a long one, of which one event may need the most part, the longer of a second
    for every 100 kB and twice its duration, up to an hour. size_bytes: None where it is not known; duration_seconds: 0
    where it is not.

    suggested_deadline_seconds(1_000_000) == 70.0
    """
    by_bytes = (size_bytes or 0) / _SLOWEST_BYTES_A_SECOND
    return base_seconds + min(_LONGEST_SECONDS, max(by_bytes, _SLOWEST_OF_REAL_TIME * duration_seconds))


class _Run:
    """One pass of one decoder over a file: resizes, fills chunks, keeps the time of both apart."""

    def __init__(self, request: Request, config: ExtractionConfig, chunk_bytes: int) -> None:
        self.request = request
        self.resizer = Resizer(config.resize, config.size, request.inspection.info.pixel_aspect)
        frame_bytes = config.size * config.size * 3
        self.capacity = max(chunk_bytes // frame_bytes, 1)
        self.decode_seconds = 0.0
        self.transform_seconds = 0.0

    def chunks(self, frames: NativeFrames) -> Iterator[FrameChunk]:
        """Chunks of the sampled frames, each full but the last."""
        size = self.resizer.size
        expected = len(self.request.index)
        while expected:
            room = min(self.capacity, expected)
            pixels = np.empty((room, size, size, 3), np.uint8)
            index, valid = np.empty(room, np.int64), np.empty(room, np.bool_)
            for row in range(room):
                started = time.perf_counter()
                frame = next(frames)
                decoded = time.perf_counter()
                pixels[row] = self.resizer(frame.pixels)
                index[row], valid[row] = frame.number, frame.valid
                self.decode_seconds += decoded - started
                self.transform_seconds += time.perf_counter() - decoded
            expected -= room
            if not expected:
                self._finish(frames)  # the last chunk waits for the verdict on the end of the file
            yield FrameChunk(index, pixels, valid)

    def decoded(self, name: str, version: str, reason: str = "") -> Decoded:
        info, tally = self.request.inspection.info, self.request.tally
        return Decoded(
            decoder=name,
            decoder_version=version,
            fallback_reason=reason,
            bad_packets=max(info.bad_packets, tally.bad_packets),
            bad_frames=tally.bad_frames,
            decode_seconds=self.decode_seconds,
            transform_seconds=self.transform_seconds,
            flags=tuple(dict.fromkeys((*info.flags, *sorted(tally.flags)))),
        )

    def _finish(self, frames: NativeFrames) -> None:
        """Let the decoder go on to the end of what it was asked for, where it may yet find damage."""
        started = time.perf_counter()
        for frame in frames:
            raise AssertionError(f"the decoder gave a frame too many, {frame.number}")
        self.decode_seconds += time.perf_counter() - started


def _flag_what_decord_would_hold(inspection: Inspection) -> Inspection:
    info = inspection.info
    if held_bytes(info.num_frames, info.width, info.height) <= HELD_BYTES:
        return inspection
    return replace(inspection, info=replace(info, flags=(*info.flags, "long")))


def _decord_may(policy: DecoderPolicy, info: VideoInfo) -> bool:
    """Whether decord is to try. Raises VideoError where it alone is allowed and the file is flagged."""
    if policy is DecoderPolicy.PYAV:
        return False
    if policy is DecoderPolicy.AUTO or not info.flags:
        return not info.flags
    failure = FailureClass.TOO_LARGE if info.flags == ("long",) else FailureClass.CANNOT_OPEN
    if "corrupt_packets" in info.flags:
        failure = FailureClass.CORRUPT
    raise VideoError(failure, f"decord is not trusted with this file ({', '.join(info.flags)}): use --decoder auto")


def _union(plans: Sequence[ItemPlan | Failure]) -> npt.NDArray[np.int64]:
    needed = [plan.index for plan in plans if isinstance(plan, ItemPlan)]
    return np.unique(np.concatenate(needed)) if needed else np.empty(0, np.int64)


def _reaches_end(plans: Sequence[ItemPlan | Failure], items: Sequence[Item], info: VideoInfo) -> bool:
    """Whether an item goes up to the end of the file, so that damage behind its last sample concerns it too."""
    return any(
        isinstance(plan, ItemPlan)
        and (item.end_seconds is None or item.end_seconds >= info.end_seconds - TOLERANCE_SECONDS)
        for plan, item in zip(plans, items, strict=True)
    )
