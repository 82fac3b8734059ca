"""What the extractor tells the writer beside it: items that begin and end, and rows of batches that hold many items.

Items are numbered by the extractor. Messages are handled in order; rows of an item that was dropped are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.records import Failure, Int64Array, ItemPlan
from schemas.tensors import TENSORS

Rows = dict[str, npt.NDArray[np.generic]]
"""Rows by path of the dataset ("frames/feature"). Datasets of one group may have different numbers of rows."""

ROW_KINDS = ("frames", "stage2", "stage3", "pairs", "clips")
"""Fields of a batch's plan that count rows. Stages of a frame are known earlier than its feature."""

_EARLY = {"motion": "stage2", "stage2": "stage2", "stage3": "stage3"}  # by attribute of the network's output


def row_kinds() -> dict[str, str]:
    """Which of `ROW_KINDS` the rows of each dataset are, by path."""
    return {stored.path: _EARLY.get(stored.attribute or "", stored.level) for stored in TENSORS.values()}


@dataclass(frozen=True, slots=True)
class ItemBegins:
    """An item of a shard begins, and its rows will follow as its plan says."""

    item: int
    shard: str
    plan: ItemPlan


@dataclass(frozen=True, slots=True)
class FramesDamaged:
    """Frames at these positions of the item's plan are not valid. Comes before their rows."""

    item: int
    positions: Int64Array


@dataclass(frozen=True, slots=True)
class BatchRows:
    """Rows of one batch of the network, in the store's formats.

    spans: (K, 7), one row for each piece of a sequence in the order of the rows: the item, the number of the sequence
    within it, and how many rows of each of `ROW_KINDS` are the piece's.
    """

    rows: Rows
    spans: Int64Array


@dataclass(frozen=True, slots=True)
class ItemDecoded:
    """The item's file was decoded to its end: once all of its rows are there, it is whole.

    of_video: what every manifest row of the item says about the video.
    """

    item: int
    of_video: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ItemDropped:
    """The item will not become whole; nothing of it is kept."""

    item: int


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """An item of a shard failed for good."""

    shard: str
    failure: Failure


Message = ItemBegins | FramesDamaged | BatchRows | ItemDecoded | ItemDropped | ItemFailed


@dataclass(frozen=True, slots=True)
class ItemDone:
    """An item whose features are durable."""

    video_id: str
    clips: int
    frames: int
