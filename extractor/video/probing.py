"""What extracting a file would give, from demuxing alone: for planning, before anything is decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from extractor.video.preflight import inspect_video
from extractor.video.sampling import plan_for
from schemas.config import ExtractionConfig, Sampling
from schemas.errors import FailureClass, VideoError
from schemas.records import FileJob

__all__ = ["ProbedItem", "probe"]


@dataclass(frozen=True, slots=True)
class ProbedItem:
    """What demuxing told about an item; `failure` says why a bad one has no frames.

    duration_seconds: of the item. native_frames: of the whole file, for an estimate of the time decoding takes.
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
    """What each item of a file would give; nothing is raised for a bad one, which is found again when extracted."""
    try:
        found = inspect_video(job.path, fps=job.fps, keep_corrupt=config.keep_corrupt)
    except VideoError as error:
        return [ProbedItem(item.video_id, failure=error.failure, message=error.message) for item in job.items]
    info, probed = found.info, []
    for item in job.items:
        try:
            plan = plan_for(found.times_seconds, info.end_seconds, item, config, tuple(member_frames))
        except VideoError as error:
            probed.append(ProbedItem(item.video_id, failure=error.failure, message=error.message))
            continue
        start = info.start_seconds if item.start_seconds is None else item.start_seconds
        end = info.end_seconds if item.end_seconds is None else min(item.end_seconds, info.end_seconds)
        clips = 1 if config.sampling is Sampling.DENSE else len(plan.num_valid)
        probed.append(
            ProbedItem(item.video_id, end - start, len(plan.index), clips, info.num_frames, info.width * info.height)
        )
    return probed
