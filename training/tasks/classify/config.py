"""The configuration of learning classes from labelled videos."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from training.clips.config import ClipSettings
from training.config import with_entries
from training.tasks.config import LabelledDigest, VideosConfig


class Schedule(StrEnum):
    """How the learning rate falls: by `drop` at given points, or along a cosine to 0."""

    STEPS = "steps"
    COSINE = "cosine"


class ClassifyConfig(VideosConfig):
    """Learning classes from labelled videos. The defaults are those of the paper for Something-Something.

    learning_rate falls as `schedule` says: at `drops` (fractions of the training) it is multiplied by `drop`.
        classifier_rate multiplies it for the classifier. Biases learn twice as fast and do not decay, as in TSM.
    frozen_norms: norms keep their statistics and scales, for small shares.
    clips: how clips are sampled and augmented.
    """

    task: Literal["classify"] = "classify"
    gradient_clip: float = Field(default=20.0, gt=0)
    epochs: float = Field(default=40.0, gt=0, le=10_000)
    clips_per_step: int = Field(default=48, ge=1, le=65_536)
    clips_per_share: int = Field(default=8, ge=1, le=4096)
    learning_rate: float = Field(default=0.01, gt=0)
    classifier_rate: float = Field(default=1.0, gt=0)
    schedule: Schedule = Schedule.STEPS
    drops: tuple[float, ...] = (0.5, 0.75)
    drop: float = Field(default=0.1, gt=0, lt=1)
    warmup_epochs: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    frozen_norms: bool = False
    clips: ClipSettings = ClipSettings()
    videos: LabelledDigest | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if any(not 0 < at < 1 for at in self.drops):
            raise ValueError(f"expected drops between 0 and 1, as fractions of the training; got {self.drops}")
        if self.nesterov and not self.momentum:
            raise ValueError("expected momentum above 0 with nesterov; got 0. Set nesterov to false")
        return self

    @classmethod
    def sized(cls, fields: Mapping[str, Any], size_px: int) -> dict[str, Any]:
        """Fields with square frames of this side; see `TrainingConfig`."""
        return {**fields, "clips": with_entries(fields.get("clips", {}), size_px=size_px)}
