"""Rows on their way into a store: whole levels, converted to the number formats of its datasets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import NotFiniteError, StoreError
from schemas.layout import DatasetSpec, unpack_tied
from schemas.tensors import LEVELS

Array = npt.NDArray[Any]

_MAX_RUN_BYTES = 64 * 1024 * 1024
_GAP_BYTES = 128 * 1024  # reading across such a gap costs less than a second read


class RowLevels:
    """The datasets of a store by level. All datasets of a level have equally many rows."""

    def __init__(self, datasets: Sequence[DatasetSpec]) -> None:
        self.specs = {level: [spec for spec in datasets if spec.level == level] for level in LEVELS}
        self._paths = {spec.path for spec in datasets}

    def counts(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """Number of rows by level; raises StoreError unless `arrays` has all datasets of a level or none."""
        if unknown := arrays.keys() - self._paths:
            raise StoreError(f"expected datasets {sorted(self._paths)}; got {sorted(unknown)}")
        counts = {}
        for level, specs in self.specs.items():
            given = {spec.path: len(arrays[spec.path]) for spec in specs if spec.path in arrays}
            if given and (len(given) != len(specs) or len(set(given.values())) != 1):
                raise StoreError(f"expected equally many rows for {[spec.path for spec in specs]}; got {given}")
            if given:
                counts[level] = next(iter(given.values()))
        return counts

    def converted(self, arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """Copies of `arrays` in the formats of their datasets, by level and path; levels without rows are left out.

        Raises StoreError as `counts` and `converted` do.
        """
        return {
            level: {spec.path: converted(arrays[spec.path], spec) for spec in self.specs[level]}
            for level, count in self.counts(arrays).items()
            if count
        }

    def bytes_of(self, level: str) -> int:
        """Bytes of one row in all datasets of a level together."""
        return sum(spec.row_bytes for spec in self.specs[level])


def converted(array: Array, spec: DatasetSpec) -> Array:
    """A copy of `array` in the dataset's dtype; raises StoreError if its shape, kind or a value does not fit.

    A value that is not finite there (NaN, or above 65504 in float16) raises NotFiniteError: a saturated feature would
    be silently wrong. Values too small for float16 become zero.
    """
    array = np.asarray(array)
    target = np.dtype(spec.dtype)
    if array.shape[1:] != spec.shape:
        raise StoreError(f"expected rows of shape {spec.shape} for {spec.path}; got {array.shape[1:]}")
    if array.dtype == target:
        rows: Array = array.copy()  # the caller may reuse its array before we write
    elif array.dtype.kind != "f" if target.kind == "f" else not np.can_cast(array.dtype, target, "safe"):
        raise StoreError(f"expected numbers that fit {target} for {spec.path}; got {array.dtype}")
    else:
        with np.errstate(over="ignore"):
            rows = np.array(array, dtype=target, order="C")
    if target.kind == "f" and not all_finite(rows):
        bad = int(np.count_nonzero(~np.isfinite(rows)))
        raise NotFiniteError(
            f"{bad} of {rows.size} values of {spec.path} are not finite as {target}: "
            "extract with --dtype float32, and with --store-dtype float32 where values are above 65504"
        )
    return rows


def as_read(name: str, rows: Array, width: int) -> Array:
    """Stored rows of the tensor `name` as readers get them: "valid" and "tied" are bool.

    width: of the maps of pairs, in cells.
    """
    if name == "tied":
        return unpack_tied(rows, width)
    return rows.astype(bool) if name == "valid" else rows


def neighbours(starts: Array, stops: Array, row_bytes: int) -> Iterator[tuple[list[int], int, int]]:
    """Which of some row ranges [start, stop) are best read at once: their places, the first row and one past the last.

    Each range is in one of them, in the order of their starts.
    """
    order = deque(np.argsort(starts, kind="stable").tolist())
    while order:
        first = int(starts[order[0]])
        high = int(stops[order[0]])
        run: list[int] = []
        while order and int(starts[order[0]]) <= high + _GAP_BYTES // row_bytes:
            if run and (int(stops[order[0]]) - first) * row_bytes > _MAX_RUN_BYTES:
                break
            run.append(order.popleft())
            high = max(high, int(stops[run[-1]]))
        yield run, first, high


def all_finite(rows: Array) -> bool:
    """Whether no value is NaN or infinite. Looks at the bits: for float16 many times faster than numpy's isfinite.

    As signed numbers the bits of positive values are below those of infinity unless one is not finite; as unsigned
    numbers those of all values are below those of negative infinity.
    """
    if not rows.size:
        return True
    signed, unsigned = np.dtype(f"i{rows.itemsize}"), np.dtype(f"u{rows.itemsize}")
    positive, negative = np.array([np.inf, -np.inf], rows.dtype).view(unsigned)
    return bool(rows.view(signed).max() < positive and rows.view(unsigned).max() < negative)
