"""From a configuration to the network it starts from and the task it learns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from extractor.models.checkpoints.bundled import checkpoint_path
from schemas.errors import ConfigurationError
from training.config import TrainingConfig
from training.embedding import enlarge_embedding
from training.labels.labelled import LabelledVideos
from training.start import Start, first_network, grafted_network
from training.tasks.classify.config import ClassifyConfig
from training.tasks.classify.task import ClassifyTask
from training.tasks.config import LabelledDigest
from training.tasks.contrast.config import ContrastConfig
from training.tasks.contrast.task import ContrastTask
from training.tasks.motion.config import MotionConfig
from training.tasks.motion.task import MotionTask
from training.tasks.task import Task


def prepare(
    config: TrainingConfig,
    weights: str | Path | None,
    device: torch.device,
    videos: LabelledVideos | None,
    loader_workers: int,
) -> tuple[Start, Task]:
    """The network in training mode on `device`, and its task; see `training.train.train`."""
    checkpoint = None if weights is None else checkpoint_path(weights, config.model)
    match config:
        case MotionConfig():
            start = grafted_network(config, checkpoint) if config.frozen_backbone else first_network(config, checkpoint)
            start.network.to(device)
            enlarge_embedding(start.network, config.embedding_halvings)
            return start, MotionTask(config, width=start.network.spec.feature_dim, device=device)
        case ClassifyConfig():
            if videos is None:
                raise ConfigurationError("expected videos to learn classes from; got none. Give --videos")
            start = first_network(config, checkpoint, videos.classes)
            start.network.to(device)
            config = config.model_copy(update={"videos": digest_of(videos)})
            return start, ClassifyTask(config, videos, start.network, loader_workers=loader_workers)
        case ContrastConfig():
            if videos is None:
                raise ConfigurationError("expected videos to learn from; got none. Give --videos")
            start = first_network(config, checkpoint, classes=())
            start.network.to(device)
            config = config.model_copy(update={"videos": digest_of(videos)})
            return start, ContrastTask(config, videos, start.network, loader_workers=loader_workers)
    raise AssertionError(f"expected the configuration of a known task; got {type(config).__name__}")


def digest_of(videos: LabelledVideos) -> LabelledDigest:
    """What tells whether a training goes on with the same videos. Paths do not count: a folder may be moved."""
    content = hashlib.sha256(repr(videos.classes).encode())
    for part in (videos.training, videos.validation):
        content.update(b"|")
        for example in part:
            content.update(repr((example.video_id, example.start_seconds, example.end_seconds, example.label)).encode())
    return LabelledDigest(
        classes=len(videos.classes),
        training=len(videos.training),
        validation=len(videos.validation),
        sha256=content.hexdigest(),
    )
