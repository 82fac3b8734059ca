"""The configuration of learning from videos without labels: losses, views, keys, and how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX
from training.config import Frozen, with_entries
from training.tasks.config import LabelledDigest, VideosConfig


class LossWeights(Frozen):
    """Weight of each loss (training.tasks.contrast.losses); 0 leaves the loss out, and what only it needs.

    intra_frame, inter_frame: on single frames, without the MS module. clip, order: on segments of frames, with it.
    """

    intra_frame: float = Field(default=1.0, ge=0)
    inter_frame: float = Field(default=1.0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    order: float = Field(default=1.0, ge=0)

    @property
    def of_frames(self) -> bool:
        """Whether a loss needs single frames."""
        return bool(self.intra_frame or self.inter_frame)

    @property
    def of_clips(self) -> bool:
        """Whether a loss needs clips."""
        return bool(self.clip or self.order)


class ViewSettings(Frozen):
    """What is taken of a video, and how it is changed at random, once for each view.

    size_px: side of the square frames. segments: parts of a video, of each of which a clip has `segment_frames` frames
    at a stride of `frame_stride`, or less where the part is too short for it. least_area: the smallest crop, over the
    frame's area. flip, colour_share, grey, blur: probabilities. colour: strength of the change of brightness, contrast
    and saturation. blur_sigma: range of the Gaussian's deviation, in pixels at 224 px.
    """

    size_px: int = Field(default=224, ge=32, le=1024, multiple_of=FEATURE_STRIDE_PX)
    segments: int = Field(default=3, ge=3, le=16)
    segment_frames: int = Field(default=4, ge=2, le=64)
    frame_stride: int = Field(default=3, ge=1, le=1000)
    least_area: float = Field(default=0.2, gt=0, le=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    colour: float = Field(default=0.4, ge=0, le=1)
    colour_share: float = Field(default=0.8, ge=0, le=1)
    grey: float = Field(default=0.2, ge=0, le=1)
    blur: float = Field(default=0.5, ge=0, le=1)
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        low, high = self.blur_sigma
        if not 0 < low <= high <= 16:
            raise ValueError(f"expected blur_sigma from above 0 to at most 16; got {low} to {high}. Change it")
        return self


class ContrastConfig(VideosConfig):
    """Learning from videos without labels. The defaults are those of VCLR's public code, which Rai et al. follow.

    A clip is a video with all its views. A share has at least two, of whose single frames norms compute their
        statistics. learning_rate falls along a cosine.
    queue: videos whose keys are the negatives, at most as many as there are. key_momentum: what the key network keeps
        of its weights in a step. temperature: of all losses but `order`. projection: width of the embeddings.
    collapse_steps: for how many steps in a row embeddings must be alike, or a loss at chance, before it is told.
    evaluation_videos: on how many held-out videos it is evaluated, at most.
    """

    task: Literal["contrast"] = "contrast"
    gradient_clip: float = Field(default=20.0, gt=0)
    epochs: float = Field(default=400.0, gt=0, le=100_000)
    clips_per_step: int = Field(default=256, ge=2, le=65_536)
    clips_per_share: int = Field(default=32, ge=2, le=4096)
    learning_rate: float = Field(default=0.1, gt=0)
    warmup_epochs: float = Field(default=5.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    losses: LossWeights = LossWeights()
    queue: int = Field(default=131_072, ge=1, le=4_194_304)
    key_momentum: float = Field(default=0.999, ge=0, lt=1)
    temperature: float = Field(default=0.1, gt=0)
    projection: int = Field(default=128, ge=2, le=4096)
    collapse_steps: int = Field(default=200, ge=1)
    evaluation_videos: int = Field(default=256, ge=2, le=65_536)
    views: ViewSettings = ViewSettings()
    videos: LabelledDigest | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not (self.losses.of_frames or self.losses.of_clips):
            raise ValueError("expected a loss with a weight above 0; got none. Raise one of them")
        return self

    @classmethod
    def sized(cls, fields: Mapping[str, Any], size_px: int) -> dict[str, Any]:
        """Fields with square frames of this side; see `TrainingConfig`."""
        return {**fields, "views": with_entries(fields.get("views", {}), size_px=size_px)}
