"""Which frames make a clip, and which samples it has: pure functions over times, no file, no decoder.

Times are those of a video's own clock, on which its boundaries are marked, unless they are said to be played ones:
seconds of a clip that is played faster, slower or backwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from extractor.video.sampling import TOLERANCE_SECONDS
from gebd.dataset.index import SampledVideo, sample_video
from gebd.dataset.resampling import TICK_SECONDS, FrameOrder

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_BEYOND = 0.1  # of a stretch that may lie before its video begins or after it ends, as heads vary their windows


@dataclass(frozen=True, slots=True)
class Played:
    """How a clip is played: from `start_seconds` on at `speed`; backwards, its last frame comes first."""

    start_seconds: float
    speed: float = 1.0
    backwards: bool = False


@dataclass(frozen=True, eq=False)
class Taken:
    """The frames of a clip and its T samples.

    positions: (n,) of the frames among those of the video, ascending. backwards: they are shown in reverse. samples: of
    the frames as shown. seconds: (T,) times of the samples on the video's own clock.
    """

    positions: Int64Array
    backwards: bool
    samples: SampledVideo
    seconds: Float64Array


def draw_stretch(
    length_seconds: float, window_seconds: float, stretch: float, reverse: bool, generator: np.random.Generator
) -> Played:
    """A random stretch of a video, at a speed of exp(u), u uniform from -stretch to stretch; half run backwards.

    A tenth of it may lie before the video or behind it. Backwards only with `reverse`.
    """
    speed = math.exp(stretch * generator.uniform(-1, 1))
    span = window_seconds * speed
    room = length_seconds - span
    start = generator.uniform(min(0.0, room) - _BEYOND * span, max(0.0, room) + _BEYOND * span)
    return Played(float(start), speed, bool(reverse and generator.random() < 0.5))


def draw_instant(positive: BoolArray, generator: np.random.Generator) -> int:
    """The number of a random instant: with even odds one that is `positive` (n,), or one that is not."""
    wanted = positive == (generator.random() < 0.5)
    return int(generator.choice(np.flatnonzero(wanted if wanted.any() else ~wanted)))


def take_frames(own_seconds: Float64Array, length_seconds: float, played: Played, count: int, rate_hz: float) -> Taken:
    """The frames on display at `count` instants of a clip, each once, and samples at `rate_hz` as played.

    own_seconds: (N,) of the video's frames, ascending, N >= 2. Instants before the video or from `length_seconds` on
    have no frame. At speed 1 from 0 on, these are the frames that a dense extraction takes, and its samples.
    """
    instants = played.start_seconds + np.arange(count) * played.speed / rate_hz
    instants = instants[(instants >= -TOLERANCE_SECONDS) & (instants < length_seconds - TOLERANCE_SECONDS)]
    shown = np.searchsorted(own_seconds, instants + TOLERANCE_SECONDS, side="right") - 1
    positions = np.unique(np.clip(shown, 0, len(own_seconds) - 1))
    if len(positions) < 2:  # motion needs two
        at = int(positions[0]) if len(positions) else 0
        positions = np.array([at - 1, at] if at else [0, 1])
    times = own_seconds[positions]
    if played.backwards:
        samples = played_samples((times[-1] - times[::-1]) / played.speed, rate_hz)
        return Taken(positions, True, samples, times[-1] - samples.time_seconds * played.speed)
    samples = played_samples((times - times[0]) / played.speed, rate_hz)
    return Taken(positions, False, samples, times[0] + samples.time_seconds * played.speed)


def played_samples(
    times_seconds: Float64Array,
    rate_hz: float,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
) -> SampledVideo:
    """Samples and slices of frames (n,) that follow one another, as those of a store whose video was one dense clip."""
    frames = np.arange(len(times_seconds))
    order = FrameOrder(frames, np.where(frames + 1 < len(frames), frames, -1))
    return sample_video(times_seconds, order, np.ones(len(frames), np.bool_), rate_hz, window_seconds, hop_seconds)


def inside(own_seconds: Float64Array, until_seconds: float | None) -> BoolArray:
    """Which frames (N,) belong to a video that ends at `until_seconds`, as a dataset of stored features decides it."""
    if until_seconds is None:
        return np.ones(len(own_seconds), np.bool_)
    step = float(np.median(np.diff(own_seconds))) if len(own_seconds) > 1 else 0.0
    found: BoolArray = (own_seconds >= -step / 2) & (own_seconds < until_seconds - TICK_SECONDS)
    return found
