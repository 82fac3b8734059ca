"""What a dataset returns: `Sample`, one slice of one video, and `Batch`, several padded to one length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gebd.dataset.store_videos import FEATURES
from schemas.errors import UsageError

Array = npt.NDArray[Any]
T = TypeVar("T")
RaterTimes = tuple[tuple[float, ...], ...]
"""Boundaries of every rater, in seconds."""

_SHARED_BYTES = 64 * 1024
_DIFFERENT = "expected the same tensors in all samples of a batch; got different ones. Use one dataset"


class _Tensors(Generic[T]):
    """Shorthands for what `tensors` holds."""

    __slots__ = ()
    tensors: dict[str, T]

    @property
    def displacement(self) -> T | None:
        """`tensors["displacement"]`, None if it was not asked for."""
        return self.tensors.get("displacement")

    @property
    def confidence(self) -> T | None:
        """`tensors["confidence"]`, None if it was not asked for."""
        return self.tensors.get("confidence")

    def _features(self) -> list[T]:
        found = [rows for name, rows in self.tensors.items() if name in FEATURES]
        if not found:
            raise UsageError(
                f"expected frame or motion among the tensors; got {', '.join(self.tensors)}. Ask the dataset for one, "
                "or take the others from `tensors`"
            )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Sample(_Tensors[Array]):
    """One slice of one video: T samples, R raters. Floats have the store's dtype.

    tensors: by name, each (T, *row) in the order asked for, a row as the store has it, except "motion", which is (T, C)
    in whatever form it is stored. valid (T,) bool: False if the frame is damaged or says nothing about its instant.
    time_seconds (T,) float64, from the start of the video (or of the annotated stretch), like boundaries.

    Rows of displacement (T, 2, h, w), in cells, and confidence (T, 1, h, w) are of the pair of frames that begins with
    the sample's frame. With either, pair_valid (T,) bool: False if there is no such pair, then the previous pair is
    repeated (zeros if there is no previous one).

    With annotations: target_hard (T,) float32, 0 or 1; target_soft (T,) float32; rater_targets (R, T) float32, soft, in
    the file's order of raters; rater_times: boundaries of every rater within the slice.

    duration_seconds: as annotated, else as extracted; fps likewise (NaN if unknown). video_id: of the annotation, else
    of the store. slice_start_seconds: on the clock of time_seconds.
    """

    tensors: dict[str, Array]
    valid: npt.NDArray[np.bool_]
    time_seconds: npt.NDArray[np.float64]
    pair_valid: npt.NDArray[np.bool_] | None
    target_hard: npt.NDArray[np.float32] | None
    target_soft: npt.NDArray[np.float32] | None
    rater_targets: npt.NDArray[np.float32] | None
    rater_times: RaterTimes | None
    duration_seconds: float
    fps: float
    video_id: str
    slice_start_seconds: float

    @property
    def features(self) -> Array:
        """(T, C): "frame" and "motion", or the one that was asked for; UsageError if neither was."""
        found = self._features()
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Batch(_Tensors[Tensor]):
    """B samples, padded to the longest: the fields of `Sample` with B in front. Floats are float32, times float64.

    Padding is 0 and not `valid`. rater_valid (B, R) distinguishes raters that a video does not have from raters who
    marked nothing. Fields that no sample has are None.
    """

    tensors: dict[str, Tensor]
    valid: Tensor
    time_seconds: Tensor
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

    @property
    def features(self) -> Tensor:
        """(B, T, C): "frame" and "motion", or the one that was asked for; UsageError if neither was."""
        found = self._features()
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

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
        return _restored, tuple(_changed(value, Tensor, _as_bytes) for value in self._values())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(_changed(value, Tensor, change) for value in self._values()))

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def _changed(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """A field of a batch with everything of one type in it changed."""
    if isinstance(value, dict):
        return {name: _changed(part, kind, change) for name, part in value.items()}
    return change(value) if isinstance(value, kind) else value


def _as_bytes(tensor: Tensor) -> Any:
    return tensor.numpy() if tensor.device.type == "cpu" and tensor.nbytes < _SHARED_BYTES else tensor


def _restored(*values: Any) -> Batch:
    return Batch(*(_changed(value, np.ndarray, torch.from_numpy) for value in values))


def collate(samples: Sequence[Sample]) -> Batch:
    """Collate samples of any lengths into one batch; the `collate_fn` of a DataLoader.

    Raises UsageError if some samples have a tensor that others lack.
    """
    if not samples:
        raise UsageError("expected at least one sample in a batch; got none. Pass samples")
    length = max(len(sample.valid) for sample in samples)
    names = tuple(samples[0].tensors)
    if any(tuple(sample.tensors) != names for sample in samples):
        raise UsageError(_DIFFERENT)
    raters = [sample.rater_targets for sample in samples]
    times = [sample.rater_times for sample in samples]
    return Batch(
        tensors={
            name: _required([sample.tensors[name] for sample in samples], length, torch.float32) for name in names
        },
        valid=_required([sample.valid for sample in samples], length, torch.bool),
        time_seconds=_required([sample.time_seconds for sample in samples], length, torch.float64),
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
        raise UsageError(_DIFFERENT)
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
