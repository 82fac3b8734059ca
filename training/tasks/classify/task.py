"""The task of telling classes of labelled videos apart, as the paper trains it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from schemas.errors import ConfigurationError
from schemas.records import Failure
from training.clips.sources import ClipBatch, TrainingSource
from training.config import Share
from training.group import Group
from training.labels.labelled import LabelledVideos
from training.labels.sides import mirrored_labels, sided_classes
from training.precision import autocast
from training.tasks.classify.config import ClassifyConfig, Schedule
from training.tasks.classify.scoring import ranks, score_videos
from training.tasks.videos import VideosTask


class ClassifyTask(VideosTask[ClassifyConfig, ClipBatch]):
    """Learn the classes of `videos` by cross-entropy of the clip's logits; validate by top-1 and top-5."""

    loss_names = ("cross_entropy",)

    def __init__(self, config: ClassifyConfig, videos: LabelledVideos, network: MSNet, *, loader_workers: int) -> None:
        super().__init__(config, len(videos.training), network, loader_workers=loader_workers)
        self._videos = videos
        self.best = "top1" if videos.validation else None
        network.dropout.p = config.dropout

    def source(self) -> TrainingSource:
        """Clips with their labels; those of classes that name a side are not flipped, or get the other class."""
        return TrainingSource(
            self._videos.training,
            self.config.clips,
            num_frames=self.config.num_segments,
            seed=self.config.seed,
            clips_per_step=self.config.clips_per_step,
            shares=self.config.share_count,
            unflippable=sided_classes(self._videos.classes) - mirrored_labels(self._videos.classes).keys(),
            mirrored=mirrored_labels(self._videos.classes),
        )

    def frames(self, step: int) -> int:
        """Frames of a step."""
        return self.config.clips_per_step * self.config.num_segments

    def optimizer(self, network: MSNet) -> torch.optim.Optimizer:
        """SGD with the groups of TSM: biases learn twice as fast, and neither they nor norms decay."""
        config = self.config
        norms = {p for module in network.modules() if isinstance(module, nn.BatchNorm2d) for p in module.parameters()}
        head = set() if network.classifier is None else set(network.classifier.parameters())
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in network.parameters():
            rate = config.classifier_rate if parameter in head else 1.0
            if parameter.ndim == 1 and parameter not in norms:
                rate *= 2
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        return torch.optim.SGD(
            [{"params": found, "rate": rate, "weight_decay": decay} for (rate, decay), found in groups.items()],
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
        )

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then by steps or along a cosine."""
        config = self.config
        if config.schedule is Schedule.STEPS and step >= self._warmup_steps:
            return config.learning_rate * config.drop ** sum(step >= round(at * self.steps) for at in config.drops)
        return super().learning_rate(step)

    def prepare(self, network: MSNet, step: int) -> None:
        """Train all of the network; with `frozen_norms`, norms as they are."""
        network.train().requires_grad_(True)
        if self.config.frozen_norms:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval().requires_grad_(False)

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Cross-entropy of a share of a step."""
        batch = self.batch(step, share.index)
        frames = normalize(batch.frames.to(network.device, non_blocking=True))
        with autocast(self.config.precision, network.device):
            logits = network(frames).logits
        labels = batch.labels.to(network.device)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.config.label_smoothing)
        return {"cross_entropy": loss}

    def evaluates_after(self, step: int) -> bool:
        """As often as the base says; never without videos for validation."""
        return bool(self._videos.validation) and super().evaluates_after(step)

    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """Top-1 and top-5 in percent and the loss of the middle clip of every video that is not broken."""
        mine = self._videos.validation[group.rank :: group.count]
        sums = torch.zeros(4, dtype=torch.float64)  # videos, right, among five, loss
        scored = score_videos(
            network,
            mine,
            self.config.clips,
            num_frames=self.config.num_segments,
            precision=self.config.precision,
            videos_at_a_time=self.config.clips_per_share,
            workers=self._workers,
        )
        for number, logits in scored:
            if isinstance(logits, Failure):
                self._broken[mine[number].video_id] = logits
                continue
            label = mine[number].label
            assert label is not None
            rank = int(ranks(logits.numpy()[None], np.array([label]))[0])
            sums += torch.tensor([1.0, rank < 1, rank < 5, -float(logits.log_softmax(0)[label])])
        group.sum([sums])
        count, right, among, loss = sums.tolist()
        if not count:
            raise ConfigurationError("expected validation videos that can be decoded; got none. Check them")
        return {"top1": 100 * right / count, "top5": 100 * among / count, "loss": loss / count}

    def facts(self) -> dict[str, Any]:
        """The names of the classes, in the order of the logits."""
        return {"classes": list(self._videos.classes)}
