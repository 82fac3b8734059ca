"""What extracting one video returns: `VideoFeatures` as a whole, `VideoPart` as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.config import ExtractionConfig
from schemas.layout import row_range
from schemas.tensors import TENSORS
from schemas.wording import counted

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class VideoPart:
    """The rows of a video that have become known, by the names of its tensors; those of the tensors follow one another.

    A part need not hold every tensor, and rows of different tensors come at different times. restarts: all parts before
    this one are void, and the rows begin anew, because another decoder began the file again. clips: of the last part,
    the table as in `VideoFeatures`; else None.
    """

    tensors: dict[str, Array]
    restarts: bool = False
    clips: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False, repr=False)
class VideoFeatures(Mapping[str, Array]):
    """The features of one video: a mapping from names to arrays, which are those of `FeatureStore.video`.

    clips: one row per clip with the manifest's columns, without `shard` and `file`; row ranges count from the
    video's first row, so that `features["frame"][row.frame_start : row.frame_stop]` are a clip's frames.
    """

    video_id: str
    tensors: dict[str, Array]
    clips: pd.DataFrame
    config: ExtractionConfig

    def clip(self, number: int) -> dict[str, Array]:
        """Tensors by name of the clip in row `number` of `clips`, as `FeatureStore.clip` returns them."""
        if not -len(self.clips) <= number < len(self.clips):
            raise IndexError(f"expected the number of one of {counted(len(self.clips), 'clip')}; got {number}")
        row = self.clips.iloc[number]
        ranges = row[["clip_row", "frame_start", "frame_stop", "pair_start", "pair_stop"]].to_numpy(np.int64)
        return {name: array[slice(*row_range(ranges, TENSORS[name].level))] for name, array in self.tensors.items()}

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.tensors.items())
        return f"VideoFeatures({self.video_id!r}: {counted(len(self.clips), 'clip')}; {shapes})"


def joined(
    video_id: str, parts: Sequence[VideoPart], config: ExtractionConfig, empty: Mapping[str, Array]
) -> VideoFeatures:
    """The features of all parts together. empty: every tensor without rows."""
    first = max((number for number, part in enumerate(parts) if part.restarts), default=0)
    kept = parts[first:]
    tensors = {}
    for name, nothing in empty.items():
        found = [part.tensors[name] for part in kept if name in part.tensors]
        tensors[name] = found[0] if len(found) == 1 else np.concatenate(found) if found else nothing
    clips = parts[-1].clips
    assert clips is not None  # a video that fails raises before its last part
    return VideoFeatures(video_id, tensors, clips, config)
