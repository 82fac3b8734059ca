"""`HeadConfig`: the options of a head and its training."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from gebd.annotations.records import Raters
from gebd.heads.networks.spec import GROUPS, MOTION, HeadName
from gebd.metric.picking import BoundaryPicker, PickingMethod
from schemas.errors import ConfigurationError
from schemas.wording import first_refusal

TOLERANCES = tuple(n / 20 for n in range(1, 11))
"""Tolerances of the official evaluation: 0.05, 0.10 ... 0.50."""

AVERAGE = "average"
Criterion = float | str
"""The F1 by which epoch and threshold are chosen: at one of `TOLERANCES`, or the average over all of them."""


class HeadConfig(BaseModel):
    """A head and its training. With store, annotations and split it determines the result.

    `tensors`: of the store; none named: all that the head can use (see `GEBDDataset` for their names).
    `context_seconds`: length compared to either side of a frame. `width`, `dropout`: of the temporal and similarity
    heads, `appearance`: of the temporal one. `label_sigma_seconds`: width of the target around a boundary. `picking`,
    `apart_seconds`: how scores become boundaries, and their minimum distance.

    Augmentation: `stretch`, `reverse` (see `gebd.heads.augmentation`), and `noise`, the deviation of noise added to
    standardised inputs.

    `criterion`: the F1 on the validation part by which epoch and threshold are chosen. `most_marks`: no threshold is
    chosen at which the head marks more than this many times what a rater marks, which the metric would reward.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: HeadName = HeadName.SIMILARITY
    tensors: tuple[str, ...] = ()
    rate_hz: float = Field(default=10.0, gt=0, le=100, allow_inf_nan=False)
    window_seconds: float = Field(default=10.0, gt=0.5, le=600, allow_inf_nan=False)
    hop_seconds: float = Field(default=5.0, gt=0.1, le=600, allow_inf_nan=False)
    raters: Raters = Raters.SEPARATE
    label_sigma_seconds: float = Field(default=0.15, gt=0, le=5)
    context_seconds: float = Field(default=0.8, gt=0, le=10)
    width: int = Field(default=64, ge=4, le=1024)
    appearance: int = Field(default=0, ge=0, le=1024)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    batch_windows: int = Field(default=16, ge=1, le=4096)
    max_epochs: int = Field(default=60, ge=1, le=10_000)
    patience_epochs: int = Field(default=12, ge=1, le=10_000)
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    picking: PickingMethod = PickingMethod.PEAK
    apart_seconds: float = Field(default=0.5, ge=0, le=60)
    stretch: float = Field(default=0.2, ge=0, le=1)
    noise: float = Field(default=0.2, ge=0, le=10)
    reverse: bool = True
    criterion: Criterion = 0.05
    most_marks: float = Field(default=1.1, gt=0, le=100)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @field_validator("width")
    @classmethod
    def _in_groups(cls, width: int, info: ValidationInfo) -> int:
        if info.data.get("head") is HeadName.SIMILARITY and width % GROUPS:
            raise ValueError(f"expected a multiple of {GROUPS} for a head {HeadName.SIMILARITY}; got {width}")
        return width

    @field_validator("criterion", mode="before")
    @classmethod
    def _known(cls, criterion: object) -> Criterion:
        try:
            if criterion == AVERAGE or float(str(criterion)) in TOLERANCES:
                return AVERAGE if criterion == AVERAGE else float(str(criterion))
        except ValueError:
            pass
        raise ValueError(
            f"expected {AVERAGE}, or a tolerance of {TOLERANCES[0]:g}, 0.1 ... {TOLERANCES[-1]:g}; got {criterion}"
        )

    @property
    def context_frames(self) -> int:
        """Number of context frames to either side."""
        return max(1, round(self.context_seconds * self.rate_hz))

    def inputs(self, stored: Collection[str]) -> tuple[str, ...]:
        """The tensors that the head takes from a store which has those of `stored`.

        Raises ConfigurationError for a tensor that the head would ignore, or if it needs another one beside them.
        """
        from gebd.dataset.store_videos import FEATURES, FRAME_TENSORS  # with pandas, which options can do without

        flat = self.head is not HeadName.SIMILARITY
        usable = ("frame",) if flat else FRAME_TENSORS
        pairs = MOTION if set(MOTION) <= set(stored) else ()
        found = tuple(dict.fromkeys(self.tensors)) or tuple(name for name in (*usable, *pairs) if name in stored)
        ignored = [name for name in found if name in FRAME_TENSORS and name not in FEATURES] if flat else []
        alone = set(MOTION) & set(found)
        if ignored:
            expected, got = f"{', '.join((*FEATURES, *MOTION))} for a head {self.head}", ", ".join(ignored)
        elif len(alone) == 1:
            expected, got = f"both of {' and '.join(MOTION)}, or neither", f"{alone.pop()} alone"
        elif flat and not set(FEATURES) & set(found):
            expected, got = f"{' or '.join(FEATURES)} for a head {self.head}", ", ".join(found) or "none"
        else:
            return found
        raise ConfigurationError(f"tensors (--tensors): expected {expected}; got {got}. Name others, or none")

    def picker(self, threshold: float) -> BoundaryPicker:
        """Return the picker that turns scores into boundaries at a threshold."""
        return BoundaryPicker(self.picking, threshold, self.apart_seconds)

    def require_equal(self, other: HeadConfig, where: str) -> None:
        """Raise ConfigurationError that names every field of `other`, the current request, that differs."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        fields = [f"{n} was {mine[n]!r}, now {theirs[n]!r}" for n in mine if mine[n] != theirs[n]]
        if fields:
            raise ConfigurationError(
                f"{where} was trained with other options ({'; '.join(fields)}). Use the former, or another --out"
            )


def head_config(**values: Any) -> HeadConfig:
    """Build a configuration; raises ConfigurationError, in one sentence, for the first invalid value.

    The message names the field, and the option of `msnet gebd train` that corresponds to it.
    """
    try:
        return HeadConfig(**values)
    except ValidationError as error:
        raise ConfigurationError(first_refusal(error, _spoken)) from None


def _spoken(name: str) -> str:
    option = name.removeprefix("max_").removesuffix("_epochs").removesuffix("_seconds").replace("_", "-")
    return f"{name} (--{option})"
