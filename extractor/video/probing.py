"""What the extraction of a file would yield, from demuxing alone: for planning, before anything is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from extractor.video.decoding import inspect_job, plan_items
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass, VideoError
from schemas.records import Failure, FileJob


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
