"""`GEBDDataset`: slices of videos with features and labels, for a DataLoader."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from extractor.store import FeatureStore
from extractor.store.samples.blocks import BlockIndex, Blocks
from gebd.annotations.identity import Join, join_videos
from gebd.annotations.loading import Source, load_annotations
from gebd.annotations.records import Annotations, Raters, VideoAnnotation
from gebd.annotations.values import one_of, shown
from gebd.dataset.entries import check_numbers, checked_tensors, entries_of
from gebd.dataset.index import Boundaries, index_videos
from gebd.dataset.join_report import JoinReport, report_on_join, report_on_sampling
from gebd.dataset.reader import SliceReader
from gebd.dataset.samples import Sample
from gebd.dataset.store_videos import FEATURES, PAIR_TENSORS, StoreVideos
from schemas.errors import UsageError

Positive = Literal["centre", "any"]

_CACHE_BYTES = 64 * 1024 * 1024
_MIN_HZ = 5.0
_RATE_SLACK = 0.99  # a store of 5 frames a second may measure 4.99 if the last frame is late


class GEBDDataset(Dataset[Sample]):
    """Slices of the videos of a store, as `Sample`s; a map-style dataset for torch's DataLoader.

    store: a FeatureStore or its path. annotations: anything `load_annotations` accepts; with None the dataset holds
    every video of the store, without targets. `join` reports what was joined; only joined videos are in the dataset.
    Without raters' marks, as in a list of videos, annotations only select and name the videos: there are no targets.

    rate_hz: sampling rate, independent of the store's: samples are taken at k / rate_hz (see `resample`); None keeps
    the stored frames. window_seconds: length of a slice, None for whole videos. hop_seconds: distance between the
    starts of slices, None for window_seconds. tensors: any of the store's by frame ("frame", "stage3_2x2", ...) and by
    pair ("displacement", "confidence"), side by side in `Sample.tensors`. Soft labels are Gaussians with sigma
    label_sigma_seconds around the boundaries of `raters` (see `Raters`); hard labels are positive within one sigma.

    member: a network of an ensemble. pattern and starts_seconds: see `join_videos`. cache_bytes: memory for blocks of
    samples, per process (see `ShardSampler`).

    Works with forked and spawned workers. Raises UsageError if an option is invalid, no video is left, or the store
    lacks a tensor; StoreError if the store cannot be read. Warns below 5 samples a second.
    """

    def __init__(
        self,
        store: FeatureStore | str | os.PathLike[str],
        annotations: Source | Annotations | None = None,
        rate_hz: float | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        label_sigma_seconds: float = 0.15,
        raters: Raters | str = Raters.BEST,
        tensors: Sequence[str] = ("frame",),
        *,
        member: int | None = None,
        pattern: str | None = None,
        starts_seconds: Mapping[str, float] = MappingProxyType({}),
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        self.rate_hz, self.window_seconds, self.hop_seconds = rate_hz, window_seconds, hop_seconds
        self.label_sigma_seconds = label_sigma_seconds
        check_numbers(rate_hz, window_seconds, hop_seconds, label_sigma_seconds)
        self.raters = one_of("raters", raters, tuple(Raters))
        self.tensors = checked_tensors(tensors, self.store)
        self.annotations = None if annotations is None else load_annotations(annotations)
        stored = StoreVideos(self.store, member)
        self._joined: Join | None = None
        if self.annotations is not None:
            self._joined = join_videos(
                stored.ids, self.annotations, pattern=pattern, starts_seconds=starts_seconds, spans=stored.spans
            )
        entries = entries_of(stored, self.annotations, self._joined)
        self._samples, self._slices = index_videos(stored, entries, rate_hz, window_seconds, hop_seconds)
        self._boundaries: Boundaries | None = None
        chosen = [] if self.annotations is None else [self.annotations[entry.video_id] for entry in entries]
        if self.annotations is not None and all(video.num_raters for video in self.annotations.values()):
            self._boundaries = Boundaries(chosen, label_sigma_seconds, self.raters)
        self._reader = SliceReader(self.store, self._samples, self._slices, self.tensors, cache_bytes)
        self._warn_of_low_rate()

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> Sample:
        number = range(len(self))[index]
        rows = self._reader.read(number, whole_block=isinstance(index, BlockIndex))
        video, part = self._part(number)
        times = self._samples.time_seconds[part]
        start = float(self._slices.start_seconds[number])
        soft = hard = of_raters = rater_times = None
        if self._boundaries is not None:
            soft, hard, of_raters = self._boundaries.targets(video, times)
            end = math.inf if self.window_seconds is None else start + self.window_seconds
            rater_times = self._boundaries.within(video, -math.inf if self.window_seconds is None else start, end)
        wants_pairs = any(name in self.tensors for name in PAIR_TENSORS)
        return Sample(
            tensors=_motion_averaged(rows),
            valid=self._samples.valid[part].copy(),
            time_seconds=times.copy(),
            pair_valid=self._samples.pair_valid[part].copy() if wants_pairs else None,
            target_hard=hard,
            target_soft=soft,
            rater_targets=of_raters,
            rater_times=rater_times,
            duration_seconds=float(self._samples.duration_seconds[video]),
            fps=float(self._samples.fps[video]),
            video_id=str(self._samples.video_ids[video]),
            slice_start_seconds=start,
        )

    @cached_property
    def join(self) -> JoinReport:
        """Report on the join and on what the sampling can represent; for a subset, still on the whole dataset."""
        found = None
        if self.annotations is not None and self._joined is not None:
            found = report_on_join(
                self._joined,
                self.annotations,
                self._samples,
                self._boundaries,
                (self.raters, self.label_sigma_seconds),
                self.store.failures,
            )
        return JoinReport(len(self._samples.video_ids), report_on_sampling(self._samples, self.rate_hz), found)

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos in the order of the store: those of the annotations if any, else of the store."""
        return tuple(self._samples.video_ids[np.unique(self._slices.video)].tolist())

    def row_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a row of one of `tensors`, as batches have it."""
        shape = self.store.row_shape(name)
        return shape[:1] if name == "motion" else shape

    @property
    def items(self) -> Mapping[str, str]:
        """Ids in the store by `video_ids`, also of videos outside this subset."""
        return self._joined.items if self._joined is not None else {name: name for name in self.video_ids}

    @property
    def num_channels(self) -> int:
        """Channels C of `features`; 0 if neither "frame" nor "motion" was asked for."""
        return sum(self.store.row_shape(name)[0] for name in self.tensors if name in FEATURES)

    @property
    def blocks(self) -> Blocks:
        """Layout of the slices in the store, for samplers."""
        return self._reader.blocks

    def stretch(self, video_id: str) -> tuple[float, float | None]:
        """Where a video lies in its item: zero of its clock, on that of the container, and its end on its own clock.

        The end is None if it ends with the item. Raises UsageError for a video that is not in this dataset.
        """
        number = np.flatnonzero(self._samples.video_ids == video_id)
        if not len(number):
            raise UsageError(f"expected a video of this dataset; got {shown(video_id)}. Use one of `video_ids`")
        start, until = (float(of[number[0]]) for of in (self._samples.start_seconds, self._samples.until_seconds))
        return start, None if math.isnan(until) else until

    def annotation(self, video_id: str) -> VideoAnnotation:
        """Return the annotation of a video; raises UsageError if it has none."""
        if self.annotations is None or video_id not in self.annotations:
            raise UsageError(f"expected a video with an annotation; got {shown(video_id)}. Use one of `video_ids`")
        return self.annotations[video_id]

    def subset(self, video_ids: Iterable[str]) -> GEBDDataset:
        """Return the dataset restricted to some videos, for training and validation parts.

        Raises UsageError if a video is not in this dataset, or none is named.
        """
        wanted = set(video_ids)
        unknown = wanted.difference(self.video_ids)
        if unknown or not wanted:
            named = ", ".join(sorted(map(shown, unknown))[:3]) or "none"
            raise UsageError(f"expected videos of this dataset; got {named}. Use ids from its video_ids")
        part = copy(self)
        chosen = np.isin(self._samples.video_ids, list(wanted))
        part._slices = self._slices.where(chosen[self._slices.video])
        part._reader = SliceReader(self.store, self._samples, part._slices, self.tensors, self._reader.cache_bytes)
        return part

    def class_weights(self) -> Tensor:
        """Return (2,) float32 weights of negative and positive samples that balance the classes: n / (2 n_class).

        Every valid sample of the videos counts once, however many slices contain it. Raises UsageError if all samples
        belong to one class, or there are no annotations.
        """
        here = np.zeros(len(self._samples.video_ids), dtype=bool)
        here[self._slices.video] = True
        chosen = self._positive[np.repeat(here, np.diff(self._samples.edges)) & self._samples.valid]
        positive = int(chosen.sum())
        if not 0 < positive < len(chosen):
            raise UsageError(
                f"expected samples of both classes; got {positive} of {len(chosen)} positive. Add videos of the other "
                "class, or use no class weights"
            )
        counts = torch.tensor([len(chosen) - positive, positive], dtype=torch.float32)
        return len(chosen) / (2 * counts)

    def positive(self, where: Positive = "centre") -> npt.NDArray[np.bool_]:
        """Return (len(self),) whether the middle sample of each slice is a boundary; with "any", whether one is."""
        one_of("where", where, get_args(Positive))
        first, stop = self._slices.first, self._slices.stop
        hard = self._positive
        if where == "centre":
            return hard[first + (stop - first) // 2]
        sums = np.concatenate([[0], np.cumsum(hard)])
        return sums[stop] > sums[first]

    @cached_property
    def _positive(self) -> npt.NDArray[np.bool_]:
        """Whether each sample of all videos is valid and has a positive hard label."""
        if self._boundaries is None:
            raise UsageError("expected classes of samples; got a dataset without annotations by raters. Pass some")
        found = [
            self._boundaries.targets(video, self._samples.time_seconds[self._samples.of(video)])[1] > 0
            for video in range(len(self._samples.video_ids))
        ]
        return np.concatenate(found) & self._samples.valid

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "join"}  # workers need no report

    def _part(self, number: int) -> tuple[int, slice]:
        first, stop = int(self._slices.first[number]), int(self._slices.stop[number])
        return int(self._slices.video[number]), slice(first, stop)

    def _warn_of_low_rate(self) -> None:
        hz = report_on_sampling(self._samples, self.rate_hz).samples_hz
        if hz >= _RATE_SLACK * _MIN_HZ or math.isnan(hz):
            return
        lost = ""
        if self._joined is not None:
            found = self.join.annotations
            lost = f" ({found.unrepresented} of {found.boundaries} here)" if found is not None else ""
        warnings.warn(
            f"{hz:.3g} frames a second: below {_MIN_HZ:g}, boundaries fall between samples{lost} and neighbours merge "
            "into one label. Extract with --sampling dense --rate-hz 10",
            UserWarning,
            stacklevel=3,
        )


def _motion_averaged(rows: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Motion stored on a grid or in full is averaged over it: whole maps would fill a batch, and heads take (T, C)."""
    motion = rows.get("motion")
    if motion is None or motion.ndim == 2:
        return rows
    return rows | {"motion": motion.mean(axis=(2, 3), dtype=np.float32)}
