"""What every configuration of a training has: frozen, read from a TOML file, and stored inside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.config import Edges

HELD_OUT_SEED = 1_000_000
"""Worlds with this seed and above are for evaluation; training seeds are below it."""


class TrainingPrecision(StrEnum):
    """Number format of the convolutions; matching, losses and parameters stay float32. float16 scales the loss."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Frozen(BaseModel):
    """A record that is checked when it is made and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a step's clips: number `index` of `count`. The norms of a network see one share at a time."""

    index: int
    count: int


ALL = Share(0, 1)
"""All clips of a step."""


class TrainingConfig(Frozen):
    """What determines the result, whatever the task; the same configuration on the same device gives the same losses.

    seed: of the initial weights and of the order of clips; below HELD_OUT_SEED.
    num_segments: clip length declared in the checkpoint, which accepts any length.
    edges: what the temporal shift reads beyond the ends of a clip; None: what the first weights were made for.
    gradient_checkpointing: keep only what enters each block and compute the rest again, in less memory.
    ema_decay: the checkpoint has the running mean of the weights, which keeps this much of itself a step; 0 for the
        weights of the last step.
    """

    LATER_FIELDS: ClassVar[Mapping[str, Any]] = {}
    """Fields that saved trainings may lack, as they are older, with the value that stands for how it was before."""

    model: str = "msnet_resnet18"
    seed: int = Field(default=0, ge=0, lt=HELD_OUT_SEED)
    num_segments: int = Field(default=8, ge=2, le=256)
    edges: Edges | None = None
    precision: TrainingPrecision = TrainingPrecision.FLOAT32
    gradient_clip: float = Field(default=1.0, gt=0)
    gradient_checkpointing: bool = False
    ema_decay: float = Field(default=0.0, ge=0, lt=1)

    @classmethod
    def sized(cls, fields: Mapping[str, Any], size_px: int) -> dict[str, Any]:
        """Fields of a configuration, not checked yet, with square frames of this side: each task says it elsewhere."""
        return {**fields, "size_px": size_px}

    @property
    def stores_float32(self) -> bool:
        """Whether checkpoints keep every bit of the weights; else kernels and matrices are stored in float16."""
        return False

    @property
    def share_count(self) -> int:
        """Into how many a step's clips are divided."""
        return 1


def with_entries(table: Any, **entries: Any) -> Any:
    """A table of fields that are not checked yet, with other entries; what is no table is left to be refused."""
    return {**table, **entries} if isinstance(table, dict) else table
