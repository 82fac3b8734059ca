"""The configuration of a training run: frozen, read from a TOML file, and stored inside the checkpoint."""

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

HELD_OUT_SEED = 1_000_000
"""Worlds with this seed and above are for evaluation; training seeds are below it."""

RECIPES = ("default", "miniature")
"""Configurations shipped with the package."""


class TrainingPrecision(StrEnum):
    """Number format of the convolutions; matching, losses and parameters stay float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LossWeights(_Frozen):
    """Weight of each loss (defined in training.tasks.losses); 0 leaves the loss out."""

    matching: float = Field(default=1.0, ge=0)
    regression: float = Field(default=0.1, ge=0)
    confidence: float = Field(default=0.1, ge=0)
    boundary: float = Field(default=0.5, ge=0)
    actor_motion: float = Field(default=0.25, ge=0)
    camera_motion: float = Field(default=0.25, ge=0)


class Stage(_Frozen):
    """A part of the training with its own frame sizes, learning rates and losses.

    steps: optimizer steps. frames_per_step: frames per step; clips of T frames make `frames_per_step // T` clips.
    size_px: side of the square frames. num_frames: clip lengths T; each step draws one of them.
    learning_rate decays along a cosine to final_learning_rate, after a linear warm-up over `warmup_steps`.
    matching_only: stop the forward pass after the MS module and train on its losses only. Half the work, for training
        from scratch. Networks without the module skip the stage.
    matching_fixed: freeze everything that displacement and confidence depend on, statistics of norms included, and
        train only what follows: the feature transformation, the upper half, the heads. This is fast. A network
        without the module has nothing to freeze and is trained as a whole.
    matching_temperature, matching_sharpness: see training.tasks.losses.matching_loss.
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


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a step's clips that one process trains on: number `index` of `count`."""

    index: int
    count: int


ALL = Share(0, 1)
"""All clips of a step."""


class TrainingConfig(_Frozen):
    """Everything that determines the result; the same configuration on the same device gives the same losses.

    seed: of the initial weights, the world and the order of clip lengths; below HELD_OUT_SEED.
    num_segments: clip length declared in the checkpoint, which accepts any length.
    processes: number of processes that share the clips of a step, on a CPU. Norms compute their statistics per share.
    embedding_halvings: the MS module's embedding is trained 2^n times as large as it is stored, see
        training.tasks.embedding. With random weights, 12 leaves scores of about two thirds, 13 of about one third.
    textures, shapes: how many the world draws from at a time, see training.world.WorldConfig.
    evaluation: every `evaluate_every_steps` and at the end, on `evaluation_clips` held-out clips of
        `evaluation_size_px`.
    """

    model: str = "msnet_resnet18"
    seed: int = Field(default=0, ge=0, lt=HELD_OUT_SEED)
    num_segments: int = Field(default=8, ge=2)
    precision: TrainingPrecision = TrainingPrecision.FLOAT32
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
                raise ValueError(
                    f"expected at least one clip per step for each of {self.processes} processes; got {clips} in stage"
                    f" {stage.name!r}. Raise frames_per_step, or lower processes"
                )
        return self

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


def read_config(source: Path | str, **changes: Any) -> TrainingConfig:
    """Read the configuration from a TOML file or, by name, one of RECIPES; `changes` override top-level fields.

    Raises ConfigurationError where the file cannot be read or a field is unknown or invalid.
    """
    try:
        if str(source) in RECIPES:
            text = files("training").joinpath("recipes", f"{source}.toml").read_text("utf-8")
        else:
            text = Path(source).read_text("utf-8")
        return TrainingConfig.model_validate({**tomllib.loads(text), **changes})
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(
            f"expected a TOML file, or {' or '.join(RECIPES)}; got {source}, which cannot be read ({reason})."
            " Correct the path or the file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"expected TOML; got {source}, which is not valid: {error}. Correct it") from error
    except ValidationError as error:
        raise ConfigurationError(f"{source} is not a valid training configuration: {first_refusal(error)}") from error
