"""The task of telling videos apart without labels, as Rai et al. train in their first stage, after VCLR and MoCo."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from extractor.models.msnet import MSNet
from schemas.records import Failure
from training.clips.records import Example
from training.clips.sources import ClipBatch
from training.config import Share
from training.group import Group
from training.labels.labelled import LabelledVideos
from training.precision import autocast
from training.tasks.contrast.collapse import CollapseWatch, LossAtChance
from training.tasks.contrast.config import ContrastConfig, LossWeights
from training.tasks.contrast.held_out import held_out_losses
from training.tasks.contrast.losses import losses_of
from training.tasks.contrast.memory import Memory
from training.tasks.contrast.networks import KeyNetwork, Projections, embed_keys, embed_queries
from training.tasks.contrast.retrieval import ends_of_videos, judge
from training.tasks.contrast.source import ViewSource
from training.tasks.contrast.views import num_frames, parted
from training.tasks.videos import VideosTask


class ContrastTask(VideosTask[ContrastConfig, ClipBatch]):
    """Learn from `videos`, whose labels are ignored; validate by which held-out video a stretch is of.

    Single frames pass without the MS module, clips with it. The heads, the key network and its queues exist only during
    training; a checkpoint holds the network alone. The keys of a step enter the queues behind it, in the order of its
    clips, whoever computed them.
    """

    loss_names = tuple(LossWeights.model_fields)
    best = None

    def __init__(self, config: ContrastConfig, videos: LabelledVideos, network: MSNet, *, loader_workers: int) -> None:
        super().__init__(config, len(videos.training), network, loader_workers=loader_workers)
        self._warmup_steps = min(self._warmup_steps, self.steps // 2)
        self._training, self._held_out = videos.training, videos.validation[: config.evaluation_videos]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._heads = Projections(
                config.losses, network.spec.feature_dim, config.projection, config.views.segments
            ).to(network.device)
        self._keys = KeyNetwork(network, self._heads)
        self._memory = Memory(config, len(videos.training), network.device)
        self._watch = CollapseWatch(config.collapse_steps)
        self._losses = tuple(name for name in self.loss_names if getattr(config.losses, name))

    def source(self) -> ViewSource:
        """The views of the videos."""
        return ViewSource(self._training, self.config)

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

    def prepare(self, network: MSNet, step: int) -> None:
        """Train all of the network; the keys of the step are still to come."""
        network.train().requires_grad_(True)
        self._memory.begin()

    def losses(self, network: MSNet, step: int, share: Share) -> dict[str, Tensor]:
        """Weighted losses of a share of a step; its keys are kept until the step is finished."""
        batch = self.batch(step, share.index)
        wanted = self.config.losses
        frames = batch.frames.to(network.device, non_blocking=True)
        views = parted(frames, self.config.views, of_frames=wanted.of_frames, of_clips=wanted.of_clips)
        with autocast(self.config.precision, network.device):
            keys, key_sums = embed_keys(self._keys, views)
            queries, shuffled, sums = embed_queries(network, self._heads, views, wanted)
            negatives = self._memory.negatives(batch.examples, keys)
            found = losses_of(queries, keys, negatives, shuffled, self.config.temperature)
        self._memory.keep(share, batch.examples, keys, torch.stack((sums, key_sums)))
        return {name: getattr(wanted, name) * loss for name, loss in found.items()}

    def finish_step(self, network: MSNet, step: int, losses: Mapping[str, float], group: Group) -> str | None:
        """Add the step's keys to the queues and let the key network follow. Returns a sentence about a collapse."""
        moments, of_keys = self._memory.finish(group).unbind(0)
        kept = min(self.config.key_momentum, step / (9 + step))  # at the start, features change fast
        self._heads.settle(moments, kept)
        self._keys.heads.settle(of_keys, kept)
        self._keys.follow(network, self._heads, self.config.key_momentum)
        if not self._memory.is_full:
            return None
        weights = self.config.losses.model_dump()
        chances = {
            name: LossAtChance(losses[name] / weights[name], chance)
            for name, chance in self._memory.chances().items()
            if name in losses
        }
        return self._watch.see(self._memory.spreads(), chances)

    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """Retrieval and losses on held-out videos, NaN with fewer than two of them; the spread of queued keys."""
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
        found = dict.fromkeys(("retrieval", "retrieval_chance", "spread", *self._losses), math.nan)
        if len(whole) > 1:
            found |= judge(torch.stack([one for one in whole if isinstance(one, Tensor)]))
            found |= held_out_losses(network, self._heads, self._keys, self._sound(), config, group, self._workers)
        return found | {f"{name}_keys_spread": spread for name, spread in self._memory.spreads().items()}

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
            **super().state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore the state."""
        self._heads.load_state_dict(state_dict["heads"])
        self._keys.load_state_dict(state_dict["keys"])
        self._memory.load_state_dict(state_dict["memory"])
        self._watch.load_state_dict(state_dict["watch"])
        return super().load_state_dict(state_dict)

    def _sound(self) -> tuple[Example, ...]:
        """The held-out videos that are not known to be broken."""
        return tuple(example for example in self._held_out if example.video_id not in self._broken)
