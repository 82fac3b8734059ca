"""Draw a video of a store, or a run, from the files that other commands write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from extractor.store.reader import FeatureStore
from gebd.annotations.identity import join_videos
from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations, PerRater
from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.samples import Sample
from gebd.dataset.store_videos import StoreVideos
from gebd.detection.config import DetectionConfig
from gebd.detection.detector import detect
from gebd.heads.predict import JoinOptions, predict
from gebd.heads.run_folder import HeadFolder, file_of_run
from gebd.heads.trained import TrainedHead, load_head
from gebd.metric.baselines import compare_with_baselines
from gebd.metric.predictions import Predictions, checked_predictions
from gebd.metric.report import read_clock
from gebd.metric.tracks import Track
from gebd.pictures.plots import VideoTimeline, plot_comparison, plot_timeline
from schemas.errors import UsageError

_SLICE_SECONDS = 60.0


def plot_video(
    store: FeatureStore | str | os.PathLike[str],
    video_id: str,
    path: str | os.PathLike[str],
    *,
    run: TrainedHead | str | os.PathLike[str] | None = None,
    predictions: Predictions | str | os.PathLike[str] | None = None,
    annotations: Source | Annotations | None = None,
    joining: JoinOptions | None = None,
    frames: Sequence[tuple[float, npt.NDArray[np.uint8]]] = (),
    frame_aspect: float | None = None,
    device: str | torch.device = "cpu",
) -> Path:
    """Draw the timeline of one video: frames, motion energy, boundary score, predictions and every rater's marks.

    `video_id` is that of the store or, with `annotations`, of an annotation that joins. The score comes from the head
    of `run`, else from the detector without labels; `predictions` replace the boundaries picked from it. `frames` are
    (seconds from the video's start, picture (H, W, 3) uint8), drawn at `frame_aspect` (width / height) or their own.
    Raises UsageError if the store or the predictions lack the video, and as `plot_timeline` does.
    """
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    truth = None if annotations is None else load_annotations(annotations)
    name, joined = _named(store, video_id, truth, joining)
    if run is None:
        found, picker = detect(store, joined, joining=joining, video_ids=[name]), DetectionConfig().picker
    else:
        trained = run if isinstance(run, TrainedHead) else load_head(run, device)
        found = predict(trained, store, joined, joining=joining, video_ids=[name])
        picker = trained.picker
    marks: PerRater = () if joined is None else joined[name].rater_seconds
    boundaries = found.boundaries[name] if predictions is None else _of_video(predictions, name, video_id)
    energy, duration = motion_energy(store, name, joined, joining)
    return plot_timeline(
        VideoTimeline(
            video_id=video_id,
            duration_seconds=duration,
            score=found.tracks[name],
            motion=energy,
            threshold=picker.threshold,
            predicted_seconds=boundaries,
            rater_seconds=marks,
            frames=frames,
            frame_aspect=frame_aspect,
            score_name="change score" if run is None else "boundary probability",
        ),
        path,
    )


def stored_id(
    store: FeatureStore, video_id: str, annotations: Source | Annotations | None, joining: JoinOptions | None = None
) -> str:
    """Return the store's id of a video, given its id in the store or in the annotations.

    Raises UsageError if neither has it.
    """
    if video_id in store:
        return video_id
    items = {} if annotations is None else _items(store, load_annotations(annotations), joining)
    if video_id not in items:
        raise UsageError(
            f"expected a video of {store.paths.root}, or an annotated one that joins; got {video_id!r}. Run `msnet "
            "gebd join` to see what joins"
        )
    return items[video_id]


def _named(
    store: FeatureStore, video_id: str, truth: Annotations | None, joining: JoinOptions | None
) -> tuple[str, Annotations | None]:
    """Return the id of a video in the joined dataset, and its annotation; None if it has none."""
    item = stored_id(store, video_id, truth, joining)
    if truth is None:
        return item, None
    names = [
        name for name, other in _items(store, truth, joining).items() if other == item and video_id in (name, item)
    ]
    return (names[0], Annotations([truth[names[0]]])) if names else (item, None)


def _items(store: FeatureStore, truth: Annotations, joining: JoinOptions | None) -> Mapping[str, str]:
    """Return ids in the store by ids of the annotations that join."""
    joining, stored = joining or JoinOptions(), StoreVideos(store, None)
    return join_videos(
        stored.ids, truth, pattern=joining.pattern, starts_seconds=joining.starts_seconds, spans=stored.spans
    ).items


def _of_video(predictions: Predictions | str | os.PathLike[str], *names: str) -> list[float]:
    found = checked_predictions(predictions)
    for name in names:
        if name in found:
            return found[name]
    raise UsageError(f"expected predictions for {names[-1]!r}; got none. Predict it, or omit the predictions")


def motion_energy(
    store: FeatureStore, video_id: str, annotations: Annotations | None = None, joining: JoinOptions | None = None
) -> tuple[Track | None, float]:
    """Return the mean speed of one video over time, and its duration in seconds.

    The speed is the mean length of displacement over all cells, weighted by confidence, in cells a second, at the
    middle of each pair of stored frames; None if the store has no displacement. Ids and times are as in `predict`.
    """
    there = {"displacement", "confidence"} <= set(store.tensors)
    tensors = ("frame", "displacement", "confidence") if there else ("frame",)
    joining = joining or JoinOptions()
    dataset = GEBDDataset(
        store,
        annotations,
        window_seconds=_SLICE_SECONDS,
        tensors=tensors,
        pattern=joining.pattern,
        starts_seconds=joining.starts_seconds,
    ).subset([video_id])
    parts = [_speeds(dataset[n]) for n in range(len(dataset))]
    duration = dataset[0].duration_seconds
    if not there:
        return None, duration
    times, first = np.unique(np.concatenate([times for times, _ in parts]), return_index=True)
    return Track(times, np.concatenate([speeds for _, speeds in parts])[first]), duration


def _speeds(sample: Sample) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return times and speeds of the pairs of neighbouring samples within the slice."""
    if sample.displacement is None or sample.confidence is None or sample.pair_valid is None:
        return np.zeros(0), np.zeros(0)
    there = np.flatnonzero(sample.pair_valid[:-1] & sample.valid[:-1] & sample.valid[1:])
    seconds = np.diff(sample.time_seconds)[there]
    weight = sample.confidence[there, 0].astype(np.float64)
    lengths = np.linalg.norm(sample.displacement[there].astype(np.float64), axis=1)
    cells = (lengths * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-9)
    return sample.time_seconds[there] + seconds / 2, cells / seconds


def plot_run(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    predictions: Predictions | str | os.PathLike[str] | None = None,
    annotations: Source | Annotations | None = None,
) -> Path:
    """Draw F1 against tolerance of a run, with all baselines and their intervals.

    Uses the validation part in the run's folder, or `predictions` and `annotations` of a test part, which must be given
    together. The clock among the baselines is that of the run's training part. Raises UsageError if only one is given,
    WeightsError if the folder is not that of a finished run.
    """
    if (predictions is None) != (annotations is None):
        raise UsageError("expected predictions and annotations together; got one of the two. Give both, or neither")
    folder = HeadFolder(Path(run))
    if predictions is None or annotations is None:
        name = "validation part"
        predictions, annotations = file_of_run(folder.predictions), file_of_run(folder.annotations)
    else:
        name = "method"
    clock = read_clock(folder.report)
    return plot_comparison(compare_with_baselines(predictions, annotations, name=name, training=clock), path)
