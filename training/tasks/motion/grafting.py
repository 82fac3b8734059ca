"""The MS module alone, on a backbone of any class: a training of its matching on procedural video, and its errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from extractor.models.motion_squeeze import MotionFeatures, MotionSqueeze
from training.cells import cell_truth
from training.config import HELD_OUT_SEED
from training.embedding import enlarge_module, shrink_module
from training.evaluation.matching import NETWORK, MatchedCells, MatchingScores, compare_cells
from training.evaluation.passes import evaluating
from training.tasks.motion.matching import matching_losses, squeeze_with_scores
from training.world import Clips, World, WorldConfig

Backbone = Callable[[Tensor], Tensor]
"""Maps frames (N, 3, H, W), RGB in [0, 1], to features (N, C, h, w); what it normalises is its own."""

_WARMUP_STEPS = 20
_FINAL_SHARE = 0.02  # of the learning rate
# As in recipes/graft.toml: the first half of the steps learns to match, the second how far to trust that.
_LOSSES = (
    {"matching": 1.0, "regression": 0.1, "confidence": 0.1},
    {"matching": 0.2, "regression": 2.0, "confidence": 0.1},
)


@dataclass(frozen=True, slots=True)
class GraftConfig:
    """How an MS module learns to match on a backbone that stays as it is.

    cell_px: stride of the backbone's features, the side of a cell. size_px: side of the square frames, a multiple of
    it. clips: clips of `num_frames` frames a step. max_speed, still_camera, nuisances, textures, shapes: see
    training.world.WorldConfig.
    halvings, temperature: see training.embedding and training.tasks.motion.losses.matching_loss. seed: of the clips;
    below 1,000,000, where held-out worlds begin.
    """

    cell_px: int = FEATURE_STRIDE_PX
    size_px: int = 112
    steps: int = 400
    clips: int = 8
    num_frames: int = 8
    learning_rate: float = 2e-2
    max_speed: float = 0.45
    still_camera: float = 0.35
    nuisances: float = 0.8
    textures: int = 96
    shapes: int = 128
    temperature: float = 100.0
    halvings: int = 14
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cell_px < 1 or self.size_px % self.cell_px or self.size_px < 2 * self.cell_px:
            raise ValueError(
                f"expected size_px to be a multiple of cell_px; got {self.size_px} and {self.cell_px}. Change size_px"
            )
        if min(self.steps, self.clips) < 1 or self.num_frames < 2 or not 0 <= self.seed < HELD_OUT_SEED:
            raise ValueError(
                "expected at least one step, one clip and two frames, and a seed from 0 to"
                f" {HELD_OUT_SEED - 1}; got {self}. Correct them"
            )

    def world(self, seed: int, device: torch.device) -> World:
        """The world that clips come from."""
        return World(
            WorldConfig(
                height=self.size_px,
                width=self.size_px,
                num_frames=self.num_frames,
                max_speed=self.max_speed,
                still_camera=self.still_camera,
                nuisances=self.nuisances,
                textures=self.textures,
                shapes=self.shapes,
            ),
            seed=seed,
            device=device,
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step: a linear warm-up, then a cosine."""
        warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * warmup * (_FINAL_SHARE + (1 - _FINAL_SHARE) * cosine)


def train_matching(
    module: MotionSqueeze,
    backbone: Backbone,
    config: GraftConfig = GraftConfig(),
    *,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> None:
    """Let `module` learn displacement and confidence from the features of `backbone`, which stays as it is.

    Only `module.reduction` learns; the transformation to motion features keeps its weights. The module ends in
    evaluation mode, its embedding scaled as stored ones are, so that `module.state_dict()` is all there is to save. It
    computes on its own device, where the backbone has to be, too. report: hears of the number of each step, from 1, and
    of its losses, not weighted. ValueError where the features do not fit the module or `config`.
    """
    device = module.reduction.conv.weight.device
    world = config.world(config.seed, device)
    parameters = list(module.reduction.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    enlarge_module(module, config.halvings)
    module.train()
    try:
        for step in range(config.steps):
            clips = world.sample(step, config.clips)
            motion, scores = _squeezed(module, backbone, clips, config.cell_px)
            truth = cell_truth(clips, cell_px=config.cell_px, radius_cells=module.radius)
            losses = matching_losses(motion, scores, truth, config.temperature)
            for group in optimizer.param_groups:
                group["lr"] = config.rate(step)
            optimizer.zero_grad()
            weights = _LOSSES[2 * step // config.steps]
            torch.stack([weights[name] * loss for name, loss in losses.items()]).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            report(step + 1, {name: float(loss.detach()) for name, loss in losses.items()})
    finally:
        shrink_module(module, config.halvings)
        module.eval()


@torch.no_grad()
def measure_module(
    module: MotionSqueeze, backbone: Backbone, config: GraftConfig = GraftConfig(), *, clips: int = 32
) -> MatchingScores:
    """Errors of the displacement of `module` on held-out clips of the world of `config`; it keeps its mode."""
    world = config.world(HELD_OUT_SEED, module.reduction.conv.weight.device)
    parts = []
    with evaluating(module):
        for step in range(-(-clips // config.clips)):
            held_out = world.sample(step, config.clips)
            motion, _ = _squeezed(module, backbone, held_out, config.cell_px)
            truth = cell_truth(held_out, cell_px=config.cell_px, radius_cells=module.radius)
            displacement = torch.unflatten(motion.displacement, 0, truth.defined.shape[:2])
            parts.append(compare_cells(truth, {NETWORK: displacement}))
    return MatchingScores.of(MatchedCells.join(parts))


def _squeezed(module: MotionSqueeze, backbone: Backbone, clips: Clips, cell_px: int) -> tuple[MotionFeatures, Tensor]:
    """The module's output and scores for the features of clips, which must fit it."""
    frames = clips.frames.flatten(0, 1)  # (B*T, 3, H, W)
    still: AbstractContextManager[None] = evaluating(backbone) if isinstance(backbone, nn.Module) else nullcontext()
    with torch.no_grad(), still:
        features = backbone(frames)
    height, width = frames.shape[2] // cell_px, frames.shape[3] // cell_px
    expected = (len(frames), module.out_channels, height, width)
    if tuple(features.shape) != expected:
        raise ValueError(
            f"expected features {expected} of frames {tuple(frames.shape)} in cells of {cell_px} px; got"
            f" {tuple(features.shape)}. Give the module the backbone's channels, and cell_px its stride"
        )
    return squeeze_with_scores(module, features.float(), clips.frames.shape[1])
