"""The configuration of learning from procedural video: stages, their losses, and the world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from schemas.config import Edges
from training.config import Frozen, TrainingConfig, with_entries


class LossWeights(Frozen):
    """Weight of each loss (defined in training.tasks.motion.losses); 0 leaves the loss out."""

    matching: float = Field(default=1.0, ge=0)
    regression: float = Field(default=0.1, ge=0)
    confidence: float = Field(default=0.1, ge=0)
    boundary: float = Field(default=0.5, ge=0)
    actor_motion: float = Field(default=0.25, ge=0)
    camera_motion: float = Field(default=0.25, ge=0)


class Stage(Frozen):
    """A part of the training with its own frame sizes, learning rates and losses.

    steps: optimizer steps. frames_per_step: frames per step; clips of T frames make `frames_per_step // T` clips.
    size_px: side of the square frames. num_frames: clip lengths T; each step draws one of them.
    learning_rate decays along a cosine to final_learning_rate, after a linear warm-up over `warmup_steps`.
    matching_only: stop the forward pass after the MS module and train on its losses only. Half the work, for training
        from scratch. Networks without the module skip the stage.
    matching_fixed: freeze everything that displacement and confidence depend on, statistics of norms included, and
        train only what follows: the feature transformation, the upper half, the heads. This is fast. A network
        without the module has nothing to freeze and is trained as a whole.
    matching_temperature, matching_sharpness: see training.tasks.motion.losses.matching_loss.
    max_speed, still_camera, nuisances: settings of the world, see training.world.WorldConfig.
    """

    name: str = Field(min_length=1, max_length=40)
    steps: int = Field(ge=1)
    frames_per_step: int = Field(default=96, ge=4)
    size_px: int = Field(default=224, ge=64, le=1024, multiple_of=FEATURE_STRIDE_PX)
    num_frames: tuple[int, ...] = Field(default=(8,), min_length=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    final_learning_rate: float = Field(default=1e-5, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    matching_only: bool = False
    matching_fixed: bool = False
    matching_temperature: float = Field(default=30.0, gt=0)
    matching_sharpness: float = Field(default=1.0, ge=1)
    max_speed: float = Field(default=0.3, gt=0, le=1)
    still_camera: float = Field(default=0.45, ge=0, le=1)
    nuisances: float = Field(default=1.0, ge=0)
    losses: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.matching_only and self.matching_fixed:
            raise ValueError(
                "expected matching_only or matching_fixed; got both, which leaves nothing to train. Remove one of them"
            )
        return self


class MotionConfig(TrainingConfig):
    """Learning from procedural video.

    edges: of the checkpoint, whatever it starts from; with `frozen_backbone` by default those of its start.
    shares: parts of a step's clips; norms compute their statistics over one at a time, and several workers divide them
        among themselves.
    embedding_halvings: the MS module's embedding is trained 2^n times as large as it is stored, see
        training.embedding. With random weights, 12 leaves scores of about two thirds, 13 of about one third.
    frozen_backbone: the MS module is grafted on a backbone that stays as it is, statistics of norms and classifier
        included. A module that the first weights lack starts with motion features of 0, and what makes features of
        displacement learns only in stages that are not `matching_only`. A backbone that was trained without the
        temporal shift keeps doing without it.
    textures, shapes: how many the world draws from at a time, see training.world.WorldConfig.
    evaluation: every `evaluate_every_steps` and at the end, on `evaluation_clips` held-out clips of
        `evaluation_size_px`.
    """

    LATER_FIELDS: ClassVar[Mapping[str, Any]] = {"frozen_backbone": False}

    task: Literal["motion"] = "motion"
    edges: Edges | None = Edges.REPEAT
    shares: int = Field(default=1, ge=1, le=1024)
    embedding_halvings: int = Field(default=13, ge=0, le=20)
    frozen_backbone: bool = False
    textures: int = Field(default=96, ge=1)
    shapes: int = Field(default=128, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    evaluate_every_steps: int = Field(default=250, ge=1)
    evaluation_clips: int = Field(default=32, ge=1)
    evaluation_size_px: int = Field(default=224, ge=64, multiple_of=FEATURE_STRIDE_PX)
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _keeps_the_edges_of_a_frozen_backbone(cls, fields: Any) -> Any:
        return {"edges": None, **fields} if isinstance(fields, dict) and fields.get("frozen_backbone") else fields

    @model_validator(mode="after")
    def _has_clips_for_all(self) -> Self:
        for stage in self.stages:
            clips = stage.frames_per_step // max(stage.num_frames)
            if clips < self.shares and self.shares > 1:
                raise ValueError(
                    f"expected at least one clip per step for each of {self.shares} shares; got {clips} in stage"
                    f" {stage.name!r}. Raise frames_per_step, or lower shares"
                )
        return self

    @classmethod
    def sized(cls, fields: Mapping[str, Any], size_px: int) -> dict[str, Any]:
        """Fields with square frames of this side in every stage, and in evaluations; see `TrainingConfig`."""
        stages = fields.get("stages")
        if isinstance(stages, list):
            stages = [with_entries(stage, size_px=size_px) for stage in stages]
        return {**fields, "evaluation_size_px": size_px, "stages": stages}

    @property
    def stores_float32(self) -> bool:
        """With a frozen backbone, of which not a bit may change."""
        return self.frozen_backbone

    @property
    def share_count(self) -> int:
        """Into how many a step's clips are divided."""
        return self.shares

    @property
    def steps(self) -> int:
        """Total number of steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that contains step number `step`, and the number of the step within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(f"expected a step below {self.steps}; got {step + self.steps}")
