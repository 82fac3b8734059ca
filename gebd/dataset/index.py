"""Samples, slices and boundaries of all videos as flat arrays, which forked workers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gebd.annotations.records import Raters, VideoAnnotation
from gebd.annotations.values import shown
from gebd.dataset.entries import Entry
from gebd.dataset.labels import combine, flatten_raters, rater_targets, raters_by_consistency, separate_raters
from gebd.dataset.resampling import TICK_SECONDS, FrameOrder, frame_order, resample, slices
from gebd.dataset.samples import RaterTimes
from gebd.dataset.store_videos import FrameRows, StoreVideos
from schemas.errors import StoreError, UsageError

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VideoSamples:
    """Samples of V videos, concatenated; those of video v are [edges[v], edges[v + 1]).

    By video (V,): video_ids, clip (manifest row of the first clip), frame_start and pair_start (first rows in the
    shard), start_seconds, until_seconds (NaN for None), duration_seconds and fps, extracted_seconds and extracted_fps
    (see Entry), stored_hz (mean frames a second in the store), edges (V + 1,). By sample: time_seconds on the video's
    clock, frame_row and pair_row relative to the video's first (-1: no pair), valid, pair_valid, held.
    """

    video_ids: npt.NDArray[np.str_]
    clip: Int64Array
    frame_start: Int64Array
    pair_start: Int64Array
    start_seconds: Float64Array
    until_seconds: Float64Array
    duration_seconds: Float64Array
    fps: Float64Array
    extracted_seconds: Float64Array
    extracted_fps: Float64Array
    stored_hz: Float64Array
    edges: Int64Array
    time_seconds: Float64Array
    frame_row: Int32Array
    pair_row: Int32Array
    valid: BoolArray
    pair_valid: BoolArray
    held: BoolArray

    def of(self, video: int) -> slice:
        """Return the range of a video's samples."""
        return slice(int(self.edges[video]), int(self.edges[video + 1]))


@dataclass(frozen=True, eq=False)
class Slices:
    """S slices in the order of the store, all (S,): video, first and stop (range of samples), start_seconds."""

    video: Int32Array
    first: Int64Array
    stop: Int64Array
    start_seconds: Float64Array

    def __len__(self) -> int:
        return len(self.video)

    def where(self, chosen: BoolArray) -> Slices:
        """Return the slices where the mask `chosen` (S,) is True."""
        return Slices(self.video[chosen], self.first[chosen], self.stop[chosen], self.start_seconds[chosen])


class Boundaries:
    """Boundaries of all raters of V videos as flat arrays, from which labels for any times of a video are computed."""

    def __init__(self, annotations: Sequence[VideoAnnotation], sigma_seconds: float, raters: Raters) -> None:
        flat = [flatten_raters(video.rater_seconds) for video in annotations]
        choose = separate_raters if raters is Raters.SEPARATE else raters_by_consistency
        best = [choose(video.consistency, video.num_raters) for video in annotations]
        self.sigma_seconds = sigma_seconds
        self.raters = raters
        self._times = np.concatenate([times for times, _ in flat])
        self._starts = np.concatenate([starts for _, starts in flat])
        self._time_edges = np.cumsum([0] + [len(times) for times, _ in flat])
        self._rater_edges = np.cumsum([0] + [len(starts) for _, starts in flat])
        self._best = np.array(best, dtype=np.int64)

    def targets(self, video: int, time_seconds: Float64Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Return (soft, hard, per-rater) labels of times (T,) of a video: (T,), (T,) and (R, T)."""
        of_raters = rater_targets(time_seconds, *self._of(video), self.sigma_seconds)
        first, second = self._best[video].tolist()
        soft, hard = combine(of_raters, self.raters, (first, second))
        return soft, hard, of_raters

    def within(self, video: int, start_seconds: float, end_seconds: float) -> RaterTimes:
        """Return the boundaries of every rater from start to end, both inclusive."""
        times, starts = self._of(video)
        edges = [*starts.tolist(), len(times)]
        inside = (times >= start_seconds) & (times <= end_seconds) & np.isfinite(times)
        return tuple(tuple(times[a:b][inside[a:b]].tolist()) for a, b in pairwise(edges))

    def of_raters(self, video: int) -> Float64Array:
        """Return all boundaries of a video, rater by rater."""
        times = self._of(video)[0]
        return times[np.isfinite(times)]

    def _of(self, video: int) -> tuple[Float64Array, Int64Array]:
        times = self._times[self._time_edges[video] : self._time_edges[video + 1]]
        return times, self._starts[self._rater_edges[video] : self._rater_edges[video + 1]]


def index_videos(
    stored: StoreVideos,
    entries: Sequence[Entry],
    rate_hz: float | None,
    window_seconds: float | None,
    hop_seconds: float | None,
) -> tuple[VideoSamples, Slices]:
    """Sample and slice videos, which are given in the order of the store.

    Raises StoreError if the store holds invalid times.
    """
    of_item: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        of_item.setdefault(entry.item, []).append(number)
    found: list[SampledVideo | None] = [None] * len(entries)
    for item, rows in stored.frames(np.array(sorted(of_item), dtype=np.int64)):
        for number in of_item[item]:
            found[number] = _sampled(entries[number], rows, rate_hz, window_seconds, hop_seconds)
    videos = [video for video in found if video is not None]
    counts = np.array([len(video.time_seconds) for video in videos], dtype=np.int64)
    edges = np.concatenate([[0], np.cumsum(counts)])
    samples = VideoSamples(
        video_ids=np.array([entry.video_id for entry in entries], dtype=np.str_),
        clip=stored.clip[[entry.item for entry in entries]],
        frame_start=np.array([stored.frame_range(entry.item)[0] for entry in entries], dtype=np.int64),
        pair_start=np.array([stored.pair_start(entry.item) for entry in entries], dtype=np.int64),
        start_seconds=np.array([entry.start_seconds for entry in entries]),
        until_seconds=np.array([np.nan if (end := entry.until_seconds) is None else end for entry in entries]),
        duration_seconds=np.array([entry.duration_seconds for entry in entries]),
        fps=np.array([entry.fps for entry in entries]),
        extracted_seconds=np.array([entry.extracted_seconds for entry in entries]),
        extracted_fps=np.array([entry.extracted_fps for entry in entries]),
        stored_hz=np.array([video.stored_hz for video in videos]),
        edges=edges,
        time_seconds=_joined([video.time_seconds for video in videos], np.float64),
        frame_row=_joined([video.frame_row for video in videos], np.int32),
        pair_row=_joined([video.pair_row for video in videos], np.int32),
        valid=_joined([video.valid for video in videos], np.bool_),
        pair_valid=_joined([video.pair_valid for video in videos], np.bool_),
        held=_joined([video.held for video in videos], np.bool_),
    )
    return samples, _slices_of(videos, edges[:-1])


@dataclass(frozen=True, eq=False)
class SampledVideo:
    """Samples and slices of one video, as in VideoSamples; first and stop of slices index its own samples."""

    time_seconds: Float64Array
    frame_row: Int64Array
    pair_row: Int64Array
    valid: BoolArray
    pair_valid: BoolArray
    held: BoolArray
    stored_hz: float
    slices: tuple[Float64Array, Int64Array, Int64Array]


def _sampled(
    entry: Entry, rows: FrameRows, rate_hz: float | None, window_seconds: float | None, hop_seconds: float | None
) -> SampledVideo:
    order = frame_order(rows.index, rows.valid, rows.runs)
    times = rows.time_seconds[order.frame_row] - entry.start_seconds
    if (np.diff(times) < 0).any():
        raise StoreError(f"times of {shown(entry.video_id)} are not ascending: run `msnet verify --deep`")
    if entry.until_seconds is not None:
        # The frame shown at the start of the stretch may have begun before it.
        inside = (times >= -_step(times) / 2) & (times < entry.until_seconds - TICK_SECONDS)
        if not inside.any():
            raise UsageError(
                f"{shown(entry.video_id)}: expected a frame within the {entry.until_seconds:g} s of the stretch; got "
                "none. Check where it starts (starts_seconds)"
            )
        times, order = times[inside], replace(order, frame_row=order.frame_row[inside], pair_row=order.pair_row[inside])
    return sample_video(times, order, rows.valid, rate_hz, window_seconds, hop_seconds)


def sample_video(
    times: Float64Array,
    order: FrameOrder,
    valid: BoolArray,
    rate_hz: float | None,
    window_seconds: float | None,
    hop_seconds: float | None,
) -> SampledVideo:
    """Sample and slice a video whose frames, in `order` (m,), are shown at `times` (m,), ascending, on its own clock.

    valid: by row.
    """
    step = _step(times)
    found = resample(times, rate_hz)
    pair = order.pair_row[found.position]
    pair_valid = (pair >= 0) & ~found.held
    last = np.maximum.accumulate(np.where(pair >= 0, np.arange(len(pair)), -1))
    frame = order.frame_row[found.position]
    return SampledVideo(
        time_seconds=found.time_seconds,
        frame_row=frame,
        pair_row=np.where(last >= 0, pair[last], -1),
        valid=valid[frame] & ~found.hole,
        pair_valid=pair_valid,
        held=found.held,
        stored_hz=(len(times) - 1) / (times[-1] - times[0]) if step else np.nan,
        slices=slices(found.instant_seconds, 1 / rate_hz if rate_hz else step, window_seconds, hop_seconds),
    )


def _slices_of(videos: Sequence[SampledVideo], first_samples: Int64Array) -> Slices:
    counts = [len(video.slices[0]) for video in videos]
    before = np.repeat(first_samples, counts)
    return Slices(
        video=np.repeat(np.arange(len(videos), dtype=np.int32), counts),
        start_seconds=_joined([video.slices[0] for video in videos], np.float64),
        first=_joined([video.slices[1] for video in videos], np.int64) + before,
        stop=_joined([video.slices[2] for video in videos], np.int64) + before,
    )


def _step(times: Float64Array) -> float:
    """Return the median distance of neighbouring frames; 0 for a single frame."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _joined(arrays: Sequence[npt.NDArray[Any]], dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([array.astype(dtype) for array in arrays]) if arrays else np.empty(0, dtype)
