"""Detect boundaries without labels, where features, motion and matches change more than around there."""

from __future__ import annotations

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
from gebd.detection.config import DetectionConfig
from gebd.detection.evidence import feature_change, highest_near, smoothed, standing_out
from gebd.detection.motion import coarse_maps, confidence_change, match_loss, velocity_change
from gebd.heads.predict import JoinOptions, Prediction, pick_boundaries
from gebd.metric.tracks import Track

_SLICE_SECONDS = 60.0  # of full displacement maps in memory at a time
_SURROUNDINGS_SECONDS = 1.0  # on either side of a gap, that its changes are compared with


@dataclass(frozen=True, slots=True)
class _Cue:
    """How a change counts: means over `reach_seconds` on either side, the change that counts as one, and the weight."""

    reach_seconds: float
    least: float
    weight: float


# Chosen on procedural video: docs/gebd.md
_FEATURES = _Cue(0.2, 0.05, 0.7)
_VELOCITY = _Cue(0.5, 0.015, 0.8)
_CONFIDENCE = _Cue(0.4, 0.013, 1.3)
_LEAST_EVIDENCE = 0.017  # change of confidence: less, as of still pictures with noise, is no boundary
_NEAR_SECONDS = 0.2  # of a boundary, within which there must be that evidence
_USUAL_LOSS = 0.05  # share of the confidence that a pair may lack without a cut
_CUT = 5.0  # what a pair that lacks all of it would add to the score


def detect(
    store: FeatureStore | str | os.PathLike[str],
    annotations: Source | Annotations | None = None,
    *,
    config: DetectionConfig | None = None,
    joining: JoinOptions | None = None,
    video_ids: Sequence[str] | None = None,
) -> Prediction:
    """Detect the boundaries of a store's videos without training or labels.

    The score belongs to the gaps between neighbouring samples, at the middle of their times. It says how far a change
    stands out from those within a second: of frame features, of the velocity along tracks that follow the displacement,
    and of the confidence of matches; a weighted mean of the three, of features alone if the store has no displacement.
    `annotations` select and name the videos as in `predict`; no label is read.
    """
    config, joining = config or DetectionConfig(), joining or JoinOptions()
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    motion = ("displacement", "confidence") if {"displacement", "confidence"} <= set(store.tensors) else ()
    dataset = GEBDDataset(
        store,
        annotations,
        rate_hz=config.rate_hz,
        window_seconds=_SLICE_SECONDS,
        tensors=("frame", *motion),
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
    """Samples of one video: features (T, C) at times (T,); maps (T, 3, h, w) of the pairs they begin, or None."""

    video_id: str
    time_seconds: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None


def _videos(dataset: GEBDDataset) -> Iterator[_Video]:
    """Yield whole videos, joined from slices; only one slice's full maps are in memory at a time."""
    slices = (_reduced(dataset[index]) for index in ShardSampler(dataset, shuffle=False))
    for video_id, parts in groupby(slices, key=lambda part: part.video_id):
        yield _joined(video_id, list(parts))


def _reduced(sample: Sample) -> _Video:
    """Reduce a slice's displacement to coarse maps, and drop samples that are not valid, or lead to no other frame.

    Of the latter kind are frames that are held where the video has none for an instant: nothing changes within them.
    """
    there, maps = sample.valid.copy(), None
    if sample.displacement is not None and sample.confidence is not None and sample.pair_valid is not None:
        there[:-1] &= sample.pair_valid[:-1]
        maps = coarse_maps(sample.displacement[there], sample.confidence[there], sample.pair_valid[there])
    return _Video(sample.video_id, sample.time_seconds[there], sample.features[there].astype(np.float32), maps)


def _joined(video_id: str, parts: list[_Video]) -> _Video:
    """Join ordered slices into one video; the last one overlaps its predecessor, so each time is used once."""
    times, first = np.unique(np.concatenate([part.time_seconds for part in parts]), return_index=True)
    features = np.concatenate([part.features for part in parts])[first]
    maps = [part.maps for part in parts if part.maps is not None]
    return _Video(video_id, times, features, np.concatenate(maps)[first] if maps else None)


def _track(video: _Video, config: DetectionConfig) -> Track:
    """Score the gaps of a video; 0 where a side has too few samples to compare."""
    times = video.time_seconds
    if len(times) < 2:
        return Track(times, np.zeros(len(times)))
    edge = config.samples(_FEATURES.reach_seconds)
    inside = slice(edge, len(times) - 1 - edge)
    scores = np.zeros(len(times) - 1)
    if len(scores[inside]):
        scores[inside] = _scores(video, config, inside)
    return Track((times[1:] + times[:-1]) / 2, scores)


def _scores(video: _Video, config: DetectionConfig, inside: slice) -> npt.NDArray[np.float64]:
    """Score the gaps `inside` a video."""
    cues = [(_FEATURES, feature_change(video.features, config.samples(_FEATURES.reach_seconds)))]
    loss = evidence = None
    if video.maps is not None:
        maps = video.maps[:-1]  # the last sample begins no pair
        near = config.samples(_CONFIDENCE.reach_seconds)
        evidence, loss = confidence_change(maps, near), match_loss(maps, near)
        cues.append((_VELOCITY, velocity_change(maps, config.samples(_VELOCITY.reach_seconds))))
        cues.append((_CONFIDENCE, evidence))
    around = config.samples(_SURROUNDINGS_SECONDS)
    parts = [cue.weight * standing_out(change[inside], cue.least, around) for cue, change in cues]
    scores = smoothed(np.sum(parts, axis=0) / sum(cue.weight for cue, _ in cues))
    if loss is not None and evidence is not None:
        scores += _CUT * (loss[inside] - _USUAL_LOSS).clip(min=0)
        scores[highest_near(evidence, config.samples(_NEAR_SECONDS))[inside] < _LEAST_EVIDENCE] = 0
    return scores.clip(min=0)
