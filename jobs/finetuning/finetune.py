"""`msnet gebd finetune`: features, a head on them, then backbone and head together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from extractor.extraction.request import Request
from extractor.models.checkpoints.bundled import BUNDLED_WEIGHTS, RANDOM_WEIGHTS, checkpoint_path, from_any_folder
from extractor.models.spec import describe_network
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.reader import FeatureStore
from extractor.video.objects.addresses import Place, place
from gebd.annotations.loading import load_annotations
from gebd.annotations.records import Annotations
from gebd.dataset.dataset import GEBDDataset
from gebd.dataset.join_report import JoinReport
from gebd.heads.config import HeadConfig
from gebd.heads.predict import JoinOptions, open_dataset
from gebd.heads.run_folder import Epoch, HeadFolder
from gebd.heads.splitting import Parts, Sources, Validation, sources_of, split_videos, with_validation
from gebd.heads.train import train_head
from gebd.heads.trained import HEAD_NAME, load_head
from gebd.metric.baselines import Comparison, compare_with_baselines
from gebd.metric.f1 import evaluate
from gebd.metric.predictions import load_predictions
from gebd.metric.report import write_report
from jobs.cluster.devices import choose_device
from jobs.cluster.options import Options
from jobs.finetuning.config import LEVELS, FinetuneConfig
from jobs.finetuning.product import WEIGHTS_NAME, Product
from jobs.finetuning.task import FinetuneTask
from jobs.finetuning.videos import BoundaryVideos, boundary_videos
from jobs.run.extraction import extract
from jobs.run.outcome import Outcome
from jobs.run.watcher import Watcher
from jobs.weights.training import train_weights
from schemas.config import Sampling
from schemas.errors import InventoryError
from schemas.layout import StorePaths
from schemas.tensors import Needs, output_choices
from training.start import Start, first_network
from training.train import Loop, train_task

FEATURES, FROZEN, TRAINING = "features", "frozen", "training"
"""Folders within that of a run: the store of the first weights, the head on it, the training of both."""

FINETUNED = "fine-tuned"
"""The method of the report, beside FROZEN."""


@dataclass(frozen=True)
class FinetuneRequest:
    """What to learn from what, and where; see `Work` for the last four.

    videos: as `extract` takes them, on disks of this machine. annotations: of any format. head: a run of `train_head`
    on features of the same weights, whose head and split are taken; None trains one first. The other fields: as in
    `train_head`.
    """

    config: FinetuneConfig
    videos: Path | str
    annotations: Path
    out: Path
    weights: str | None = None
    head: Path | None = None
    validation: Validation | None = None
    sources: Sources | None = None
    joining: JoinOptions = field(default_factory=JoinOptions)
    device: str = "auto"
    workers: int = 1
    loader_workers: int | None = None
    ray_address: str | None = None


@dataclass(frozen=True)
class Reports:
    """Who hears of what: the join, the epochs of the first head, the extraction."""

    joined: Callable[[JoinReport], None] = lambda report: None
    epoch: Callable[[Epoch], None] = lambda epoch: None
    watcher: Watcher = field(default_factory=Watcher)


@dataclass(frozen=True)
class FinetuneWork:
    """A `Work`: backbone and head together, from RUN/features and a head on them.

    head: the folder of the run whose head is where it starts. weights: None for random ones.
    """

    config: FinetuneConfig
    out: Path
    videos: BoundaryVideos
    head: Path
    product: Product
    weights: Path | None
    device: str
    workers: int
    loader_workers: int | None
    ray_address: str | None

    def run(self, out: Path, device: torch.device | str, loader_workers: int, loop: Loop) -> Path:
        """Train into the folder `out`, in this process."""
        start = _start(self.config, self.weights, torch.device(device))
        head = load_head(self.head, device).head
        task = FinetuneTask(self.config, self.videos, start.network, head, self.product, loader_workers=loader_workers)
        return train_task(start, task, out, loop)


@dataclass(frozen=True)
class Prepared:
    """The outcome of the extraction, and what is to be learned; `work` is None where that did not finish."""

    outcome: Outcome
    work: FinetuneWork | None = None


def finetune(request: FinetuneRequest, loop: Loop, reports: Reports) -> Comparison | None:
    """Learn the boundaries of annotated videos with backbone and head together; the same call resumes.

    Features of the first weights are extracted, a head is trained on them, then both learn from the frames. The folder
    gets model.safetensors for `extract`, and is a run that `predict` takes for features of these weights. Returns what
    `compare_with_frozen` does; None, too, where the extraction did not finish.

    Raises whatever `prepare_finetuning` and `train_weights` raise.
    """
    work = prepare_finetuning(request, reports).work
    if work is None:
        return None
    train_weights(work, loop)
    return compare_with_frozen(work)


def prepare_finetuning(request: FinetuneRequest, reports: Reports) -> Prepared:
    """Extract features of the first weights, and train a head on them, unless one is given.

    Raises whatever `extract` and `train_head` raise, and InventoryError for a store instead of videos.
    """
    out = request.out.absolute()
    _refuse_store(request.videos)
    refuse_other_folder(out, _ours(out).__contains__, "a fine-tuning")
    probe_storage(out)
    config = _resolved(request)
    load_annotations(request.annotations).require_marks("train on")
    options = Options(device=request.device, ray_address=request.ray_address)
    outcome = extract(request.videos, out / FEATURES, _features(config, request.weights), options, reports.watcher)
    if not outcome.complete:
        return Prepared(outcome)
    store = FeatureStore(out / FEATURES)
    first = _first_head(request, config, store, reports)
    dataset, parts = _split(request, config.head, store, first)
    HeadFolder(out).begin(config.head, store.config, parts, beside=_ours(out))
    videos = boundary_videos(dataset, parts, _root(request.videos))
    work = FinetuneWork(
        config=config.model_copy(update={"videos": videos.digest()}),
        out=out / TRAINING,
        videos=videos,
        head=first,
        product=Product(out, config.head, store.config),
        weights=_checkpoint(request),
        device=request.device,
        workers=request.workers,
        loader_workers=request.loader_workers,
        ray_address=request.ray_address,
    )
    return Prepared(outcome, work)


def compare_with_frozen(work: FinetuneWork) -> Comparison | None:
    """Compare the best network and head, by name FINETUNED, with the head on the first features, FROZEN, and baselines.

    On the validation part, on which epochs and thresholds were chosen; it is written as the run's report. None where no
    epoch has ended.
    """
    out = work.product.root
    if not (out / WEIGHTS_NAME).exists():
        return None
    folder = HeadFolder(out)
    truth = load_annotations(folder.annotations)
    training = Annotations(video.annotation for video in work.videos.training)
    found = compare_with_baselines(load_predictions(folder.predictions), truth, name=FINETUNED, training=training)
    evaluations = dict(found.evaluations)
    frozen = HeadFolder(work.head).predictions
    if frozen.exists():
        own = evaluations.pop(FINETUNED)
        evaluations = {FINETUNED: own, FROZEN: evaluate(load_predictions(frozen), truth), **evaluations}
    comparison = Comparison(evaluations, found.clock)
    write_report(comparison, folder.report)
    return comparison


def _ours(out: Path) -> set[str]:
    """Names that the folder of a run may hold."""
    folder = HeadFolder(out)
    files = (folder.run, folder.annotations, folder.predictions, folder.scores, folder.report)
    return {FEATURES, FROZEN, TRAINING, WEIGHTS_NAME, HEAD_NAME, *(path.name for path in files)}


def _resolved(request: FinetuneRequest) -> FinetuneConfig:
    """The configuration with the tensors that its head takes, or with the head that is given and its options."""
    config = request.config
    if request.head is not None:
        trained = load_head(request.head)
        config.require_same_frames(trained.extraction)
        return config.model_copy(update={"head": trained.config})
    has_motion = describe_network(config.model).has_motion
    stored = [name for name in LEVELS if has_motion or output_choices()[name].needs != Needs.MOTION]
    head = config.head.model_copy(update={"seed": config.seed})
    return config.model_copy(update={"head": head.model_copy(update={"tensors": head.inputs(stored)})})


def _checkpoint(request: FinetuneRequest) -> Path | None:
    """The file, or the public name, of the first weights; None for random ones."""
    if request.weights == RANDOM_WEIGHTS:
        return None
    return from_any_folder(checkpoint_path(request.weights or BUNDLED_WEIGHTS, request.config.model))


def _refuse_store(videos: Path | str) -> None:
    root = place(videos)
    if isinstance(root, Path) and StorePaths(root).run.exists():
        raise InventoryError(
            f"expected videos; got {root}, a store of features. Give the videos that it was extracted from, or train a"
            " head alone with `msnet gebd train`"
        )


def _features(config: FinetuneConfig, weights: str | None) -> Request:
    """Dense features of the first weights, of what the head takes."""
    return Request(
        model=config.model,
        weights=weights,
        seed=config.seed if weights == RANDOM_WEIGHTS else None,
        sampling=Sampling.DENSE,
        rate_hz=config.head.rate_hz,
        edges=config.edges,
        outputs=config.head.tensors,
        size=config.size_px,
        resize=config.resize,
    )


def _first_head(request: FinetuneRequest, config: FinetuneConfig, store: FeatureStore, reports: Reports) -> Path:
    """The folder of the run whose head is where both start: the one that is given, or one trained on the features."""
    if request.head is not None:
        load_head(request.head).require_store(store.config)
        return request.head.absolute()
    out = request.out.absolute() / FROZEN
    train_head(
        store,
        request.annotations,
        out,
        config.head,
        validation=request.validation,
        sources=request.sources,
        joining=request.joining,
        device=choose_device(request.device),
        joined=reports.joined,
        tell=reports.epoch,
    )
    return out


def _root(videos: Path | str) -> Place:
    """The folder that the paths of an inventory are relative to."""
    root = place(videos)
    return root if not isinstance(root, Path) or root.is_dir() else root.parent


def _start(config: FinetuneConfig, weights: Path | None, device: torch.device) -> Start:
    """The network with the first weights, without a classifier: its logits would be those of other features."""
    start = first_network(config, weights)
    network = start.network.to(device)
    network.classifier = None
    network.spec = replace(network.spec, num_classes=None)
    return start


def _split(request: FinetuneRequest, config: HeadConfig, store: FeatureStore, first: Path) -> tuple[GEBDDataset, Parts]:
    """The annotated videos with features, and their split: that of the first head, or a new one if it tells none."""
    truth, ids = with_validation(load_annotations(request.annotations), request.validation)
    dataset = open_dataset(config, store, truth, request.joining, config.tensors)
    parts = HeadFolder(first).parts()
    if not parts.training:
        parts = split_videos(sources_of(dataset, request.sources), ids, config.validation_share, config.seed)
    return dataset, parts
