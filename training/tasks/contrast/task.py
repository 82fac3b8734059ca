"""The task of telling videos apart without labels, as Rai et al. train in their first stage, after VCLR and MoCo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from extractor.models.loading import normalize
from extractor.models.msnet import MSNet
from schemas.errors import FailureClass
from schemas.records import Failure
from training.clips.loader import TrainingClips
from training.clips.sources import ClipBatch
from training.config import Share
from training.embedding import as_stored, enlarge_embedding, halvings_of
from training.group import Group
from training.labels.labelled import LabelledVideos
from training.precision import autocast
from training.tasks.contrast.collapse import CollapseWatch, LossAtChance
from training.tasks.contrast.config import ContrastConfig, LossWeights
from training.tasks.contrast.losses import draw_orders, info_nce, intra_frame_loss, order_loss
from training.tasks.contrast.memory import Memory
from training.tasks.contrast.networks import (
    KeyNetwork,
    Projections,
    frame_features,
    segment_features,
    statistics_kept,
)
from training.tasks.contrast.retrieval import ends_of_videos, judge
from training.tasks.contrast.source import ViewSource
from training.tasks.contrast.views import Views, num_frames, parted


class ContrastTask:
    """Learn from `videos`, whose labels are ignored; validate by which held-out video a stretch is of.

    Single frames pass without the MS module, clips with it. The heads, the key network and its queues exist only during
    training; a checkpoint holds the network alone. The keys of a step enter the queues behind it, in the order of its
    clips, whoever computed them.
    """

    loss_names = tuple(LossWeights.model_fields)
    best = None

    def __init__(self, config: ContrastConfig, videos: LabelledVideos, network: MSNet, *, loader_workers: int) -> None:
        self.config, self._videos, self._workers = config, videos, loader_workers
        self.steps_per_epoch = max(1, len(videos.training) // config.clips_per_step)
        self.steps = max(1, round(config.epochs * self.steps_per_epoch))
        self._held_out = videos.validation[: config.evaluation_videos]
        self._broken: dict[str, Failure] = {}  # in validation, and before the training was resumed
        self._halvings = halvings_of(network)
        enlarge_embedding(network, self._halvings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._heads = Projections(
                config.losses, network.spec.feature_dim, config.projection, config.views.segments
            ).to(network.device)
        self._keys = KeyNetwork(network, self._heads)
        self._memory = Memory(config, len(videos.training), network.device)
        self._watch = CollapseWatch(config.collapse_steps)
        self._clips: TrainingClips[ClipBatch] | None = None

    def stage(self, step: int) -> str:
        """The epoch, from 1."""
        return f"epoch {step // self.steps_per_epoch + 1}"

    def frames(self, step: int) -> int:
        """Frames of a step, of all views."""
        losses = self.config.losses
        of_video = num_frames(self.config.views, frames=losses.of_frames, clips=losses.of_clips)
        return self.config.clips_per_step * of_video

    def optimizer(self, network: MSNet) -> torch.optim.Optimizer:
        """SGD; all parameters decay, as in MoCo."""
        config = self.config
        parameters = [*network.parameters(), *self.parameters()]
        return torch.optim.SGD(
            parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def learning_rate(self, step: int) -> float:
        """A linear warm-up, then a cosine to 0."""
        config = self.config
        warmup = min(round(config.warmup_epochs * self.steps_per_epoch), self.steps // 2)
        if step < warmup:
            return config.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def prepare(self, network: MSNet, step: int) -> None:
        """Train all of the network; the keys of the step are still to come."""
        network.train().requires_grad_(True)
        self._memory.begin()

    def expect(self, step: int, shares: Iterable[int]) -> None:
        """Let the workers decode the views of these shares, of this step and those behind it."""
        self._loader().expect(step, list(shares))

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Weighted losses of a share of a step; its keys are kept until the step is finished."""
        batch = self._loader().batch(step, share.index)
        wanted = self.config.losses
        frames = batch.frames.to(network.device, non_blocking=True)
        views = parted(frames, self.config.views, of_frames=wanted.of_frames, of_clips=wanted.of_clips)
        videos = batch.examples.to(network.device)
        found: dict[str, Tensor] = {}
        with autocast(self.config.precision, network.device):
            keys = self._embedded_keys(views)
            if wanted.of_frames:
                found |= self._frame_losses(network, views, keys, videos)
            if wanted.of_clips:
                found |= self._clip_losses(network, views, keys, videos)
        self._memory.keep(share, batch.examples, keys)
        return {name: getattr(wanted, name) * loss for name, loss in found.items()}

    def finish_step(self, network: MSNet, step: int, losses: Mapping[str, float], group: Group) -> str | None:
        """Add the step's keys to the queues and let the key network follow. Returns a sentence about a collapse."""
        self._memory.finish(group)
        self._keys.follow(network, self._heads, self.config.key_momentum, step)
        if not self._memory.is_full:
            return None
        weights = self.config.losses.model_dump()
        chances = {
            name: LossAtChance(losses[name] / weights[name], chance)
            for name, chance in self._memory.chances().items()
            if name in losses
        }
        return self._watch.see(self._memory.spreads(), chances)

    def evaluates_after(self, step: int) -> bool:
        """Every `evaluate_every_epochs`, and at the end."""
        every = max(1, round(self.config.evaluate_every_epochs * self.steps_per_epoch))
        return (step + 1) % every == 0 or step + 1 == self.steps

    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """Spread of the keys in the queues, and retrieval among held-out videos, NaN with fewer than two of them."""
        config = self.config
        mine = self._held_out[group.rank :: group.count]
        ends = ends_of_videos(
            network,
            mine,
            config.views,
            num_frames=config.num_segments,
            precision=config.precision,
            videos_at_a_time=config.clips_per_share,
            workers=self._workers,
        )
        ends = group.gather(ends)
        self._broken |= {name: one for name, one in ends.items() if isinstance(one, Failure)}
        whole = [ends[name] for name in sorted(ends) if isinstance(ends[name], Tensor)]
        nothing = dict.fromkeys(("retrieval", "retrieval_chance", "spread"), math.nan)
        found = judge(torch.stack([one for one in whole if isinstance(one, Tensor)])) if len(whole) > 1 else nothing
        return found | {f"{name}_keys_spread": spread for name, spread in self._memory.spreads().items()}

    def as_stored(self, network: MSNet) -> AbstractContextManager[None]:
        """With the embedding as small as it was."""
        return as_stored(network, self._halvings)

    def left_out(self) -> Mapping[str, Failure]:
        """Broken videos."""
        return self._broken | ({} if self._clips is None else self._clips.broken)

    def facts(self) -> dict[str, Any]:
        """What was said of a collapse."""
        return {} if self._watch.told is None else {"collapse": self._watch.told}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the heads."""
        return self._heads.parameters()

    def state_dict(self) -> dict[str, Any]:
        """Heads, key network, queues, what was seen of a collapse, and the broken videos met so far."""
        return {
            "heads": self._heads.state_dict(),
            "keys": self._keys.state_dict(),
            "memory": self._memory.state_dict(),
            "watch": self._watch.state_dict(),
            "broken": [[name, one.failure.value, one.message] for name, one in self.left_out().items()],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore the state."""
        self._heads.load_state_dict(state_dict["heads"])
        self._keys.load_state_dict(state_dict["keys"])
        self._memory.load_state_dict(state_dict["memory"])
        self._watch.load_state_dict(state_dict["watch"])
        self._broken = {
            name: Failure(name, FailureClass(failure), message) for name, failure, message in state_dict["broken"]
        }
        return None

    def close(self) -> None:
        """End the workers."""
        if self._clips is not None:
            self._clips.close()

    @torch.no_grad()
    def _embedded_keys(self, views: Views) -> dict[str, Tensor]:
        """Embeddings by the key network, by loss: of both frames (B, 2, width), of clips (B, width)."""
        network, heads, wanted = self._keys.network, self._keys.heads, self.config.losses
        keys: dict[str, Tensor] = {}
        if views.same_frame is not None and views.other_frame is not None:
            features = frame_features(network, normalize(torch.cat((views.same_frame, views.other_frame))))
            for name in ("intra_frame", "inter_frame"):
                if getattr(wanted, name):
                    keys[name] = torch.stack(heads.embed(name, features).chunk(2), 1)
        if views.key_clip is not None and wanted.clip:
            keys["clip"] = heads.embed("clip", segment_features(network, normalize(views.key_clip)).mean(1))
        return keys

    def _frame_losses(
        self, network: MSNet, views: Views, keys: Mapping[str, Tensor], videos: Tensor
    ) -> dict[str, Tensor]:
        assert views.query_frame is not None
        temperature = self.config.temperature
        # What is stored always has the module: statistics without it are not kept.
        with statistics_kept(network, self.config.losses.of_clips):
            features = frame_features(network, normalize(views.query_frame))
        found: dict[str, Tensor] = {}
        if "intra_frame" in keys:
            same, other = keys["intra_frame"].unbind(1)
            query = self._heads.embed("intra_frame", features)
            found["intra_frame"] = intra_frame_loss(query, same, other, temperature)
        if "inter_frame" in keys:
            query = self._heads.embed("inter_frame", features)
            negatives = self._memory.negatives("inter_frame", videos)
            either = [info_nce(query, key, negatives, temperature) for key in keys["inter_frame"].unbind(1)]
            found["inter_frame"] = torch.stack(either).mean()
        return found

    def _clip_losses(
        self, network: MSNet, views: Views, keys: Mapping[str, Tensor], videos: Tensor
    ) -> dict[str, Tensor]:
        assert views.query_clip is not None
        segments = segment_features(network, normalize(views.query_clip))  # (B, S, D)
        found: dict[str, Tensor] = {}
        if "clip" in keys:
            query = self._heads.embed("clip", segments.mean(1))
            negatives = self._memory.negatives("clip", videos)
            found["clip"] = info_nce(query, keys["clip"], negatives, self.config.temperature)
        if self.config.losses.order:
            # A segment sees no other one: their features, shuffled, are the features of shuffled segments.
            order, shuffled = draw_orders(*segments.shape[:2])
            order = order.to(segments.device).unsqueeze(-1).expand_as(segments)
            scores = self._heads.score_order(segments.gather(1, order))
            found["order"] = order_loss(scores, shuffled.to(segments.device))
        return found

    def _loader(self) -> TrainingClips[ClipBatch]:
        if self._clips is None:
            self._clips = TrainingClips(ViewSource(self._videos.training, self.config), self._workers, self._broken)
        return self._clips
