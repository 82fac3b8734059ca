"""`FeatureDataset`: clips or videos of a store as samples for PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from extractor.store.reader import FeatureStore
from extractor.store.samples.blocks import BlockIndex, BlockReader, Blocks, blocks_of
from extractor.store.samples.labels import labels_of
from schemas.errors import UsageError
from schemas.layout import row_range
from schemas.table_columns import shown_names
from schemas.tensors import TENSORS

Unit = Literal["clip", "video"]
Sample = dict[str, Any]
Int64Array = npt.NDArray[np.int64]

_CACHE_BYTES = 64 * 1024 * 1024
_OURS = ("video_id", "row", "lengths")


class FeatureDataset(Dataset[Any]):
    """Clips or whole videos of a store, with labels: a map-style dataset for torch's DataLoader.

        dataset = FeatureDataset("STORE", ["frame"], labels=["label"], unit="video")
        loader = DataLoader(dataset, 16, sampler=ShardSampler(dataset, batch_size=16), collate_fn=pad_collate)

    A sample is a dict: the tensors by name, as `FeatureStore.clip` or `FeatureStore.video` has them, except that what
    is stored once a clip is a vector (D,) in a sample of a clip; the labels by name, each a tensor without dimensions;
    `video_id`; and `row`, the (first) row of the sample in `FeatureStore.manifest`.

    store: a FeatureStore or its path. tensors: names of the store's tensors. labels: columns of `FeatureStore.videos`,
    mostly those of the user's own table: whole numbers are int64, other numbers float32, text the number of its class.
    classes: by label, the classes in the order of their numbers; by default the sorted values of the whole store, so
    that parts agree. videos: ids of the videos to take; None takes all. transform: is given each sample, and what it
    returns is the sample. dtype: of features, which the store keeps in float16 or float32; None keeps that.
    cache_bytes: memory for blocks of samples, per process (see `ShardSampler`).

    Works with forked and spawned workers. Raises UsageError if a tensor, a label or a video is not there, a video has
    no label, or there is no sample; StoreError if the store cannot be read.
    """

    def __init__(
        self,
        store: FeatureStore | str | os.PathLike[str],
        tensors: Sequence[str] = ("clip",),
        labels: Sequence[str] = (),
        *,
        unit: Unit = "clip",
        classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
        videos: Iterable[str] | None = None,
        transform: Callable[[Sample], Any] | None = None,
        dtype: torch.dtype | None = torch.float32,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        if unit not in get_args(Unit):
            raise UsageError(f"expected unit 'clip' or 'video'; got {unit!r}. Use one of them")
        self.unit = unit
        self.tensors = _checked(tensors, labels, self.store)
        self.transform = transform
        self.dtype = dtype
        self.cache_bytes = cache_bytes
        self._labels = labels_of(self.store.videos, labels, classes) if labels else {}
        self._converted = {name for name in self.tensors if self.store.dtype(name).name in ("float16", "float32")}
        edges = self.store.first_clips()
        clips = np.arange(edges[-1])
        first, last = (clips, clips) if unit == "clip" else (edges[:-1], edges[1:] - 1)
        rows = self.store.row_ranges()
        self._first: Int64Array = first
        self._video: Int64Array = np.searchsorted(edges, first, side="right") - 1
        self._rows: Int64Array = np.stack([rows[first], rows[last]], axis=1)  # (S, 2, 5): first clip, last
        self._blocks: Blocks | None = None
        self._reader: BlockReader | None = None
        self._take(np.arange(len(self._first)) if videos is None else self._of(videos))

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Classes of the labels that are text, by label, in the order of their numbers."""
        return {name: label.classes for name, label in self._labels.items() if label.classes}

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have samples here, in the order of the store."""
        return tuple(self.store.video_ids[video] for video in np.unique(self._video))

    @property
    def lengths(self) -> Int64Array:
        """Frames of every sample (S,), to put samples of similar length into a batch (see `ShardSampler`)."""
        frames = self._range("frames")
        return frames[:, 1] - frames[:, 0]

    @property
    def blocks(self) -> Blocks:
        """Layout of the samples in the store, for samplers."""
        if self._blocks is None:
            ranges = {
                level: self._range(level) for level in dict.fromkeys(TENSORS[name].level for name in self.tensors)
            }
            self._blocks = blocks_of(self.store, self.tensors, self._first, ranges, self.cache_bytes)
        return self._blocks

    def subset(self, video_ids: Iterable[str]) -> FeatureDataset:
        """The dataset restricted to some of its videos; raises UsageError if one is not in it, or none is named."""
        part = copy(self)
        part._take(self._of(video_ids))
        return part

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, index: int) -> Any:
        number = range(len(self))[index]
        block = self._neighbours().around(number) if isinstance(index, BlockIndex) else None
        video = int(self._video[number])
        sample: Sample = {name: self._tensor(name, number, block) for name in self.tensors}
        for name, label in self._labels.items():
            sample[name] = torch.as_tensor(label.values[video])
        sample["video_id"] = self.store.video_ids[video]
        sample["row"] = int(self._first[number])
        return sample if self.transform is None else self.transform(sample)

    def __repr__(self) -> str:
        parts = [f"{len(self)} {self.unit}s", f"tensors {', '.join(self.tensors)}"]
        parts += [f"labels {', '.join(self._labels)}"] if self._labels else []
        return f"FeatureDataset({str(self.store.paths.root)!r}: {'; '.join(parts)})"

    def _tensor(self, name: str, number: int, block: Mapping[str, tuple[int, Any]] | None) -> Tensor:
        level = TENSORS[name].level
        start, stop = self._range(level, number).tolist()
        if block is None:
            rows = self.store.rows(name, int(self._first[number]), start, stop)
        else:
            low, rows = block[name]
            rows = rows[start - low : stop - low]
        if level == "clips" and self.unit == "clip":
            rows = rows[0]
        source = torch.from_numpy(rows)
        wanted = self.dtype if self.dtype is not None and name in self._converted else source.dtype
        return torch.empty(source.shape, dtype=wanted).copy_(source)  # a view would keep the block alive

    def _range(self, level: str, samples: int | slice = slice(None)) -> Int64Array:
        """First and one past the last row of samples (..., 2)."""
        rows = self._rows[samples]
        return np.stack([row_range(rows[..., 0, :], level)[0], row_range(rows[..., 1, :], level)[1]], axis=-1)

    def _neighbours(self) -> BlockReader:
        if self._reader is None:
            self._reader = BlockReader(self.store, self.tensors, self.blocks, self.cache_bytes)
        return self._reader

    def _of(self, video_ids: Iterable[str]) -> Int64Array:
        """Numbers of the samples of some videos."""
        wanted = set(video_ids)
        there = {name: video for video, name in enumerate(self.store.video_ids)}
        here = set(self._video.tolist())
        if unknown := sorted(name for name in wanted if there.get(name, -1) not in here):
            raise UsageError(f"expected videos of {self!r}; got {shown_names(unknown)}. Use ids from its video_ids")
        return np.flatnonzero(np.isin(self._video, [there[name] for name in wanted]))

    def _take(self, samples: Int64Array) -> None:
        """Keep these samples only."""
        if not len(samples):
            raise UsageError(f"expected at least one video for a dataset of {self.store!r}; got none. Name some of it")
        self._first, self._video, self._rows = self._first[samples], self._video[samples], self._rows[samples]
        self._blocks = self._reader = None
        for label in self._labels.values():
            label.require(np.unique(self._video), self.store.video_ids)


def _checked(tensors: Sequence[str], labels: Sequence[str], store: FeatureStore) -> tuple[str, ...]:
    """The tensors, once it is known that they are there and that no name means two things."""
    for what, names in (("tensors", tensors), ("labels", labels)):
        if isinstance(names, str):
            raise UsageError(f"expected a list of {what}; got the text {names!r}. Use [{names!r}]")
    unknown = [name for name in tensors if name not in store.tensors]
    if unknown or not tensors:
        got = shown_names(unknown) or "none"
        raise UsageError(f"expected tensors among {', '.join(store.tensors)}; got {got}. Use some of them")
    if twice := [name for name in labels if name in tensors or name in _OURS]:
        raise UsageError(f"expected labels named unlike tensors; got {shown_names(twice)}. Rename it in your table")
    return tuple(tensors)
