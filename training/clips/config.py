"""How clips are taken from videos: which frames, which part of them, what is changed at random."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from extractor.models.backbones.architecture import FEATURE_STRIDE_PX


class ClipSampling(StrEnum):
    """Which frames make a clip: one from each of T equal parts of the video, or T at a stride from one place."""

    SEGMENTS = "segments"
    DENSE = "dense"


class ClipSettings(BaseModel):
    """How clips are sampled and augmented in training; validation takes the middle, without augmentation.

    size_px: side of the square frames. dense_span: native frames that a dense clip covers. scales: sides of the random
    crop over the short side of the frame; width and height may differ by one step. flip: probability of a flip, which
    classes that name a side are spared. colour: strength of the change of brightness, contrast and saturation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampling: ClipSampling = ClipSampling.SEGMENTS
    size_px: int = Field(default=224, ge=32, le=1024, multiple_of=FEATURE_STRIDE_PX)
    dense_span: int = Field(default=64, ge=2, le=10_000)
    scales: tuple[float, ...] = Field(default=(1.0, 0.875, 0.75, 0.66), min_length=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    colour: float = Field(default=0.0, ge=0, le=1)
