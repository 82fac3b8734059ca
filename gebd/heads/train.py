"""Train a head on a store's features: `train_head`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from extractor.store.reader import FeatureStore
from gebd.annotations.loading import Source, load_annotations, write_annotations
from gebd.annotations.records import Annotations
from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.join_report import JoinReport
from gebd.dataset.samplers import ShardSampler
from gebd.dataset.samples import Batch, collate
from gebd.heads.augmentation import TimeAugmentation
from gebd.heads.choosing import choose_threshold
from gebd.heads.config import HeadConfig
from gebd.heads.loss import balanced_loss
from gebd.heads.networks.building import build_head
from gebd.heads.networks.spec import HeadSpec
from gebd.heads.predict import JoinOptions, open_dataset, pick_boundaries, scored_batches, tracks_of
from gebd.heads.run_folder import Epoch, HeadFolder, HeadState
from gebd.heads.splitting import Parts, Sources, Validation, sources_of, split_videos, with_validation
from gebd.heads.standardising import fit_standardisation
from gebd.heads.trained import HEAD_NAME, TrainedHead, load_head, save_head
from gebd.metric.baselines import Comparison, compare_with_baselines
from gebd.metric.predictions import write_predictions
from gebd.metric.report import write_report
from gebd.metric.tracks import Track, write_tracks


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The result of a training run, as saved in its folder.

    `comparison` is on the validation part, on which epoch and threshold were chosen; only a test part shows how the
    head performs on unseen videos.
    """

    folder: Path
    trained: TrainedHead
    epochs: tuple[Epoch, ...]
    join: JoinReport
    comparison: Comparison


def train_head(
    store: FeatureStore | str | os.PathLike[str],
    annotations: Source | Annotations,
    out: str | os.PathLike[str],
    config: HeadConfig | None = None,
    *,
    validation: Validation | None = None,
    sources: Sources | None = None,
    joining: JoinOptions | None = None,
    device: str | torch.device = "cpu",
    workers: int = 0,
    joined: Callable[[JoinReport], None] | None = None,
    tell: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train a head and save the best one, with its history, in the folder `out` (see `gebd.heads.run_folder`).

    The best epoch has the highest F1 by `config.criterion` on the validation part: `validation` (annotations of other
    videos, or ids of annotated ones), else a seeded share of the videos, of which no source has videos in both parts.
    `sources`: a column of the store's manifest or {video id: source}, else what `gebd.annotations.sources.source_of`
    finds. A UserWarning tells if a given `validation` shares sources. Training stops after `patience_epochs` without
    improvement. A second call with the same arguments resumes after the last finished epoch, with the same losses as an
    uninterrupted run. `joined` is called with the report on the join before the first epoch, `tell` after every epoch.

    Raises UsageError if a part has no video, ConfigurationError if `out` holds a run with other options, and whatever
    `GEBDDataset` raises.
    """
    config = config or HeadConfig()
    store = store if isinstance(store, FeatureStore) else FeatureStore(store)
    config = config.model_copy(update={"tensors": config.inputs(store.tensors)})
    truth, ids = with_validation(load_annotations(annotations), validation)
    truth.require_marks("train on")
    whole = open_dataset(config, store, truth, joining, config.tensors)
    parts = split_videos(sources_of(whole, sources), ids, config.validation_share, config.seed)
    folder = HeadFolder(Path(out))
    folder.begin(config, store.config, parts)
    if joined is not None:
        joined(whole.join)
    return _Training(config, whole, parts, folder, torch.device(device), workers).run(tell)


class _Training:
    """A training in progress: the head, its optimiser and both parts of the data."""

    def __init__(
        self,
        config: HeadConfig,
        whole: GEBDDataset,
        parts: Parts,
        folder: HeadFolder,
        device: torch.device,
        workers: int,
    ) -> None:
        self._config, self._whole, self._folder = config, whole, folder
        self._device, self._workers = device, workers
        self._part, self._held_out = whole.subset(parts.training), whole.subset(parts.validation)
        self._truth = Annotations(whole.annotation(video_id) for video_id in parts.validation)
        self._weights = self._part.class_weights().to(device)
        spec = HeadSpec(
            name=config.head,
            tensors=tuple((name, whole.row_shape(name)) for name in config.tensors),
            context_frames=config.context_frames,
            width=config.width,
            dropout=config.dropout,
            appearance=config.appearance,
        )
        with _seeded(config.seed, 0, device):
            self._head = build_head(spec).to(device)
        self._head.input_noise = config.noise
        self._augment = TimeAugmentation(config.stretch, config.reverse)
        self._optimizer = torch.optim.AdamW(
            self._head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def run(self, tell: Callable[[Epoch], None] | None) -> TrainingResult:
        """Train until no epoch improves for a while; then report on the best head."""
        epochs = self._begin()
        while not self._finished(epochs):
            epoch = self._epoch(len(epochs) + 1)
            if epoch.validation_f1 > max((earlier.validation_f1 for earlier in epochs), default=-1.0):
                save_head(self._trained(epoch), self._folder.root / HEAD_NAME)
            epochs.append(epoch)
            self._folder.save(HeadState(epochs, self._head.state_dict(), self._optimizer.state_dict()))
            if tell is not None:
                tell(epoch)
        trained = load_head(self._folder.root, self._device)
        return TrainingResult(self._folder.root, trained, tuple(epochs), self._whole.join, self._report(trained))

    def _begin(self) -> list[Epoch]:
        """Restore the state after the finished epochs, and return them; else fit the standardisation."""
        found = self._folder.load(self._device)
        if found is None:
            fit_standardisation(self._head, self._part, self._config.batch_windows)
            return []
        self._head.load_state_dict(found.head)
        self._optimizer.load_state_dict(found.optimizer)
        return found.epochs

    def _finished(self, epochs: list[Epoch]) -> bool:
        scores = [epoch.validation_f1 for epoch in epochs]
        since_best = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        return len(epochs) >= self._config.max_epochs or since_best >= self._config.patience_epochs

    def _epoch(self, number: int) -> Epoch:
        """Pass once over the training part and once over the validation part."""
        with _seeded(self._config.seed, number, self._device):
            training_loss = self._learn(number)
        tracks, validation_loss = self._validate()
        choice = choose_threshold(tracks, self._truth, self._config)
        return Epoch(number, training_loss, validation_loss, choice.f1, choice.threshold)

    def _learn(self, number: int) -> float:
        """Train for one shuffled pass; return the mean loss per frame."""
        size = self._config.batch_windows
        order = ShardSampler(self._part, True, self._config.seed, size, self._workers)
        order.set_epoch(number)
        loader = DataLoader(self._part, size, sampler=order, collate_fn=collate, num_workers=self._workers)
        self._head.train()
        total = count = 0.0
        for batch in loader:
            batch = self._augment(batch.to(self._device))
            loss, frames = self._loss(batch, self._head(batch.tensors, batch.valid))
            self._optimizer.zero_grad(set_to_none=True)
            (loss / frames).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._head.parameters(), 1.0)
            self._optimizer.step()
            total, count = total + float(loss.detach()), count + float(frames)
        return total / max(count, 1.0)

    def _loss(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss summed over valid frames, and their number."""
        if batch.target_soft is None:
            raise ValueError("expected targets; got a batch without. Open the dataset with annotations")
        return balanced_loss(logits, batch.target_soft, batch.valid, self._weights)

    def _validate(self) -> tuple[dict[str, Track], float]:
        total = count = 0.0

        def counted() -> Iterator[tuple[Batch, Tensor]]:
            nonlocal total, count
            size, workers = self._config.batch_windows, self._workers
            for batch, logits in scored_batches(self._head, self._held_out, batch_windows=size, workers=workers):
                loss, frames = self._loss(batch, logits)
                total, count = total + float(loss.detach()), count + float(frames)
                yield batch, logits

        return tracks_of(counted()), total / max(count, 1.0)

    def _trained(self, epoch: Epoch) -> TrainedHead:
        picker = self._config.picker(epoch.threshold)
        extraction = self._whole.store.config
        return TrainedHead(self._head, self._config, picker, extraction, epoch.epoch, epoch.validation_f1)

    def _report(self, trained: TrainedHead) -> Comparison:
        """Write annotations, scores, predictions and the report of the best head on the validation part."""
        self._head = trained.head
        tracks, _ = self._validate()
        boundaries = pick_boundaries(tracks, trained.picker)
        training = Annotations(self._whole.annotation(video_id) for video_id in self._part.video_ids)
        comparison = compare_with_baselines(boundaries, self._truth, name=self._config.head.value, training=training)
        write_annotations(self._truth, self._folder.annotations)
        write_predictions(boundaries, self._folder.predictions)
        write_tracks(tracks, self._folder.scores)
        write_report(comparison, self._folder.report)
        return comparison


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Use random numbers that depend only on seed and epoch, and leave the caller's random state unchanged."""
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(seed * 100_003 + epoch)  # unique, as epochs stay below 100,000
        yield
