"""The task of learning from the world: its batches, heads that exist only during training, and their losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from extractor.models.backbones.timeline import ClipTimeline
from extractor.models.correlation import Tiling
from extractor.models.loading import IMAGENET_MEAN, IMAGENET_STD
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from extractor.models.msnet import MSNet
from training.cells import cell_truth
from training.config import ALL, Share, Stage, TrainingConfig, TrainingPrecision
from training.tasks.losses import boundary_loss, confidence_loss, matching_loss, motion_class_loss, regression_loss
from training.world import Boundary, Clips, Motion, World, WorldConfig


class Task(Protocol):
    """A source of batches and their losses: the trainer's interface to what is learned.

    Another source, such as unlabelled videos with a contrastive loss, is another class like `MotionTask`. It is a
    module if it has heads that are trained with the network.
    """

    def losses(self, network: MSNet, stage: Stage, step: int, share: Share = ALL) -> dict[str, Tensor]:
        """Weighted losses, by name, of a share of batch number `step`; the step minimises their sum."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that are trained with the network."""

    def state_dict(self) -> dict[str, Any]:
        """State that resuming needs, by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """Restore the state."""


class _ScoreTimeline(ClipTimeline):
    """A clip's timeline that keeps the correlation scores, which the network itself does not return."""

    scores: Tensor | None = None  # (B * (T - 1), P * P, h, w)

    def squeeze(self, module: MotionSqueeze, x: Tensor) -> tuple[Tensor, MotionFeatures]:
        def keep(_: nn.Module, arguments: tuple[Tensor]) -> None:
            self.scores = Tiling.of(x.shape[2], x.shape[3]).join(arguments[0])

        hook = module.soft_argmax.register_forward_pre_hook(keep)
        try:
            return super().squeeze(module, x)
        finally:
            hook.remove()


class MotionTask(nn.Module):
    """Learn, on the world, displacement and confidence of the MS module, and boundaries and motion from frame features.

    The linear heads exist only during training; a checkpoint holds the network alone.
    """

    def __init__(self, network: MSNet, config: TrainingConfig, *, world_seed: int, device: torch.device) -> None:
        super().__init__()
        width = network.spec.feature_dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.boundary = nn.Linear(width, len(Boundary), device=device)
            self.actor_motion = nn.Linear(width, len(Motion), device=device)
            self.camera_motion = nn.Linear(width, len(Motion), device=device)
        self._world = World(WorldConfig(textures=config.textures, shapes=config.shapes), seed=world_seed, device=device)
        self._seed = config.seed
        self._amp = config.precision is TrainingPrecision.BFLOAT16

    def losses(self, network: MSNet, stage: Stage, step: int, share: Share = ALL) -> dict[str, Tensor]:
        """Weighted losses of a share of batch number `step`; see `Task`."""
        return self.losses_on(network, self.clips(stage, step, share), stage)

    def clips(self, stage: Stage, step: int, share: Share = ALL) -> Clips:
        """A share of batch number `step`, with the settings of `stage`; all shares have clips of the same length."""
        draw = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        frames = stage.num_frames[int(torch.randint(len(stage.num_frames), (), generator=draw))]
        world = self._world.variant(
            height=stage.size_px,
            width=stage.size_px,
            num_frames=frames,
            boundaries=(0, max(2, frames // 5)),
            max_speed=stage.max_speed,
            still_camera=stage.still_camera,
            nuisances=stage.nuisances,
        )
        return world.sample(step * share.count + share.index, max(1, stage.frames_per_step // frames // share.count))

    def losses_on(self, network: MSNet, clips: Clips, stage: Stage) -> dict[str, Tensor]:
        """Losses of `network` on `clips`, weighted as in `stage`, including those of the MS module where it has one."""
        mean, std = (clips.frames.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        frames = (clips.frames - mean) / std
        batch, length = frames.shape[:2]
        timeline = _ScoreTimeline(length, network.spec.edges)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self._amp):
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
            truth = cell_truth(clips)
            scores, displacement, confidence = (
                torch.unflatten(tensor, 0, (batch, length - 1))
                for tensor in (timeline.scores, motion.displacement, motion.confidence)
            )
            found["matching"] = matching_loss(scores, truth, stage.matching_temperature, stage.matching_sharpness)
            found["regression"] = regression_loss(displacement, truth)
            found["confidence"] = confidence_loss(confidence, displacement, truth)
        if features is not None:
            features = torch.unflatten(features, 0, (batch, length))
            found["boundary"] = boundary_loss(self.boundary(features), clips.boundary)
            found["actor_motion"] = motion_class_loss(self.actor_motion(features[:, :-1]), clips.actor_motion)
            found["camera_motion"] = motion_class_loss(self.camera_motion(features[:, :-1]), clips.camera_motion)
        weights = stage.losses.model_dump()
        return {name: weights[name] * loss for name, loss in found.items() if weights[name] > 0}
