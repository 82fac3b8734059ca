"""What the configurations of all tasks on clips of videos have."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from training.config import Frozen, TrainingConfig


class VideosDigest(Frozen):
    """Which videos a network learns from. sha256: of their ids and of what is learned of each."""

    training: int = Field(ge=1)
    validation: int = Field(ge=0)
    sha256: str


class LabelledDigest(VideosDigest):
    """The same of labelled videos. classes: how many, 0 where labels are ignored."""

    classes: int = Field(ge=0)


class VideosConfig(TrainingConfig):
    """Learning from videos, whatever is learned.

    epochs: times that each video is seen. clips_per_step: clips of an optimizer step. clips_per_share: how many of them
        a device takes at a time; the norms compute their statistics over these, as the reference does on each of its
        GPUs. A step's shares are divided among the workers.
    learning_rate: the highest, reached by a linear rise over the first `warmup_epochs`.
    evaluate_every_epochs: a training is validated so often, and at the end.
    videos: set by the program, so that a training is not resumed with other videos.
    """

    epochs: float = Field(gt=0, le=100_000)
    clips_per_step: int = Field(ge=1, le=65_536)
    clips_per_share: int = Field(ge=1, le=4096)
    learning_rate: float = Field(gt=0)
    warmup_epochs: float = Field(ge=0)
    evaluate_every_epochs: float = Field(default=1.0, gt=0)
    videos: VideosDigest | None = None

    @model_validator(mode="after")
    def _has_equal_shares(self) -> Self:
        if self.clips_per_step % self.clips_per_share:
            raise ValueError(
                f"expected clips_per_step to be a multiple of clips_per_share; got {self.clips_per_step} and"
                f" {self.clips_per_share}. Change one of them"
            )
        return self

    @property
    def share_count(self) -> int:
        """Into how many a step's clips are divided."""
        return self.clips_per_step // self.clips_per_share
