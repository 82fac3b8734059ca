"""The frozen configuration of an extraction, and its digest."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.errors import ConfigurationError
from schemas.tensors import named_outputs, output_choices

FORMAT_VERSION = 2
"""Version of the store's layout. docs/format.md describes it and lists how version 1 differs."""

IMPORTED = "imported:"
"""How `model` begins in a store of features that another program made."""


class Sampling(StrEnum):
    """How clips are cut from an item.

    Windows and dense clips are ranges of one continuous pass over the item; segments and clips are separate sequences.
    """

    WINDOWS = "windows"
    DENSE = "dense"
    SEGMENTS = "segments"
    CLIPS = "clips"

    @property
    def is_continuous(self) -> bool:
        """Whether clips are ranges of one pass over the item, so each frame is computed and stored once."""
        return self in (Sampling.WINDOWS, Sampling.DENSE)


class Edges(StrEnum):
    """What the temporal shift reads for a neighbour beyond the ends of a sequence.

    ZEROS is what the reference code and the TSM releases were trained with; inner frames never see it. REPEAT is the
    frame itself.
    """

    REPEAT = "repeat"
    ZEROS = "zeros"


class Resize(StrEnum):
    """How a native frame becomes the network's square input."""

    STRETCH = "stretch"
    CROP = "crop"
    REFERENCE = "reference"
    LETTERBOX = "letterbox"


class Precision(StrEnum):
    """Number format in which the network computes (autocast)."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class StorageFloat(StrEnum):
    """Number format in which the store keeps tensors."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


class DecoderPolicy(StrEnum):
    """Which decoder may be used.

    AUTO: decord, and PyAV where decord may be wrong. SPARSE: the same, but PyAV decodes H.264 without flags and leaves
    out the frames that nobody needs; damage inside these goes unseen.
    """

    AUTO = "auto"
    PYAV = "pyav"
    DECORD = "decord"
    SPARSE = "sparse"


_OF_SAMPLING = ("num_frames", "rate_hz", "hop", "clips")

MotionForm = str
"""How motion maps are kept: "pooled" (mean over cells), "full", or the side of a grid as digits ("4")."""


_LATER_FIELDS: dict[str, Any] = {}
"""Fields that were added within a format version, with the value that stores without them stand for.

At that value a field is not part of the digest, so that older stores keep theirs.
"""


class ExtractionConfig(BaseModel):
    """Everything that changes a feature, and nothing that does not.

    Runs with equal digests write interchangeable features. The constructor sets fields that mean nothing for the
    sampling to None (a dense run has no hop), so that they cannot change the digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    weights: str = Field(
        description='"random", the SHA-256 of the checkpoint (two, joined by a comma, for MSNet-En), or "unknown"'
    )
    seed: int | None = Field(default=None, description="seed of random weights; None with a checkpoint")
    sampling: Sampling = Sampling.WINDOWS
    num_frames: int | None = Field(default=8, ge=2, le=1024)
    rate_hz: float | None = Field(default=10.0, gt=0, le=1000, allow_inf_nan=False)
    hop: int | None = Field(default=None, ge=1)
    clips: int | None = Field(default=1, ge=1, le=1000)
    edges: Edges = Edges.REPEAT
    outputs: tuple[str, ...] = Field(
        default_factory=lambda: tuple(name for name, tensor in output_choices().items() if tensor.by_default)
    )
    motion_form: MotionForm | None = Field(default="pooled", pattern=r"^(pooled|full|[1-9][0-9]?)$")
    size: int = Field(default=224, ge=32, le=1024)
    resize: Resize = Resize.STRETCH
    dtype: Precision = Precision.FLOAT32
    store_dtype: StorageFloat = StorageFloat.FLOAT16
    decoder: DecoderPolicy = DecoderPolicy.AUTO
    keep_corrupt: bool = False
    format_version: int = FORMAT_VERSION

    @model_validator(mode="before")
    @classmethod
    def _drop_meaningless(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        sampling = data.get("sampling", Sampling.WINDOWS)
        if sampling in (Sampling.WINDOWS, Sampling.CLIPS):
            data["clips"] = None
            if data.get("hop") is None:
                data["hop"] = data.get("num_frames") or 8
        elif sampling == Sampling.SEGMENTS:
            data["rate_hz"] = data["hop"] = None
        elif sampling == Sampling.DENSE:
            data["num_frames"] = data["hop"] = data["clips"] = None
        if data.get("weights") != "random":
            data["seed"] = None
        if data.get("format_version", FORMAT_VERSION) == 1:
            data["edges"] = Edges.ZEROS
        if "outputs" in data:
            chosen = set(data["outputs"])
            if unknown := chosen - output_choices().keys():
                raise ValueError(f"expected outputs among {named_outputs()}; got {min(unknown)!r}")
            data["outputs"] = tuple(name for name in output_choices() if name in chosen)
            if "motion" not in chosen:
                data["motion_form"] = None
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.outputs:
            raise ValueError(f"expected at least one tensor in outputs; got none. Name some of {named_outputs()}")
        if self.weights == "random" and self.seed is None:
            raise ValueError("expected a seed for random weights; got none. Give one")
        return self

    @property
    def is_imported(self) -> bool:
        """Whether another program made the features. Then size, resize, dtype, decoder and edges say nothing."""
        return self.model.startswith(IMPORTED)

    def digest(self) -> str:
        """SHA-256 (hex) over all fields in canonical JSON."""
        fields = self.model_dump(mode="json")
        for name, value in _LATER_FIELDS.items():
            if fields[name] == value:
                del fields[name]
        if self.format_version < 2:  # version 1 had no field edges; they were zeros
            del fields["edges"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def differences(self, other: ExtractionConfig) -> dict[str, tuple[Any, Any]]:
        """Fields in which `other` differs, with both values as in JSON: {"size": (64, 96)}."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        differing = [name for name in mine if mine[name] != theirs[name]]
        if "sampling" in differing:  # a field that only one of the samplings has differs as a consequence
            differing = [
                name for name in differing if name not in _OF_SAMPLING or None not in (mine[name], theirs[name])
            ]
        return {name: (mine[name], theirs[name]) for name in differing}

    def require_equal(self, other: ExtractionConfig) -> None:
        """Raise ConfigurationError, naming every field in which `other` (the configuration of this call) differs."""
        fields = [
            f"{name}: expected {mine!r}, got {theirs!r}" for name, (mine, theirs) in self.differences(other).items()
        ]
        if fields:
            raise ConfigurationError(
                f"the store was made with another configuration ({'; '.join(fields)}). "
                "Use the store's own options, or another --out"
            )
