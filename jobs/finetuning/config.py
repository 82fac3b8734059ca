"""The configuration of learning event boundaries end to end."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from gebd.heads.config import HeadConfig
from gebd.heads.networks.spec import HeadName
from schemas.config import ExtractionConfig, Resize
from schemas.errors import ConfigurationError
from training.configurations import read_recipe
from training.tasks.config import VideosConfig

LEVELS = ("frame", "stage3_2x2", "motion_2x2", "displacement", "confidence")
"""What the head takes unless the configuration says otherwise."""


class Form(StrEnum):
    """What a clip is, and which of its samples are learned.

    STRETCHES: `head.window_seconds` of a video, all samples. WINDOWS: the frames around one instant, the head's context
    to either side; that instant alone, balanced between boundaries and others.
    """

    STRETCHES = "stretches"
    WINDOWS = "windows"


class FinetuneConfig(VideosConfig):
    """Learning event boundaries, backbone and head together.

    head: the head, its input at `head.rate_hz`, its targets and its training on the features of the first weights. Its
    seed is `seed`. Of its augmentation, speed (`stretch`) and direction (`reverse`) are those of the frames.
    size_px, resize: of the frames, as in an extraction.

    learning_rate: of the network, falling along a cosine to 0; head_rate multiplies it for the head. weight_decay: of
    the network.
    frozen_stages: stages of the network that stay as they are, from the first: 0, 2 or 3; with 2, displacement stays
    too. Norms keep their statistics and scales, as a share holds few clips.
    flip, least_scale, colour: all frames of a clip are flipped with this probability, cut to a part of this least side,
    and changed in brightness, contrast and saturation by this factor.
    """

    task: Literal["finetune"] = "finetune"
    form: Form = Form.STRETCHES
    head: HeadConfig = HeadConfig()
    size_px: int = Field(default=224, ge=32, le=1024, multiple_of=FEATURE_STRIDE_PX)
    resize: Resize = Resize.STRETCH
    epochs: float = Field(default=10.0, gt=0, le=10_000)
    clips_per_step: int = Field(default=8, ge=1, le=65_536)
    clips_per_share: int = Field(default=1, ge=1, le=4096)
    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    head_rate: float = Field(default=3.0, gt=0, le=1000)
    warmup_epochs: float = Field(default=0.5, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    frozen_stages: Literal[0, 2, 3] = 0
    flip: float = Field(default=0.5, ge=0, le=1)
    least_scale: float = Field(default=0.8, gt=0, le=1)
    colour: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.ema_decay:
            raise ValueError(f"expected ema_decay 0, as the head has no running mean; got {self.ema_decay}")
        if self.form is Form.WINDOWS and self.head.head is HeadName.SIMILARITY:
            raise ValueError(
                f"expected a head that compares one instant's surroundings ({HeadName.CONTRAST}, {HeadName.TEMPORAL})"
                f" for {Form.WINDOWS}; got {HeadName.SIMILARITY}. Change head, or use {Form.STRETCHES}"
            )
        return self

    @property
    def clip_frames(self) -> int:
        """The most frames of a clip."""
        if self.form is Form.WINDOWS:
            return 2 * self.head.context_frames + 1
        return max(2, round(self.head.window_seconds * self.head.rate_hz))

    def require_same_frames(self, extraction: ExtractionConfig) -> None:
        """Raise ConfigurationError if a head was trained on features of other frames, or of another network."""
        mine = {"size": self.size_px, "resize": self.resize, "model": self.model}
        for name, value in mine.items():
            if (theirs := getattr(extraction, name)) != value:
                raise ConfigurationError(
                    f"expected a head that was trained on features with {name} {value}; got one with {theirs}. Change"
                    " the configuration, or take another head"
                )


RECIPES = tuple(form.value for form in Form)
"""Configurations shipped with the package; the first is the default."""


def read_config(source: Path | str | None = None, **changes: Any) -> FinetuneConfig:
    """Read a configuration from a TOML file or, by name, one of RECIPES; `changes` override its fields.

    Raises ConfigurationError where the file cannot be read or a field is unknown or invalid.
    """
    folder = files("jobs.finetuning").joinpath("recipes")
    return read_recipe(FinetuneConfig, source, RECIPES, folder, changes, what="configuration")
