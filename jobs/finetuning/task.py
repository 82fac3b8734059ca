"""The task of finding event boundaries, backbone and head together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
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
from schemas.errors import ConfigurationError, FailureClass
from schemas.records import Failure
from training.clips.loader import TrainingClips
from training.clips.workers import ClipWorkers
from training.config import Share
from training.embedding import as_stored, enlarge_embedding, halvings_of
from training.evaluation.passes import evaluating
from training.folder import BEST
from training.group import Group
from training.tasks.schedule import warmed_cosine


class FinetuneTask:
    """Learn the boundaries of `videos` by class-balanced cross-entropy; validate by F1 at the best threshold.

    The head starts as it comes. The network's embedding is enlarged where it is stored small (see training.embedding).
    product: takes the best network and head.
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
        self.config, self._videos, self._workers = config, videos, loader_workers
        self._head, self._product = head.to(network.device), product
        self._head.input_noise = config.head.noise
        self._tensors = tuple(head.spec.shapes)
        balanced = config.form is Form.WINDOWS  # by how windows are drawn
        self._weights = torch.tensor((1.0, 1.0) if balanced else videos.class_weights)
        self.steps_per_epoch = max(1, len(videos.training) // config.clips_per_step)
        self.steps = max(1, round(config.epochs * self.steps_per_epoch))
        self._broken: dict[str, Failure] = {}
        self._halvings = halvings_of(network)
        enlarge_embedding(network, self._halvings)
        self._clips: TrainingClips[tuple[LabelledClip, ...]] | None = None
        self._evaluated: Evaluated | None = None
        self._step = 0

    def stage(self, step: int) -> str:
        """The epoch, from 1."""
        return f"epoch {step // self.steps_per_epoch + 1}"

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

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then along a cosine to 0."""
        config = self.config
        warmup = round(config.warmup_epochs * self.steps_per_epoch)
        return warmed_cosine(step, steps=self.steps, warmup=warmup, highest=config.learning_rate)

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

    def expect(self, step: int, shares: Iterable[int]) -> None:
        """Let the workers decode the clips of these shares, of this step and those behind it."""
        self._loader().expect(step, list(shares))

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Mean loss of the samples of a share that count."""
        clips = self._loader().batch(step, share.index)
        tensors = clip_rows(network, clips, self._tensors, self.config.precision)
        device = network.device
        valid, counted, target = (
            pad_sequence([getattr(clip, name) for clip in clips], batch_first=True).to(device)
            for name in ("valid", "counted", "target")
        )
        loss, count = balanced_loss(self._head(tensors, valid), target, counted, self._weights)
        return {"boundary": loss / count}

    def evaluates_after(self, step: int) -> bool:
        """Every `evaluate_every_epochs`, and at the end."""
        every = max(1, round(self.config.evaluate_every_epochs * self.steps_per_epoch))
        return (step + 1) % every == 0 or step + 1 == self.steps

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

    def as_stored(self, network: MSNet) -> AbstractContextManager[None]:
        """With the embedding as small as it was."""
        return as_stored(network, self._halvings)

    def save_beside(self, checkpoint: Path) -> None:
        """Hand the best network over with its head; the last one stays in the folder of the training."""
        if checkpoint.name == BEST and self._evaluated is not None:
            self._product.take(checkpoint, self._head, self._evaluated)

    def left_out(self) -> Mapping[str, Failure]:
        """Broken videos."""
        return self._broken | ({} if self._clips is None else self._clips.broken)

    def facts(self) -> dict[str, Any]:
        """Nothing beside the configuration."""
        return {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the head."""
        return self._head.parameters()

    def state_dict(self) -> dict[str, Any]:
        """The head, and the broken videos met so far, so that one that kills a worker does so once."""
        broken = [[name, one.failure.value, one.message] for name, one in self.left_out().items()]
        return {"head": self._head.state_dict(), "broken": broken}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore both."""
        self._head.load_state_dict(state_dict["head"])
        self._broken = {
            name: Failure(name, FailureClass(failure), message) for name, failure, message in state_dict["broken"]
        }
        return None

    def close(self) -> None:
        """End the workers."""
        if self._clips is not None:
            self._clips.close()

    def _loader(self) -> TrainingClips[tuple[LabelledClip, ...]]:
        if self._clips is None:
            self._clips = TrainingClips(ClipSource(self._videos.training, self.config), self._workers, self._broken)
        return self._clips

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
