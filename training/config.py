"""What a training is asked for: one frozen configuration, read from a TOML file and stored inside the checkpoint."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from schemas.errors import ConfigurationError
from schemas.wording import first_refusal

__all__ = [
    "ALL",
    "HELD_OUT_SEED",
    "RECIPES",
    "LossWeights",
    "Precision",
    "Share",
    "Stage",
    "TrainingConfig",
    "read_config",
]

HELD_OUT_SEED = 1_000_000
"""Worlds of this seed and above are for judging; a training's seed is below it."""

RECIPES = ("default", "miniature")
"""Configurations that come with the package."""


class Precision(StrEnum):
    """Number format of the convolutions; matching, losses and parameters stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossWeights(_Frozen):
    """How much each loss counts; see training.tasks.losses for what they are. 0 leaves one out."""

    matching: float = Field(default=1.0, ge=0)
    regression: float = Field(default=0.1, ge=0)
    confidence: float = Field(default=0.1, ge=0)
    boundary: float = Field(default=0.5, ge=0)
    actor_motion: float = Field(default=0.25, ge=0)
    camera_motion: float = Field(default=0.25, ge=0)


class Stage(_Frozen):
    """A part of the training with sizes, pace and losses of its own.

    steps: of the optimizer. frames_per_step: pictures a step; with T frames a clip it has `frames_per_step // T` clips.
    size_px: side of the square frames. num_frames: clip lengths T, one of which is drawn for each step.
    learning_rate falls along a cosine to final_learning_rate, after a linear rise over `warmup_steps`.
    matching_only: stop after the MS module, whose losses alone count then: half the work, for a start from scratch.
        Networks without the module skip the stage.
    matching_fixed: leave what displacement and confidence depend on as it is, statistics of norms included, and train
        what follows alone: the feature transformation, the upper half, the heads. It is quick, and a network without
        the module, which has nothing to keep, is trained as a whole.
    matching_temperature, matching_sharpness: see training.tasks.losses.matching_loss.
    max_speed, still_camera, nuisances: of the world, see training.world.WorldConfig.
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
            raise ValueError("matching_only and matching_fixed together would leave nothing to train")
        return self


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a step's clips a process has: number `index` of `count`."""

    index: int
    count: int


ALL = Share(0, 1)
"""Of a step's clips."""


class TrainingConfig(_Frozen):
    """Everything that decides what a training gives; the same configuration on the same device gives the same losses.

    seed: of the first weights, the world and the order of clip lengths; below HELD_OUT_SEED.
    num_segments: clip length the checkpoint is declared for; it takes any.
    processes: that share the clips of a step, on a CPU; norms take their statistics from each share alone.
    embedding_halvings: the MS module's embedding is trained 2^n times as large as it is stored, see
        training.tasks.embedding; 12 leaves scores of about two thirds to random weights, 13 of a third.
    textures, shapes: how many the world draws from at a time, see training.world.WorldConfig.
    evaluation: `evaluate_every_steps` and at the end, on `evaluation_clips` held-out clips of `evaluation_size_px`.
    """

    model: str = "msnet_resnet18"
    seed: int = Field(default=0, ge=0, lt=HELD_OUT_SEED)
    num_segments: int = Field(default=8, ge=2)
    precision: Precision = Precision.FLOAT32
    processes: int = Field(default=1, ge=1, le=64)
    embedding_halvings: int = Field(default=13, ge=0, le=20)
    textures: int = Field(default=96, ge=1)
    shapes: int = Field(default=128, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    evaluate_every_steps: int = Field(default=250, ge=1)
    evaluation_clips: int = Field(default=32, ge=1)
    evaluation_size_px: int = Field(default=224, ge=64, multiple_of=FEATURE_STRIDE_PX)
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_clips_for_all(self) -> Self:
        for stage in self.stages:
            clips = stage.frames_per_step // max(stage.num_frames)
            if clips < self.processes and self.processes > 1:
                raise ValueError(f"{self.processes} processes need a clip each; a step of {stage.name!r} has {clips}")
        return self

    @property
    def steps(self) -> int:
        """Of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that step number `step` belongs to, and the step's number within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(f"expected a step below {self.steps}; got {step + self.steps}")


def read_config(source: Path | str, **changes: Any) -> TrainingConfig:
    """The configuration in a TOML file, or one of RECIPES by its name, with `changes` of its top-level fields.

    ConfigurationError where it cannot be read, or names what the configuration does not have.
    """
    try:
        if str(source) in RECIPES:
            text = files("training").joinpath("recipes", f"{source}.toml").read_text("utf-8")
        else:
            text = Path(source).read_text("utf-8")
        return TrainingConfig.model_validate({**tomllib.loads(text), **changes})
    except (OSError, UnicodeDecodeError) as error:
        known, reason = " or ".join(RECIPES), error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"{source} cannot be read ({reason}); expected a TOML file, or {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is no TOML: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{source} is no training configuration: {first_refusal(error)}") from error
