"""Tensors of a store by name: which there are, of what rows, and rows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from extractor.store.disk.open_shards import OpenShards
from extractor.store.disk.rows import Array, as_read, neighbours
from schemas.errors import StoreError
from schemas.layout import DatasetSpec
from schemas.tensors import TENSORS


class StoredTensors:
    """Tensors in the datasets of shards, which `files` opens. width: of the maps of pairs, in cells."""

    def __init__(self, files: OpenShards, datasets: Sequence[DatasetSpec], width: int) -> None:
        by_path = {spec.path: spec for spec in datasets}
        self._specs = {name: by_path[stored.path] for name, stored in TENSORS.items() if stored.path in by_path}
        self._files, self._width = files, width
        self.names = tuple(self._specs)

    def spec(self, name: str) -> DatasetSpec:
        """The dataset that holds a tensor. Raises StoreError where there is none."""
        if name not in self._specs:
            self.checked([name])
        return self._specs[name]

    def checked(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """These names, or all. Raises StoreError where one is not that of a tensor."""
        if names is None:
            return self.names
        if isinstance(names, str) or not set(names) <= set(self.names):
            raise StoreError(f"expected names among {', '.join(self.names)}; got {names!r}")
        return tuple(names)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Dtype of a tensor as it is read."""
        spec = self.spec(name)
        return np.dtype(bool) if name in ("valid", "tied") else np.dtype(spec.dtype)

    def row_shape(self, name: str) -> tuple[int, ...]:
        """Shape of one row of a tensor as it is read."""
        shape = self.spec(name).shape
        return (shape[0], self._width) if name == "tied" else shape

    def read(self, name: str, shard: tuple[str, str], start: int, stop: int) -> Array:
        """Rows [start, stop) of a tensor. shard: its name, and the attempt that committed it."""
        return as_read(name, self._files.read(*shard, self._specs[name].path, start, stop), self._width)

    def gather(self, name: str, shard: tuple[str, str], starts: Array, stops: Array) -> Iterator[tuple[int, Array]]:
        """(position, rows) for row ranges of one shard; neighbouring ranges are read at once."""
        for places, low, high in neighbours(starts, stops, self._specs[name].row_bytes):
            rows = self.read(name, shard, low, high)
            for place in places:
                part = rows[int(starts[place]) - low : int(stops[place]) - low]
                yield place, part if len(places) == 1 else part.copy()
