"""Detect boundaries without labels, where motion and features change."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from extractor.store.reader import FeatureStore
from gebd.annotations.loading import Source
from gebd.annotations.records import Annotations
from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.samplers import ShardSampler
from gebd.dataset.samples import Sample
from gebd.detection.contrast import contrast, grid_motion, motion_scale, smoothed, unit_vectors
from gebd.heads.predict import JoinOptions, Prediction, pick_boundaries
from gebd.metric.picking import BoundaryPicker, PickingMethod
from gebd.metric.tracks import Track
from schemas.errors import UsageError

_SLICE_SECONDS = 60.0  # of full displacement maps in memory at a time


@dataclass(frozen=True, slots=True)
class DetectionConfig:
    """The detector's parameters; docs/gebd.md describes how the defaults were chosen.

    `context_seconds`: length compared before and after. `motion_share`: weight of the contrast in displacement, 0 to 1;
    the rest is the weight of features. `smooth_seconds`: sigma of the Gaussian that smooths the score. A maximum is a
    boundary if its prominence is at least `prominence` and no higher one lies within `apart_seconds`.
    """

    rate_hz: float = 10.0
    context_seconds: float = 0.5
    motion_share: float = 0.5
    smooth_seconds: float = 0.1
    prominence: float = 0.05
    apart_seconds: float = 0.5

    def __post_init__(self) -> None:
        positive = {"rate_hz": self.rate_hz, "context_seconds": self.context_seconds, "prominence": self.prominence}
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}: expected a number above 0; got {value}. Give a positive number")
        if not 0 <= self.motion_share <= 1 or not 0 <= self.smooth_seconds < math.inf:
            raise UsageError(
                f"expected motion_share from 0 to 1 and smooth_seconds of 0 or more; got {self.motion_share} and "
                f"{self.smooth_seconds}. Correct the one that is out of range"
            )

    @property
    def picker(self) -> BoundaryPicker:
        """The picker that turns the score into boundaries."""
        return BoundaryPicker(PickingMethod.PROMINENCE, self.prominence, self.apart_seconds)


def detect(
    store: FeatureStore | str | os.PathLike[str],
    annotations: Source | Annotations | None = None,
    *,
    config: DetectionConfig | None = None,
    joining: JoinOptions | None = None,
    video_ids: Sequence[str] | None = None,
) -> Prediction:
    """Detect the boundaries of a store's videos without training or labels.

    The score compares the `context_seconds` before and after every sample in two ways, each from 0 to about 1: the
    contrast in the self-similarity of frame features (`gebd.detection.contrast`), and the squared difference of
    displacement, weighted by confidence on a 4 x 4 grid, over its mean square in the video. If the store has no
    displacement, only features count. `annotations` select and name the videos as in `predict`; no label is read.
    """
    config, joining = config or DetectionConfig(), joining or JoinOptions()
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    motion = ("displacement", "confidence") if {"displacement", "confidence"} <= set(store.tensors) else ()
    dataset = GEBDDataset(
        store,
        annotations,
        rate_hz=config.rate_hz,
        window_seconds=_SLICE_SECONDS,
        tensors=("frame", *(motion if config.motion_share > 0 else ())),
        pattern=joining.pattern,
        starts_seconds=joining.starts_seconds,
    )
    if video_ids is not None:
        dataset = dataset.subset(video_ids)
    tracks = {video.video_id: _track(video, config) for video in _videos(dataset)}
    boundaries = pick_boundaries(tracks, config.picker)
    return Prediction(boundaries, tracks, dataset.join if annotations is not None else None)


@dataclass(frozen=True, eq=False)
class _Video:
    """Data of one video: features (T, C) at times (T,); motion (K, M) at its own times (K,), or None."""

    video_id: str
    time_seconds: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    motion_seconds: npt.NDArray[np.float64] | None
    motion: npt.NDArray[np.float64] | None


def _videos(dataset: GEBDDataset) -> Iterator[_Video]:
    """Yield whole videos, joined from slices; only one slice's maps are in memory at a time."""
    slices = (_reduced(dataset[index]) for index in ShardSampler(dataset, shuffle=False))
    for video_id, parts in groupby(slices, key=lambda part: part.video_id):
        yield _joined(video_id, list(parts))


def _reduced(sample: Sample) -> _Video:
    """Average a slice's displacement over the grid, and drop samples that are not valid."""
    motion = seconds = None
    if sample.displacement is not None and sample.confidence is not None and sample.pair_valid is not None:
        there = sample.valid & sample.pair_valid
        motion = grid_motion(sample.displacement[there].astype(np.float32), sample.confidence[there])
        seconds = sample.time_seconds[there]
    features = sample.features[sample.valid].astype(np.float32)
    return _Video(sample.video_id, sample.time_seconds[sample.valid], features, seconds, motion)


def _joined(video_id: str, parts: list[_Video]) -> _Video:
    """Join ordered slices into one video; the last one overlaps its predecessor, so each time is used once."""
    times, first = np.unique(np.concatenate([part.time_seconds for part in parts]), return_index=True)
    features = np.concatenate([part.features for part in parts])[first]
    motions = [part.motion for part in parts if part.motion is not None]
    seconds = [part.motion_seconds for part in parts if part.motion_seconds is not None]
    if not motions:
        return _Video(video_id, times, features, None, None)
    starts, chosen = np.unique(np.concatenate(seconds), return_index=True)
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    return _Video(video_id, times, features, starts + step / 2, np.concatenate(motions)[chosen])


def _track(video: _Video, config: DetectionConfig) -> Track:
    times = video.time_seconds
    if not len(times):
        return Track(times, np.zeros(0))
    score = contrast(unit_vectors(video.features), times, times, config.context_seconds) / 4
    if video.motion is not None and video.motion_seconds is not None and len(video.motion):
        change = contrast(video.motion, video.motion_seconds, times, config.context_seconds)
        share = config.motion_share
        score = (1 - share) * score + share * change / (4 * motion_scale(video.motion))
    return Track(times, smoothed(score, times, config.smooth_seconds))
