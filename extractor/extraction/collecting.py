"""Rows of one video kept in memory, where a store would stage them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from extractor.extraction.features import Array, VideoPart
from extractor.store.disk.rows import RowLevels, as_read
from schemas.errors import VideoError
from schemas.layout import DatasetSpec
from schemas.manifest import manifest_frame
from schemas.records import Failure
from schemas.tensors import TENSORS, NetworkShape

_OF_STORES = ["shard", "file"]


class VideoRows:
    """A `Staging` of one video, and the `ItemWriter` of its rows, which are in the formats of a store."""

    def __init__(self, datasets: Sequence[DatasetSpec], shape: NetworkShape) -> None:
        by_path = {spec.path: spec for spec in datasets}
        self._names = {stored.path: name for name, stored in TENSORS.items() if stored.path in by_path}
        self._specs = by_path
        self._width = shape.cells[1]
        self._levels = RowLevels(datasets)
        self._video_id = ""
        self._begun = self._restarts = False
        self._rows: dict[str, list[Array]] = {}
        self._clips: pd.DataFrame | None = None

    def item(self, video_id: str) -> VideoRows:
        """The writer of the video."""
        self._video_id = video_id
        return self

    def fail(self, failure: Failure) -> None:
        """Raise VideoError: the video has no features."""
        raise VideoError(failure.failure, failure.message)

    def append(self, rows: Mapping[str, Any]) -> None:
        """Take rows, as a store's writer does."""
        for of_level in self._levels.converted(rows).values():
            for path, array in of_level.items():
                self._rows.setdefault(path, []).append(array)

    def finish(self, clips: Sequence[Mapping[str, Any]]) -> None:
        """Take the manifest row of every clip; no more rows come."""
        rows = [
            {"video_id": self._video_id, "clip_row": number, **dict.fromkeys(_OF_STORES, ""), **clip}
            for number, clip in enumerate(clips)
        ]
        self._clips = manifest_frame(rows).drop(columns=_OF_STORES)

    def reset(self) -> None:
        """Drop all rows: another decoder starts the file over."""
        self._start_over()
        self._restarts = self._begun

    def take(self) -> VideoPart | None:
        """What has come since the last part; None if that is nothing."""
        if not self._rows and self._clips is None:
            return None
        tensors = {
            name: as_read(name, _together(self._rows[path]), self._width)
            for path, name in self._names.items()
            if path in self._rows
        }
        part = VideoPart(tensors, self._restarts, self._clips)
        self._begun = True
        self._start_over()
        return part

    def empty(self) -> dict[str, Array]:
        """Every tensor without rows."""
        return {
            name: as_read(name, np.empty((0, *self._specs[path].shape), self._specs[path].dtype), self._width)
            for path, name in self._names.items()
        }

    def _start_over(self) -> None:
        self._rows, self._clips, self._restarts = {}, None, False


def _together(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
