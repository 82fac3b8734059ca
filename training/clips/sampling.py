"""Which frames make a clip: pure functions over numbers of frames, no file, no decoder.

Positions count the frames of a video, or of its segment, from 0. They ascend, and repeat where there are too few.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from extractor.video.sampling import segment_positions
from training.clips.config import ClipSampling, ClipSettings

Int64Array = npt.NDArray[np.int64]


def training_positions(
    count: int, num_frames: int, settings: ClipSettings, generator: np.random.Generator
) -> Int64Array:
    """(num_frames,) positions of a random clip of `count` frames.

    segments: a random frame of each of num_frames equal parts (TSN, Wang et al., ECCV 2016); in a video with fewer
    frames than that, each frame once and the last one repeated. dense: num_frames at a stride of dense_span //
    num_frames from a random start; in a video shorter than the span they go on at its start, as in the reference, but
    in ascending order.
    """
    if settings.sampling is ClipSampling.DENSE:
        start = int(generator.integers(max(1, count - settings.dense_span + 1)))
        return _dense(count, num_frames, settings, start)
    if count < num_frames:
        only: Int64Array = segment_positions(count, num_frames)[0]
        return only
    edges: Int64Array = np.arange(num_frames + 1, dtype=np.int64) * count // num_frames
    positions: Int64Array = edges[:-1] + generator.integers(np.diff(edges))
    return positions


def evaluation_positions(count: int, num_frames: int, settings: ClipSettings, clips: int) -> Int64Array:
    """(clips, num_frames) positions of evenly spread clips: the middle of every part, or starts at even distances."""
    if settings.sampling is ClipSampling.SEGMENTS:
        return segment_positions(count, num_frames, clips)
    last = max(0, count - settings.dense_span)
    starts = [last // 2] if clips == 1 else np.linspace(0, last, clips).astype(np.int64).tolist()
    return np.stack([_dense(count, num_frames, settings, start) for start in starts])


def _dense(count: int, num_frames: int, settings: ClipSettings, start: int) -> Int64Array:
    """From `start` on at the stride of the span; modulo the number of frames where the video is shorter."""
    stride = max(1, settings.dense_span // num_frames)
    return np.sort((start + stride * np.arange(num_frames, dtype=np.int64)) % count)
