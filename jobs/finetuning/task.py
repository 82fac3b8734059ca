"""The task of finding event boundaries, backbone and head together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from extractor.models.msnet import MSNet
from gebd.annotations.records import Annotations, VideoAnnotation
from gebd.heads.choosing import choose_threshold
from gebd.heads.loss import balanced_loss
from gebd.heads.networks.base import Head
from gebd.metric.tracks import Track
from jobs.finetuning.config import FinetuneConfig, Form
from jobs.finetuning.levels import clip_rows, video_rows
from jobs.finetuning.product import Evaluated, Product
from jobs.finetuning.scoring import score_video
from jobs.finetuning.sources import ClipSource, LabelledClip, WholeSource, WholeVideo
from jobs.finetuning.videos import BoundaryVideos
from schemas.errors import ConfigurationError
from schemas.records import Failure
from training.clips.workers import ClipWorkers
from training.config import Share
from training.evaluation.passes import evaluating
from training.folder import BEST
from training.group import Group
from training.tasks.videos import VideosTask


class FinetuneTask(VideosTask[FinetuneConfig, tuple[LabelledClip, ...]]):
    """Learn the boundaries of `videos` by class-balanced cross-entropy; validate by F1 at the best threshold.

    The head starts as it comes. product: takes the best network and head.
    """

    loss_names = ("boundary",)
    best = "f1"

    def __init__(
        self,
        config: FinetuneConfig,
        videos: BoundaryVideos,
        network: MSNet,
        head: Head,
        product: Product,
        *,
        loader_workers: int,
    ) -> None:
        super().__init__(config, len(videos.training), network, loader_workers=loader_workers)
        self._videos = videos
        self._head, self._product = head.to(network.device), product
        self._head.input_noise = config.head.noise
        self._tensors = tuple(head.spec.shapes)
        balanced = config.form is Form.WINDOWS  # by how windows are drawn
        self._weights = torch.tensor((1.0, 1.0) if balanced else videos.class_weights)
        self._evaluated: Evaluated | None = None
        self._step = 0

    def source(self) -> ClipSource:
        """Clips with their labels."""
        return ClipSource(self._videos.training, self.config)

    def frames(self, step: int) -> int:
        """Frames of a step, at most."""
        return self.config.clips_per_step * self.config.clip_frames

    def optimizer(self, network: MSNet) -> torch.optim.Optimizer:
        """AdamW; biases and norms do not decay."""
        self.prepare(network, 0)
        config = self.config
        groups: list[dict[str, Any]] = []
        for module, rate, decay in (
            (network, 1.0, config.weight_decay),
            (self._head, config.head_rate, config.head.weight_decay),
        ):
            learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
            for many in (True, False):
                found = [parameter for parameter in learned if (parameter.ndim > 1) is many]
                groups.append({"params": found, "rate": rate, "weight_decay": decay if many else 0.0})
        return torch.optim.AdamW(groups, lr=config.learning_rate)

    def prepare(self, network: MSNet, step: int) -> None:
        """Train what is not frozen, and norms as they are."""
        self._step = step
        self._head.train()
        network.train().requires_grad_(True)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval().requires_grad_(False)
        for module in frozen_modules(network, self.config.frozen_stages):
            module.requires_grad_(False)

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Mean loss of the samples of a share that count."""
        clips = self.batch(step, share.index)
        tensors = clip_rows(network, clips, self._tensors, self.config.precision)
        device = network.device
        valid, counted, target = (
            pad_sequence([getattr(clip, name) for clip in clips], batch_first=True).to(device)
            for name in ("valid", "counted", "target")
        )
        loss, count = balanced_loss(self._head(tensors, valid), target, counted, self._weights)
        return {"boundary": loss / count}

    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """F1 by the head's criterion at the best threshold, that threshold, and the mean loss, on whole videos."""
        mine = self._videos.validation[group.rank :: group.count]
        tracks: dict[str, Track] = {}
        totals = torch.zeros(2, dtype=torch.float64)
        self._head.eval()
        whole = ClipWorkers(WholeSource(mine, self.config), self._workers)
        try:
            for video, found in zip(mine, whole.results(range(len(mine))), strict=True):
                if isinstance(found, Failure):
                    self._broken[found.video_id] = found
                    continue
                tracks[video.video_id], loss = self._score(network, video.annotation, found)
                totals += loss
        finally:
            whole.close()
        group.sum([totals])
        tracks = group.gather(tracks)
        if not tracks:
            raise ConfigurationError("expected validation videos that can be decoded; got none. Check them")
        truth = Annotations(v.annotation for v in self._videos.validation if v.video_id in tracks)
        choice = choose_threshold(tracks, truth, self.config.head)
        self._evaluated = Evaluated(self._step // self.steps_per_epoch + 1, choice, tracks, truth)
        loss_sum, count = totals.tolist()
        return {"f1": choice.f1, "threshold": choice.threshold, "loss": loss_sum / max(count, 1)}

    def save_beside(self, checkpoint: Path) -> None:
        """Hand the best network over with its head; the last one stays in the folder of the training."""
        if checkpoint.name == BEST and self._evaluated is not None:
            self._product.take(checkpoint, self._head, self._evaluated)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the head."""
        return self._head.parameters()

    def state_dict(self) -> dict[str, Any]:
        """The head, and the broken videos met so far."""
        return {"head": self._head.state_dict(), **super().state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore both."""
        self._head.load_state_dict(state_dict["head"])
        return super().load_state_dict(state_dict)

    def _score(self, network: MSNet, annotation: VideoAnnotation, found: WholeVideo) -> tuple[Track, Tensor]:
        with evaluating(network):
            rows = video_rows(network, found.frames, self._tensors, self.config.precision)
        return score_video(self._head, rows, found.own_seconds, annotation, self.config.head, self._weights)


def frozen_modules(network: MSNet, stages: int) -> list[nn.Module]:
    """The modules of a network that stay as they are: none, those until stage 2, those until stage 3.

    With stage 2 the matching stays, and so displacement; with stage 3 the motion features as well.
    """
    lower, stage3, _ = network.backbone.parts()
    squeeze = network.motion_squeeze
    found: list[nn.Module] = []
    if stages >= 2:
        found += network.matching_modules() or lower
    if stages >= 3:
        found += stage3 + ([] if squeeze is None else [squeeze])
    return found
