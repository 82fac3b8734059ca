"""A network's output at moments of a real video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from extractor.models.msnet import MSNet
from extractor.video import list_videos
from extractor.video.frames import read_frames
from extractor.video.sampling import TOLERANCE_SECONDS
from schemas.errors import ConfigurationError, FailureClass, InventoryError, VideoError
from schemas.records import FileJob
from training.evaluation.passes import run_sequence
from training.evaluation.picture import Moment


def see_moments(
    network: MSNet, video: Path, at_seconds: Sequence[float], *, rate_hz: float = 10.0, size: int = 224
) -> list[Moment]:
    """Displacement and confidence from the frames shown at some times to those one sampling step later.

    The network processes as many frames before and after as its features depend on, where the video has them. Raises
    ConfigurationError for a network without an MS module or a time without a pair of frames, InventoryError where
    `video` is not a single file, and VideoError where it cannot be decoded.
    """
    if not network.spec.has_motion:
        raise ConfigurationError(
            f"expected a network with displacement; got {network.spec.name}. Choose an msnet_ network"
        )
    jobs = list_videos(video).jobs if video.is_file() else ()
    if len(jobs) != 1:
        raise InventoryError(f"expected a single video file; got {video}. Give the path of one video")
    (job,) = jobs
    return [_see(network, job, seconds, rate_hz, size) for seconds in at_seconds]


def _see(network: MSNet, job: FileJob, seconds: float, rate_hz: float, size: int) -> Moment:
    no_pair = f"expected a time with a frame after it; got {seconds:g} s, where {job.path} has none. Give another --at"
    if not math.isfinite(seconds):
        raise ConfigurationError(no_pair)
    # Sampling starts a whole number of steps before the moment, so that the samples include its frame.
    back = min(network.spec.reach.back, int(seconds * rate_hz + TOLERANCE_SECONDS))
    start, end = seconds - back / rate_hz, seconds + (network.spec.reach.forward + 1) / rate_hz
    try:
        found = read_frames(job, start_seconds=start, end_seconds=end, rate_hz=rate_hz, size=size)
    except VideoError as error:
        raise ConfigurationError(no_pair) if error.failure is FailureClass.TOO_SHORT else error from error
    times = found.time_seconds
    here = int(np.searchsorted(times, seconds + TOLERANCE_SECONDS, side="right")) - 1
    if not 0 <= here < len(times) - 1:
        raise ConfigurationError(no_pair)
    output = run_sequence(network, torch.from_numpy(found.pixels))
    assert output.displacement is not None and output.confidence is not None  # the network has an MS module
    return Moment(
        f"{Path(job.path).name}, {times[here]:.1f} s",
        found.pixels[here],
        output.displacement[here].numpy(),
        output.confidence[here].numpy(),
        found.grid,
        float(times[here + 1] - times[here]),
    )
