"""One file in, resized sampled frames out: which decoder runs, when its frames are discarded, when the file fails.

docs/decoding.md states the rule. In short: decord decodes an unflagged file, forward; PyAV decodes a flagged file, from
a keyframe near a late segment if that is proven to be the same, and one on which decord misbehaves, from the start; a
file that PyAV finds damaged fails with its class.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extractor.video.containers.preflight import Inspection, inspect_video
from extractor.video.decoders.backends import DecodingRequest, Misbehaved, NativeFrames, Tally, distribution_version
from extractor.video.decoders.decord_backend import HELD_BYTES, decord_frames, decord_name_and_version, held_bytes
from extractor.video.decoders.jumping import has_long_gap, jumping_frames, planned_jumps
from extractor.video.decoders.pyav_backend import pyav_frames, pyav_image_frames
from extractor.video.decoders.sparse import leaves_frames_out, sparse_frames
from extractor.video.decoders.stretches import StretchDecoder, Stretches, planned_stretches
from extractor.video.fingerprints import check_job
from extractor.video.objects.cache import ObjectCache
from extractor.video.sampling import TOLERANCE_SECONDS, plan_for
from extractor.video.transforms import Resizer, pixel_grid
from schemas.config import DecoderPolicy, ExtractionConfig
from schemas.errors import FailureClass, VideoError
from schemas.records import (
    Ask,
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
    is_address,
)

CHUNK_BYTES = 16 * 1024 * 1024
"""Bytes of resized frames in one chunk: 111 frames of 224 x 224. Each costs its receiver as much as copying 50."""

_MOST_STRETCH_BYTES = 4 * CHUNK_BYTES  # of resized frames
_TOGETHER_BYTES = 1024 * 1024  # of native frames resized together: a call takes as long as resizing half a small frame


def decode(
    job: FileJob,
    config: ExtractionConfig,
    *,
    members: Sequence[int] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    distrust: str = "",
    cache: ObjectCache | None = None,
    asked: Callable[[], Ask] | None = None,
    inspection: Inspection | None = None,
) -> Generator[DecodingEvent, None, None]:
    """Decode one file for all its items: Header, FrameChunk..., Decoded; after a Restart the chunks start over.

    members: frames per clip of each member of an ensemble; None means config.num_frames. distrust: why decord must not
    try this file, after its process hung or died in an earlier attempt; ignored if config.decoder allows only decord.
    cache: where an object is fetched to; None is the default one. asked: which stretch to decode next, if the header
    says that there are several. Each ends with a `last` chunk, and Decoded ends the part of this decoder. A Restart is
    the last event then: the file has to be decoded without `asked`. None decodes the whole file. inspection: of the
    same file, by the decoder that began it.

    The generator works only when asked for the next event, so a slow consumer slows the decoder down; close it to stop
    early. A frame that several items need comes once. Items that cannot be sampled (too short) are failures in the
    header; if all of them are, Decoded follows at once, with an empty decoder name.

    Raises VideoError where the file as a whole fails, or changes meanwhile; all its chunks are void then.
    """
    if is_address(job.path):
        with (cache or ObjectCache()).local(job) as local:
            try:
                yield from decode(
                    local,
                    config,
                    members=members,
                    chunk_bytes=chunk_bytes,
                    distrust=distrust,
                    asked=asked,
                    inspection=inspection,
                )
            except VideoError as error:
                raise VideoError(error.failure, error.message.replace(local.path, job.path)) from error
        return
    job = check_job(job)
    try:
        with closing(_events(job, config, members, chunk_bytes, distrust, asked, inspection)) as events:
            for event in events:
                if isinstance(event, Decoded):
                    check_job(job)
                yield event
    except VideoError:
        check_job(job)  # a file that is being written to looks damaged, and is not
        raise


def _events(
    job: FileJob,
    config: ExtractionConfig,
    members: Sequence[int] | None,
    chunk_bytes: int,
    distrust: str,
    asked: Callable[[], Ask] | None,
    inspection: Inspection | None,
) -> Generator[DecodingEvent, None, None]:
    """Events of a file that is assumed not to change."""
    inspection = found = inspection or inspect_video(job.path, fps=job.fps, keep_corrupt=config.keep_corrupt)
    info = inspection.info
    if held_bytes(info.num_frames, info.width, info.height) > HELD_BYTES:
        info = replace(info, flags=(*info.flags, "long"))
        inspection = replace(inspection, info=info)
    plans = plan_items(inspection, job.items, config, members)
    grid = pixel_grid(*info.displayed_size, config.resize, config.size, info.pixel_aspect)
    index = _union(plans)
    to_end = any(
        isinstance(plan, ItemPlan) and _reaches_end(item, info) for plan, item in zip(plans, job.items, strict=True)
    )
    covered = _covered(plans, job.items, info)
    request = DecodingRequest(Path(job.path), inspection, index, to_end, config.keep_corrupt, covered=covered)
    if asked is not None and not distrust and (stretches := _stretches(config, request)) is not None:
        yield Header(info, grid, plans, len(stretches.runs), found)
        yield from _asked_events(request, config, chunk_bytes, stretches, asked)
        return
    yield Header(info, grid, plans)
    if not len(index):
        yield Decoded("", "", flags=info.flags)
        return
    reason = "" if config.decoder is DecoderPolicy.DECORD else distrust
    first = None if reason else _first_decoder(config, request)
    if first is not None:
        decoding = _DecodingPass(request, config, chunk_bytes)
        try:
            yield from decoding.chunks(first(request))
        except Misbehaved as verdict:
            reason = str(verdict)
        else:
            name, version = decord_name_and_version() if first is decord_frames else distribution_version("av")
            yield decoding.decoded(name, version)
            return
        if config.decoder is not DecoderPolicy.DECORD:
            yield Restart(reason)
    if config.decoder is DecoderPolicy.DECORD:
        raise VideoError(FailureClass.CORRUPT, f"{job.path}: {reason}. Use --decoder auto for a second opinion")
    request = replace(request, tally=Tally())
    if config.decoder is not DecoderPolicy.PYAV and not inspection.images and has_long_gap(request):
        request.tally.flags.add("from_start")
    decoding = _DecodingPass(request, config, chunk_bytes)
    yield from decoding.chunks(pyav_image_frames(request) if inspection.images else pyav_frames(request))
    yield decoding.decoded(*distribution_version("av"), reason)


def _stretches(config: ExtractionConfig, request: DecodingRequest) -> Stretches | None:
    """How several decoders may share a file that PyAV would decode; None if they may not."""
    flags = request.inspection.info.flags
    if config.decoder not in (DecoderPolicy.AUTO, DecoderPolicy.SPARSE) or not flags:
        return None
    return planned_stretches(request, _MOST_STRETCH_BYTES // _frame_bytes(config))


def _asked_events(
    request: DecodingRequest,
    config: ExtractionConfig,
    chunk_bytes: int,
    stretches: Stretches,
    asked: Callable[[], Ask],
) -> Generator[DecodingEvent, None, None]:
    """Events of the stretches that are asked for, behind the header."""
    decoding = _DecodingPass(request, config, chunk_bytes)
    first = _first_decoder(config, request)
    with closing(StretchDecoder(request, stretches, (first or pyav_frames)(request))) as decoder:
        try:
            while (number := (ask := asked()).stretch) is not None:
                yield from decoding.chunks(decoder.frames(number, proves=ask.proves), stretches.sampled[number])
        except Misbehaved as verdict:
            yield Restart(str(verdict))
            return
    if first is jumping_frames:
        request.tally.flags.add("jumps")
    elif first is None and has_long_gap(request):
        request.tally.flags.add("from_start")
    yield decoding.decoded(*distribution_version("av"))


def inspect_job(job: FileJob, *, keep_corrupt: bool = False) -> Inspection:
    """Demux the file of a job. Raises VideoError (missing, changed, and what `inspect_video` raises)."""
    check_job(job)
    return inspect_video(job.path, fps=job.fps, keep_corrupt=keep_corrupt)


def plan_items(
    inspection: Inspection, items: Sequence[Item], config: ExtractionConfig, members: Sequence[int] | None = None
) -> tuple[ItemPlan | Failure, ...]:
    """For each item of a file its plan, or the failure that prevents one."""
    plans: list[ItemPlan | Failure] = []
    for item in items:
        try:
            plans.append(plan_for(inspection.times_seconds, inspection.info.end_seconds, item, config, members))
        except VideoError as error:
            plans.append(Failure(item.video_id, error.failure, error.message))
    return tuple(plans)


def _frame_bytes(config: ExtractionConfig) -> int:
    """Bytes of a resized frame."""
    return config.size * config.size * 3


class _DecodingPass:
    """One pass of one decoder over a file: resizes frames, fills chunks, times decoding and resizing separately."""

    def __init__(self, request: DecodingRequest, config: ExtractionConfig, chunk_bytes: int) -> None:
        self.request = request
        self.resizer = Resizer(config.resize, config.size, request.inspection.info.pixel_aspect)
        self.capacity = max(chunk_bytes // _frame_bytes(config), 1)
        self.decode_seconds = 0.0
        self.transform_seconds = 0.0

    def chunks(self, frames: NativeFrames, expected: int | None = None) -> Iterator[FrameChunk]:
        """Chunks of the sampled frames, or of `expected` of them; all but the last are full."""
        size = self.resizer.size
        expected = len(self.request.index) if expected is None else expected
        while expected:
            room = min(self.capacity, expected)
            pixels = np.empty((room, size, size, 3), np.uint8)
            index, valid = np.empty(room, np.int64), np.empty(room, np.bool_)
            native: list[npt.NDArray[np.uint8]] = []  # frames behind the last one that is resized
            for row in range(room):
                started = time.perf_counter()
                frame = next(frames)
                decoded = time.perf_counter()
                if native and native[0].shape != frame.pixels.shape:
                    pixels[row - len(native) : row] = self.resizer.together(native)
                    native.clear()
                native.append(frame.pixels)
                if row + 1 == room or len(native) * frame.pixels.size >= _TOGETHER_BYTES:
                    pixels[row + 1 - len(native) : row + 1] = self.resizer.together(native)
                    native.clear()
                index[row], valid[row] = frame.number, frame.valid
                self.decode_seconds += decoded - started
                self.transform_seconds += time.perf_counter() - decoded
            expected -= room
            if not expected:  # the last chunk waits until the decoder has checked the end of the file
                started = time.perf_counter()
                for frame in frames:
                    raise AssertionError(f"expected no frame beyond those sampled; got frame {frame.number}")
                self.decode_seconds += time.perf_counter() - started
            yield FrameChunk(index, pixels, valid, last=not expected)

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


def _first_decoder(
    config: ExtractionConfig, request: DecodingRequest
) -> Callable[[DecodingRequest], NativeFrames] | None:
    """What may try a file before PyAV decodes it in full.

    Raises VideoError where only decord is allowed and the file is flagged.
    """
    policy, inspection = config.decoder, request.inspection
    flags = inspection.info.flags
    if policy is DecoderPolicy.PYAV:
        return None
    if (
        policy is not DecoderPolicy.DECORD
        and (flags or policy is DecoderPolicy.SPARSE)
        and planned_jumps(request) is not None
    ):
        return jumping_frames
    if policy is DecoderPolicy.SPARSE and not config.keep_corrupt and leaves_frames_out(inspection):
        return sparse_frames
    if policy is not DecoderPolicy.DECORD or not flags:
        return None if flags else decord_frames
    failure = FailureClass.TOO_LARGE if flags == ("long",) else FailureClass.CANNOT_OPEN
    if "corrupt_packets" in flags:
        failure = FailureClass.CORRUPT
    raise VideoError(failure, f"decord is not trusted with this file ({', '.join(flags)}). Use --decoder auto")


def _union(plans: Sequence[ItemPlan | Failure]) -> npt.NDArray[np.int64]:
    needed = [plan.index for plan in plans if isinstance(plan, ItemPlan)]
    return np.unique(np.concatenate(needed)) if needed else np.empty(0, np.int64)


def _covered(plans: Sequence[ItemPlan | Failure], items: Sequence[Item], info: VideoInfo) -> npt.NDArray[np.int64]:
    """(m, 2) first frame and one past the last of the stretches that items cover, joined where they touch."""
    found: list[list[int]] = []
    for first, end in sorted(
        (int(plan.index[0]), info.num_frames if _reaches_end(item, info) else int(plan.index[-1]) + 1)
        for plan, item in zip(plans, items, strict=True)
        if isinstance(plan, ItemPlan)
    ):
        if found and first <= found[-1][1]:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([first, end])
    return np.array(found, np.int64).reshape(-1, 2)


def _reaches_end(item: Item, info: VideoInfo) -> bool:
    """Whether an item extends to the end of the file, so that damage behind its last sample affects it too."""
    return item.end_seconds is None or item.end_seconds >= info.end_seconds - TOLERANCE_SECONDS
