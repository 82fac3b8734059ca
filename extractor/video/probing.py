"""What the extraction of a file would yield, from demuxing alone: for planning, before anything is decoded.

Of an object it is estimated from its size: demuxing would fetch it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extractor.video.decoding import inspect_job, plan_items
from extractor.video.fingerprints import check_job
from extractor.video.headers import LIKELY_BYTES_A_SECOND, LIKELY_FPS
from extractor.video.sampling import plan_for
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass, VideoError
from schemas.records import Failure, FileJob, is_address

_LIKELY_PIXELS = 1280 * 720
_LONGEST_SECONDS = 12 * 3600.0
_SHORTEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProbedItem:
    """What demuxing says about an item; `failure` says why a bad one has no frames.

    duration_seconds: of the item. native_frames: of the whole file, to estimate the decoding time. pixels: per frame.
    """

    video_id: str
    duration_seconds: float = math.nan
    num_frames: int = 0
    num_clips: int = 0
    native_frames: int = 0
    pixels: int = 0
    failure: FailureClass | None = None
    message: str = ""


def probe(job: FileJob, config: ExtractionConfig, member_frames: Sequence[int]) -> list[ProbedItem]:
    """What each item of a file would yield. Raises nothing for a bad file: the extraction meets it again."""
    if is_address(job.path):
        return _estimated(job, config, member_frames)
    try:
        found = inspect_job(job, keep_corrupt=config.keep_corrupt)
    except VideoError as error:
        return [ProbedItem(item.video_id, failure=error.failure, message=error.message) for item in job.items]
    info, probed = found.info, []
    for item, plan in zip(job.items, plan_items(found, job.items, config, member_frames), strict=True):
        if isinstance(plan, Failure):
            probed.append(ProbedItem(item.video_id, failure=plan.failure, message=plan.message))
            continue
        start = info.start_seconds if item.start_seconds is None else item.start_seconds
        end = info.end_seconds if item.end_seconds is None else min(item.end_seconds, info.end_seconds)
        pixels = info.width * info.height
        probed.append(
            ProbedItem(item.video_id, end - start, len(plan.index), len(plan.num_valid), info.num_frames, pixels)
        )
    return probed


def _estimated(job: FileJob, config: ExtractionConfig, member_frames: Sequence[int]) -> list[ProbedItem]:
    """The items of an object as if it were ordinary video of 720p; a missing one fails. Fetches nothing."""
    try:
        size = check_job(job).size_bytes if job.size_bytes is None else job.size_bytes
    except VideoError as error:
        return [ProbedItem(item.video_id, failure=error.failure, message=error.message) for item in job.items]
    ends = [item.end_seconds or (item.start_seconds or 0.0) + _SHORTEST_SECONDS for item in job.items]
    duration = min(max((size or 0) / LIKELY_BYTES_A_SECOND, *ends, _SHORTEST_SECONDS), _LONGEST_SECONDS)
    times = np.arange(int(duration * LIKELY_FPS)) / LIKELY_FPS
    probed = []
    for item in job.items:
        start, end = item.start_seconds or 0.0, item.end_seconds or duration
        try:
            plan = plan_for(times, duration, item, config, member_frames)
        except VideoError:  # perhaps too short, which its frames will tell
            probed.append(ProbedItem(item.video_id, end - start, 1, 1, len(times), _LIKELY_PIXELS))
            continue
        frames, clips = len(plan.index), len(plan.num_valid)
        probed.append(ProbedItem(item.video_id, end - start, frames, clips, len(times), _LIKELY_PIXELS))
    return probed
