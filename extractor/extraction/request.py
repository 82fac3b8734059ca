"""What was asked for, in Python: the network, its weights, the sampling and the tensors (`Request`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields as fields_of, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict

from schemas.config import DecoderPolicy, Edges, Precision, Resize, Sampling, StorageFloat
from schemas.errors import ConfigurationError

_CHOICES: dict[str, type[StrEnum]] = {
    "sampling": Sampling,
    "edges": Edges,
    "resize": Resize,
    "dtype": Precision,
    "store_dtype": StorageFloat,
    "decoder": DecoderPolicy,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What changes features. None means the default for the network and the sampling.

    weights: path of a checkpoint ("A,B" for MSNet-En), a name of public weights, "bundled", or "random". rate_hz:
    sampling rate; 0 takes every frame. outputs: names of `schemas.tensors.output_choices`; "motion:4" keeps "motion" on
    a 4 x 4 grid, "motion:full" the whole map. edges: None takes what the checkpoint was made for. A field that the
    other fields make meaningless (a hop of segments, a seed of a checkpoint) must be None: anything else is refused.

    Choices may be given as text ("dense"), outputs as a list or as "clip,frame", weights as a Path. Raises
    ConfigurationError for a choice that there is not.
    """

    model: str = "msnet_resnet18"
    weights: str | None = None
    seed: int | None = None
    sampling: Sampling = Sampling.WINDOWS
    num_frames: int | None = None
    rate_hz: float | None = None
    hop: int | None = None
    clips: int | None = None
    edges: Edges | None = None
    outputs: tuple[str, ...] | None = None
    size: int = 224
    resize: Resize = Resize.STRETCH
    dtype: Precision = Precision.FLOAT32
    store_dtype: StorageFloat = StorageFloat.FLOAT16
    decoder: DecoderPolicy = DecoderPolicy.AUTO
    keep_corrupt: bool = False

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _choice(name, value, kind))
        if isinstance(self.outputs, str):
            object.__setattr__(self, "outputs", tuple(part.strip() for part in self.outputs.split(",")))
        elif self.outputs is not None:
            object.__setattr__(self, "outputs", tuple(self.outputs))
        if isinstance(self.weights, Path):
            object.__setattr__(self, "weights", str(self.weights))


class SamplingFields(TypedDict, total=False):
    """The fields of `Request` other than the network, each as a call may give it by name."""

    seed: int | None
    sampling: Sampling | str
    num_frames: int | None
    rate_hz: float | None
    hop: int | None
    clips: int | None
    edges: Edges | str | None
    outputs: Sequence[str] | str | None
    size: int
    resize: Resize | str
    dtype: Precision | str
    store_dtype: StorageFloat | str
    decoder: DecoderPolicy | str
    keep_corrupt: bool


class RequestFields(SamplingFields, total=False):
    """All fields of `Request`."""

    model: str
    weights: str | Path | None


def with_fields(request: Request | None, fields: Mapping[str, Any]) -> Request:
    """A request (None: the default one) with some of its fields replaced, as calls take them by name.

    Raises ConfigurationError for a name that is no field of it.
    """
    known = [field.name for field in fields_of(Request)]
    for name in fields:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            advice = f"Did you mean {near[0]}?" if near else "Correct it, or leave it out."
            raise ConfigurationError(f"expected fields among {', '.join(known)}; got {name}. {advice}")
    return replace(request or Request(), **fields)


def _choice(name: str, value: str, kind: type[StrEnum]) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise ConfigurationError(f"expected {name} among {', '.join(kind)}; got {value!r}. Use one of them") from None
