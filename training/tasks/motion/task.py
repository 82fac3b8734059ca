"""The task of learning from the world: its batches, heads that exist only during training, and their losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from extractor.models.backbones.timeline import ClipTimeline
from extractor.models.loading import IMAGENET_MEAN, IMAGENET_STD
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from extractor.models.msnet import MSNet
from extractor.models.spec import describe_network
from schemas.errors import ConfigurationError
from schemas.records import Failure
from training.cells import cell_truth
from training.config import ALL, HELD_OUT_SEED, Share
from training.embedding import as_stored
from training.evaluation.matching import measure_matching
from training.evaluation.passes import evaluating
from training.group import Group
from training.precision import autocast
from training.tasks.motion.config import LossWeights, MotionConfig, Stage
from training.tasks.motion.losses import boundary_loss, motion_class_loss
from training.tasks.motion.matching import matching_losses, squeeze_with_scores
from training.tasks.schedule import warmed_cosine
from training.world import Boundary, Clips, Motion, World, WorldConfig

_EVALUATED_AT_A_TIME = 4


class _ScoreTimeline(ClipTimeline):
    """A clip's timeline that keeps the correlation scores, which the network itself does not return."""

    scores: Tensor | None = None  # (B * (T - 1), P * P, h, w)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        motion, self.scores = squeeze_with_scores(module, x, self.num_segments)
        return x, motion


class MotionTask(nn.Module):
    """Learn, on the world, displacement and confidence of the MS module, and boundaries and motion from frame features.

    The linear heads exist only during training; a checkpoint holds the network alone.
    """

    loss_names = tuple(LossWeights.model_fields)
    best = None

    def __init__(self, config: MotionConfig, *, width: int, device: torch.device) -> None:
        super().__init__()
        self.config = without_idle_stages(config)
        self.steps = self.config.steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.boundary = nn.Linear(width, len(Boundary), device=device)
            self.actor_motion = nn.Linear(width, len(Motion), device=device)
            self.camera_motion = nn.Linear(width, len(Motion), device=device)
        settings = WorldConfig(textures=config.textures, shapes=config.shapes)
        self._world = World(settings, seed=config.seed, device=device)
        self._held_out = World(settings, seed=HELD_OUT_SEED, device=device)

    def stage(self, step: int) -> str:
        """Name of the stage."""
        return self.config.stage_at(step)[0].name

    def frames(self, step: int) -> int:
        """Frames of a step, at most."""
        return self.config.stage_at(step)[0].frames_per_step

    def optimizer(self, network: MSNet) -> torch.optim.Optimizer:
        """AdamW, with weight decay for matrices and kernels; none for norms and biases, whose scale needs no limit."""
        parameters = [*network.parameters(), *self.parameters()]
        return torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ]
        )

    def learning_rate(self, step: int) -> float:
        """A linear warm-up of each stage, then a cosine down to its final rate."""
        stage, step = self.config.stage_at(step)
        return warmed_cosine(
            step,
            steps=stage.steps,
            warmup=stage.warmup_steps,
            highest=stage.learning_rate,
            lowest=stage.final_learning_rate,
        )

    def prepare(self, network: MSNet, step: int) -> None:
        """Train all of the network, or what follows matching, or the MS module alone."""
        network.train().requires_grad_(True)
        if self.config.frozen_backbone:
            network.backbone.eval().requires_grad_(False)
            if network.classifier is not None:
                network.classifier.requires_grad_(False)
        if self.config.stage_at(step)[0].matching_fixed:
            for module in network.matching_modules():
                module.eval().requires_grad_(False)

    def expect(self, step: int, shares: Iterable[int]) -> None:
        """Nothing to do: the world draws clips when they are asked for."""

    def losses(self, network: MSNet, step: int, share: Share = ALL) -> dict[str, Tensor]:
        """Weighted losses of a share of a step; see `Task`."""
        stage = self.config.stage_at(step)[0]
        return self.losses_on(network, self.clips(stage, step, share), stage)

    def clips(self, stage: Stage, step: int, share: Share = ALL, *, world: World | None = None) -> Clips:
        """A share of batch number `step`, with the settings of `stage`; all shares have clips of the same length."""
        draw = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        frames = stage.num_frames[int(torch.randint(len(stage.num_frames), (), generator=draw))]
        variant = (world or self._world).variant(
            height=stage.size_px,
            width=stage.size_px,
            num_frames=frames,
            boundaries=(0, max(2, frames // 5)),
            max_speed=stage.max_speed,
            still_camera=stage.still_camera,
            nuisances=stage.nuisances,
        )
        return variant.sample(step * share.count + share.index, max(1, stage.frames_per_step // frames // share.count))

    def losses_on(self, network: MSNet, clips: Clips, stage: Stage) -> dict[str, Tensor]:
        """Losses of `network` on `clips`, weighted as in `stage`, including those of the MS module where it has one."""
        mean, std = (clips.frames.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        frames = (clips.frames - mean) / std
        batch, length = frames.shape[:2]
        timeline = _ScoreTimeline(length, network.spec.edges)
        with autocast(self.config.precision, frames.device):
            if stage.matching_only and network.motion_squeeze is not None:
                x = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
                motion: MotionFeatures | None = timeline.squeeze(
                    network.motion_squeeze, network.backbone.lower(x, timeline)
                )[1]
                features = None
            else:
                features, motion, _ = network.run(frames.flatten(0, 1), timeline)
        found: dict[str, Tensor] = {}
        if motion is not None and timeline.scores is not None and not stage.matching_fixed:
            temperature, sharpness = stage.matching_temperature, stage.matching_sharpness
            found |= matching_losses(motion, timeline.scores, cell_truth(clips), temperature, sharpness)
        if features is not None:
            features = torch.unflatten(features, 0, (batch, length))
            found["boundary"] = boundary_loss(self.boundary(features), clips.boundary)
            found["actor_motion"] = motion_class_loss(self.actor_motion(features[:, :-1]), clips.actor_motion)
            found["camera_motion"] = motion_class_loss(self.camera_motion(features[:, :-1]), clips.camera_motion)
        weights = stage.losses.model_dump()
        return {name: weights[name] * loss for name, loss in found.items() if weights[name] > 0}

    def evaluates_after(self, step: int) -> bool:
        """Every `evaluate_every_steps`, and at the end."""
        return (step + 1) % self.config.evaluate_every_steps == 0 or step + 1 == self.steps

    @torch.no_grad()
    def evaluate(self, network: MSNet, group: Group) -> dict[str, float]:
        """Unweighted losses on held-out clips and, with an MS module, errors of its displacement in cells.

        Where matching alone is learned, its losses alone: those of heads that never learn would only stay as they are.
        """
        length, count = self.config.num_segments, self.config.evaluation_clips
        stage = Stage(
            name="held out",
            steps=1,
            size_px=self.config.evaluation_size_px,
            num_frames=(length,),
            frames_per_step=length * count,
            matching_only=all(stage.matching_only for stage in self.config.stages),
            losses=LossWeights(**dict.fromkeys(LossWeights.model_fields, 1.0)),
        )
        clips = self.clips(stage, 0, world=self._held_out)
        found = dict.fromkeys(LossWeights.model_fields, math.nan)
        with evaluating(network):
            parts = [slice(start, start + _EVALUATED_AT_A_TIME) for start in range(0, count, _EVALUATED_AT_A_TIME)]
            losses = [self.losses_on(network, clips.of(part), stage) for part in parts]
        for name in losses[0]:
            found[name] = float(torch.stack([loss[name] for loss in losses]).mean())
        if network.motion_squeeze is not None:
            scores = measure_matching(network, clips)
            found |= {"error_cells": scores.inside.mean_cells, "zero_error_cells": scores.inside_zero.mean_cells}
            found |= {"visible_error_cells": scores.visible.mean_cells}
        return found

    def as_stored(self, network: MSNet) -> AbstractContextManager[None]:
        """With the small embedding."""
        return as_stored(network, self.config.embedding_halvings)

    def left_out(self) -> Mapping[str, Failure]:
        """None: there are no videos."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Nothing but the configuration."""
        return {}

    def close(self) -> None:
        """Nothing to end."""


def without_idle_stages(config: MotionConfig) -> MotionConfig:
    """Drop the stages that train matching alone, where the network has no MS module."""
    if describe_network(config.model).has_motion:
        return config
    stages = tuple(stage for stage in config.stages if not stage.matching_only)
    if not stages:
        raise ConfigurationError(
            f"expected a stage that is not matching_only, because {config.model} has no MS module; got none. Add one"
        )
    return config.model_copy(update={"stages": stages})
