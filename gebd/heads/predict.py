"""Predict the boundaries of a store's videos with a trained head."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from extractor.store.reader import FeatureStore
from gebd.annotations.loading import Source
from gebd.annotations.records import Annotations
from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.join_report import JoinReport
from gebd.dataset.samplers import ShardSampler
from gebd.dataset.samples import Batch, collate
from gebd.dataset.stitching import stitch
from gebd.heads.config import HeadConfig
from gebd.heads.networks.base import Head
from gebd.heads.splitting import Sources, sources_of
from gebd.heads.trained import TrainedHead, load_head
from gebd.metric.picking import BoundaryPicker
from gebd.metric.tracks import Track


@dataclass(frozen=True)
class JoinOptions:
    """How to join videos with annotations if ids and paths do not match: see `GEBDDataset`."""

    pattern: str | None = None
    starts_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prediction:
    """`boundaries` in seconds and score `tracks` by video id; `join`: the report, None without annotations.

    Ids are those of the annotations if given, else those of the store. A head's scores are probabilities. `sources`, of
    a head's predictions: the names of every video's source (`gebd.heads.splitting.sources_of`).
    """

    boundaries: dict[str, list[float]]
    tracks: dict[str, Track]
    join: JoinReport | None
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)


def predict(
    run: TrainedHead | str | os.PathLike[str],
    store: FeatureStore | str | os.PathLike[str],
    annotations: Source | Annotations | None = None,
    *,
    joining: JoinOptions | None = None,
    video_ids: Sequence[str] | None = None,
    sources: Sources | None = None,
    device: str | torch.device = "cpu",
    batch_windows: int = 16,
    workers: int = 0,
) -> Prediction:
    """Predict the boundaries of a store's videos with the best head of a run (its folder).

    `annotations` restrict the prediction to the videos that join, under the annotations' ids; nothing else is read from
    them, so a list of videos without marks will do. `video_ids` restricts it further. `sources`: as in `train_head`.
    `device`: where a head is loaded if `run` is a path.

    Raises ConfigurationError if the store's features differ in kind from those that the head was trained on,
    WeightsError if the run has no head.
    """
    trained = run if isinstance(run, TrainedHead) else load_head(run, device)
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    trained.require_store(store.config)
    dataset = open_dataset(trained.config, store, annotations, joining, tuple(trained.head.spec.shapes))
    if video_ids is not None:
        dataset = dataset.subset(video_ids)
    batches = scored_batches(trained.head, dataset, batch_windows=batch_windows, workers=workers)
    tracks = tracks_of(batches)
    join = dataset.join if annotations is not None else None
    return Prediction(pick_boundaries(tracks, trained.picker), tracks, join, sources_of(dataset, sources))


def open_dataset(
    config: HeadConfig,
    store: FeatureStore,
    annotations: Source | Annotations | None,
    joining: JoinOptions | None,
    tensors: Sequence[str],
) -> GEBDDataset:
    """Open the windows of a store as configured."""
    joining = joining or JoinOptions()
    return GEBDDataset(
        store,
        annotations,
        rate_hz=config.rate_hz,
        window_seconds=config.window_seconds,
        hop_seconds=config.hop_seconds,
        label_sigma_seconds=config.label_sigma_seconds,
        raters=config.raters,
        tensors=tensors,
        pattern=joining.pattern,
        starts_seconds=joining.starts_seconds,
    )


def scored_batches(
    head: Head, dataset: GEBDDataset, *, batch_windows: int, workers: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Yield all slices of a dataset in order, in batches with their logits (B, T); all on the CPU."""
    order = ShardSampler(dataset, shuffle=False, batch_size=batch_windows, num_workers=workers)
    own = torch.Generator()  # else the loader draws from the caller's random state
    loader = DataLoader(dataset, batch_windows, sampler=order, collate_fn=collate, num_workers=workers, generator=own)
    device = head.device
    head.eval()
    with torch.inference_mode():
        for batch in loader:
            on_device = batch.to(device)
            yield batch, head(on_device.tensors, on_device.valid).cpu()


def tracks_of(batches: Iterable[tuple[Batch, Tensor]]) -> dict[str, Track]:
    """Return probabilities over time for every video, from batches and their logits."""
    return stitch((batch, logits.sigmoid()) for batch, logits in batches)


def pick_boundaries(tracks: dict[str, Track], picker: BoundaryPicker) -> dict[str, list[float]]:
    """Return boundaries in seconds for every track."""
    return {video_id: picker.pick(track.time_seconds, track.scores) for video_id, track in tracks.items()}
