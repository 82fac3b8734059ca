"""A stored video over time: motion energy, confidence of matches and change of features, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore
from gebd.dataset.store_videos import FrameRows, StoreVideos

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MOST_POINTS = 400
"""Points of a curve. Of longer ones, the largest value of each stretch is kept, so that no peak is lost."""

_BLOCK_ROWS = 256  # of maps, or of features, in memory at a time


@dataclass(frozen=True, eq=False)
class Curve:
    """Values (n,) at times (n,), in seconds from the start of the video; both empty where the store has none."""

    time_seconds: FloatArray = field(default_factory=lambda: np.zeros(0))
    values: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def mean(self) -> float:
        """The mean, NaN of nothing."""
        return float(self.values.mean()) if len(self.values) else float("nan")

    def shortened(self) -> Curve:
        """The curve with at most MOST_POINTS points."""
        if len(self.values) <= MOST_POINTS:
            return self
        edges = np.linspace(0, len(self.values), MOST_POINTS + 1).astype(np.int64)
        parts = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        kept = np.array([low + int(np.argmax(self.values[low:high])) for low, high in parts])
        return Curve(self.time_seconds[kept], self.values[kept])


@dataclass(frozen=True, eq=False)
class VideoTracks:
    """Curves of a video. motion: mean length of displacement, in cells a second, weighted by confidence.

    confidence: its mean over the frame. change: 1 - cosine of neighbouring frame features. frame_seconds (n,): times of
    valid frames on the container's clock. pair_row (n,): row of the pair that each begins, counted from the video's
    first one; -1: none.
    """

    motion: Curve
    confidence: Curve
    change: Curve
    pair_row: Int64Array
    frame_seconds: FloatArray


class TrackReader:
    """Reads the tracks of the videos of a store, by their number in `store.video_ids`.

    Of an ensemble, those of its first network.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.videos = StoreVideos(store, 0 if store.run.shape.members > 1 else None)
        self.has_motion = {"displacement", "confidence"} <= set(store.tensors)
        self.has_features = "frame" in store.tensors

    def read(self, number: int) -> VideoTracks:
        """Tracks of one video; reads all its maps, a block at a time. Raises StoreError where they are damaged."""
        ((_, rows),) = self.videos.frames(np.array([number]))
        pair_frame = _frames_of_pairs(rows)
        start = float(self.videos.start_seconds[number])
        frames = np.concatenate([np.arange(first, stop) for first, stop in rows.runs[:, :2]])
        frames = frames[rows.valid[frames]]
        frames = frames[np.unique(rows.time_seconds[frames], return_index=True)[1]]  # clips may overlap
        began = {int(frame): pair for pair, frame in enumerate(pair_frame.tolist()) if frame >= 0}
        motion, confidence = self._motion(number, rows, pair_frame, start)
        return VideoTracks(
            motion,
            confidence,
            self._change(number, rows, start),
            np.array([began.get(int(frame), -1) for frame in frames], np.int64),
            rows.time_seconds[frames],
        )

    def maps(self, number: int, pairs: Int64Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Displacement (n, 2, h, w) in cells and confidence (n, h, w) of some pairs of a video, rows ascending."""
        first, clip = self.videos.pair_start(number), int(self.videos.clip[number])
        found = []
        for name in ("displacement", "confidence"):
            rows = [self.store.rows(name, clip, first + pair, first + pair + 1) for pair in pairs.tolist()]
            found.append(np.concatenate(rows).astype(np.float32))
        return found[0], found[1][:, 0]

    def _motion(self, number: int, rows: FrameRows, pair_frame: Int64Array, start: float) -> tuple[Curve, Curve]:
        if not self.has_motion:
            return Curve(), Curve()
        first, clip = self.videos.pair_start(number), int(self.videos.clip[number])
        energy, trust = np.zeros(len(pair_frame)), np.zeros(len(pair_frame))
        for low in range(0, len(pair_frame), _BLOCK_ROWS):
            high = min(low + _BLOCK_ROWS, len(pair_frame))
            lengths = np.linalg.norm(
                self.store.rows("displacement", clip, first + low, first + high).astype(float), axis=1
            )
            weight = self.store.rows("confidence", clip, first + low, first + high)[:, 0].astype(np.float64)
            trust[low:high] = weight.mean(axis=(1, 2))
            energy[low:high] = (lengths * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-9)
        frame = np.maximum(pair_frame, 0)
        following = np.minimum(frame + 1, len(rows.valid) - 1)
        seconds = rows.time_seconds[following] - rows.time_seconds[frame]
        there = (pair_frame >= 0) & rows.valid[frame] & rows.valid[following] & (seconds > 0)
        times = (rows.time_seconds[frame] + seconds / 2 - start)[there]
        return _ordered(times, energy[there] / seconds[there]), _ordered(times, trust[there])

    def _change(self, number: int, rows: FrameRows, start: float) -> Curve:
        if not self.has_features:
            return Curve()
        first, clip = self.videos.frame_range(number)[0], int(self.videos.clip[number])
        parts: list[Curve] = []
        for run_first, run_stop in rows.runs[:, :2].tolist():
            for low in range(run_first, run_stop - 1, _BLOCK_ROWS):
                high = min(low + _BLOCK_ROWS + 1, run_stop)  # one row more than the block: its change belongs to it
                unit = self.store.rows("frame", clip, first + low, first + high).astype(np.float64)
                unit /= np.linalg.norm(unit, axis=1, keepdims=True) + 1e-12
                times, valid = rows.time_seconds[low:high], rows.valid[low:high]
                there = valid[1:] & valid[:-1] & (np.diff(times) > 0)
                change = 1 - np.sum(unit[1:] * unit[:-1], axis=1)
                parts.append(Curve(((times[1:] + times[:-1]) / 2 - start)[there], change[there]))
        if not parts:
            return Curve()
        return _ordered(np.concatenate([p.time_seconds for p in parts]), np.concatenate([p.values for p in parts]))


def _frames_of_pairs(rows: FrameRows) -> Int64Array:
    """The row of the frame that begins each pair, by row of the pair, both from the video's first; -1: another's."""
    found = np.full(int(rows.runs[:, 3].max(initial=0)), -1, np.int64)
    for frame_start, _, pair_start, pair_stop in rows.runs.tolist():
        found[pair_start:pair_stop] = frame_start + np.arange(pair_stop - pair_start)
    return found


def _ordered(times: FloatArray, values: FloatArray) -> Curve:
    """A curve in the order of its times, each of them once: clips may overlap."""
    times, first = np.unique(times, return_index=True)
    finite = np.isfinite(values[first])
    return Curve(times[finite], values[first][finite])
