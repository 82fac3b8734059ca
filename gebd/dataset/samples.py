"""What a dataset returns: `Sample`, one slice of one video, and `Batch`, several padded to one length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.errors import UsageError

Array = npt.NDArray[Any]
RaterTimes = tuple[tuple[float, ...], ...]
"""Boundaries of every rater, in seconds."""

_SHARED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One slice of one video: T samples, R raters. Floats have the store's dtype.

    features (T, C). valid (T,) bool: False if the frame is damaged or says nothing about its instant. time_seconds (T,)
    float64, from the start of the video (or of the annotated stretch), like boundaries.

    If requested: displacement (T, 2, h, w) in cells and confidence (T, 1, h, w) of the pair of frames that begins with
    the sample's frame; pair_valid (T,) bool: False if there is no such pair, then the previous pair is repeated (zeros
    if there is no previous one).

    With annotations: target_hard (T,) float32, 0 or 1; target_soft (T,) float32; rater_targets (R, T) float32, soft, in
    the file's order of raters; rater_times: boundaries of every rater within the slice.

    duration_seconds: as annotated, else as extracted; fps likewise (NaN if unknown). video_id: of the annotation, else
    of the store. slice_start_seconds: on the clock of time_seconds.
    """

    features: Array
    valid: npt.NDArray[np.bool_]
    time_seconds: npt.NDArray[np.float64]
    displacement: Array | None
    confidence: Array | None
    pair_valid: npt.NDArray[np.bool_] | None
    target_hard: npt.NDArray[np.float32] | None
    target_soft: npt.NDArray[np.float32] | None
    rater_targets: npt.NDArray[np.float32] | None
    rater_times: RaterTimes | None
    duration_seconds: float
    fps: float
    video_id: str
    slice_start_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B samples, padded to the longest: the fields of `Sample` with B in front. Floats are float32, times float64.

    Padding is 0 and not `valid`. rater_valid (B, R) distinguishes raters that a video does not have from raters who
    marked nothing. Fields that no sample has are None.
    """

    features: Tensor
    valid: Tensor
    time_seconds: Tensor
    displacement: Tensor | None
    confidence: Tensor | None
    pair_valid: Tensor | None
    target_hard: Tensor | None
    target_soft: Tensor | None
    rater_targets: Tensor | None
    rater_valid: Tensor | None
    rater_times: tuple[RaterTimes, ...] | None
    duration_seconds: Tensor
    fps: Tensor
    video_id: tuple[str, ...]
    slice_start_seconds: Tensor

    def __len__(self) -> int:
        return len(self.video_id)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch with all tensors on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; called by a DataLoader with `pin_memory=True`."""
        return self._each(lambda tensor: tensor.pin_memory())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle small tensors as bytes: sharing one between processes costs a file descriptor and a connection."""
        values = (getattr(self, field.name) for field in fields(self))
        return _restored, tuple(value.numpy() if _is_small(value) else value for value in values)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {
            name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()
        }
        return Batch(**changed)


def _is_small(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu" and value.nbytes < _SHARED_BYTES


def _restored(*values: Any) -> Batch:
    tensors: list[Any] = [torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in values]
    return Batch(*tensors)


def collate(samples: Sequence[Sample]) -> Batch:
    """Collate samples of any lengths into one batch; the `collate_fn` of a DataLoader.

    Raises UsageError if some samples have a tensor that others lack.
    """
    if not samples:
        raise UsageError("expected at least one sample in a batch; got none. Pass samples")
    length = max(len(sample.valid) for sample in samples)
    raters = [sample.rater_targets for sample in samples]
    times = [sample.rater_times for sample in samples]
    return Batch(
        features=_required([sample.features for sample in samples], length, torch.float32),
        valid=_required([sample.valid for sample in samples], length, torch.bool),
        time_seconds=_required([sample.time_seconds for sample in samples], length, torch.float64),
        displacement=_padded([sample.displacement for sample in samples], length, torch.float32),
        confidence=_padded([sample.confidence for sample in samples], length, torch.float32),
        pair_valid=_padded([sample.pair_valid for sample in samples], length, torch.bool),
        target_hard=_padded([sample.target_hard for sample in samples], length, torch.float32),
        target_soft=_padded([sample.target_soft for sample in samples], length, torch.float32),
        rater_targets=_padded_raters(raters, length),
        rater_valid=_raters_there(raters),
        rater_times=None if any(one is None for one in times) else tuple(one for one in times if one is not None),
        duration_seconds=torch.tensor([sample.duration_seconds for sample in samples], dtype=torch.float64),
        fps=torch.tensor([sample.fps for sample in samples], dtype=torch.float64),
        video_id=tuple(sample.video_id for sample in samples),
        slice_start_seconds=torch.tensor([sample.slice_start_seconds for sample in samples], dtype=torch.float64),
    )


def _required(arrays: Sequence[Array], length: int, dtype: torch.dtype) -> Tensor:
    found = torch.empty((len(arrays), length, *arrays[0].shape[1:]), dtype=dtype)
    for row, array in zip(found, arrays, strict=True):
        row[: len(array)] = torch.from_numpy(array)  # converts while copying, without a temporary float32 array
        row[len(array) :] = 0
    return found


def _padded(arrays: Sequence[Array | None], length: int, dtype: torch.dtype) -> Tensor | None:
    there = [array for array in arrays if array is not None]
    if there and len(there) < len(arrays):
        raise UsageError("expected the same tensors in all samples of a batch; got different ones. Use one dataset")
    return _required(there, length, dtype) if there else None


def _padded_raters(targets: Sequence[npt.NDArray[np.float32] | None], length: int) -> Tensor | None:
    there = [target for target in targets if target is not None]
    if not there:
        return None
    found = torch.zeros((len(there), max(len(target) for target in there), length))
    for rows, target in zip(found, there, strict=True):
        rows[: len(target), : target.shape[1]] = torch.from_numpy(target)
    return found


def _raters_there(targets: Sequence[npt.NDArray[np.float32] | None]) -> Tensor | None:
    counts = torch.tensor([len(target) for target in targets if target is not None])
    if not len(counts):
        return None
    return torch.arange(int(counts.max())) < counts[:, None]
