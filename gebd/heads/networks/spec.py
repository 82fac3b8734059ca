"""What a head is built from: `HeadSpec`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

MOTION = ("displacement", "confidence")
"""Tensors of pairs of frames, used together."""

GROUPS = 4
"""Of the channels in which the similarity head compares vectors; its width is a multiple."""

_MOST_CONTEXT_FRAMES = 128
_MOST_WIDTH = 4096
_MOST_TENSORS = 64
_MOST_VALUES = 1 << 20  # of a tensor's row


class HeadName(StrEnum):
    """Available heads."""

    CONTRAST = "contrast"  # the official baseline, "PC"
    TEMPORAL = "temporal"
    SIMILARITY = "similarity"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The architecture of a head.

    tensors: what it takes, each with the shape of a row, of a frame or of a pair. context_frames: compared to either
    side of a frame. width: channels inside. appearance: channels for the look of frames (`temporal`).

    Raises ValueError if a number is out of bounds, because a spec may come from a file.
    """

    name: HeadName
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    context_frames: int
    width: int
    dropout: float
    appearance: int = 0

    def __post_init__(self) -> None:
        sizes = [math.prod(shape) if shape and min(shape) > 0 else 0 for _, shape in self.tensors]
        if (
            not 1 <= len(sizes) <= _MOST_TENSORS
            or not all(1 <= size <= _MOST_VALUES for size in sizes)
            or not 1 <= self.context_frames <= _MOST_CONTEXT_FRAMES
            or not 1 <= self.width <= _MOST_WIDTH
            or not 0 <= self.appearance <= _MOST_WIDTH
            or not 0 <= self.dropout < 1
            or len(self.shapes) < len(self.tensors)
        ):
            raise ValueError(
                f"expected a head of 1 to {_MOST_TENSORS} different tensors of at most {_MOST_VALUES} values, at most "
                f"{_MOST_CONTEXT_FRAMES} context_frames and a width of {_MOST_WIDTH}, dropout in [0, 1); got {self}"
            )
        if self.name is HeadName.SIMILARITY and self.width % GROUPS:
            raise ValueError(f"expected a width that is a multiple of {GROUPS}; got {self}")
        motion = [self.shapes[name] for name in MOTION if name in self.shapes]
        if motion and [(len(shape), shape[:1], shape[1:]) for shape in motion] != [
            (3, (2,), motion[0][1:]),
            (3, (1,), motion[0][1:]),
        ]:
            raise ValueError(f"expected both of {' and '.join(MOTION)}, maps of one size, or neither; got {self}")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row of every tensor, by name."""
        return dict(self.tensors)

    @property
    def uses_motion(self) -> bool:
        """Whether displacement and confidence are among the tensors."""
        return set(MOTION) <= self.shapes.keys()

    def content(self) -> dict[str, Any]:
        """Return plain values from which `HeadSpec.of` restores the spec."""
        return asdict(self) | {"name": self.name.value}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> HeadSpec:
        """Restore a spec from `content`; raises KeyError, ValueError or TypeError if it is invalid."""
        tensors = tuple((str(name), tuple(int(side) for side in shape)) for name, shape in content["tensors"])
        return cls(**(dict(content) | {"name": HeadName(content["name"]), "tensors": tensors}))
