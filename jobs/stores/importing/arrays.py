"""Npy files of strangers: the header is checked before anything of that size is allocated, and nothing is unpickled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from schemas.errors import FailureClass, VideoError

_MAX_HEADER_BYTES = 10_000
_MAX_ROWS = 10_000_000  # about four days of frames
_MAX_WIDTH = 65_536
_MAX_BYTES = 64 * 1024**3
_BLOCK_BYTES = 8 * 1024**2
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class NpyFile:
    """An npy file of numbers whose header fits its size. offset: where the numbers begin."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int

    def rows(self) -> Iterator[npt.NDArray[np.float32]]:
        """The rows of a matrix as float32, about 8 MB of the file at a time.

        Raises VideoError (not_finite) if a value is not finite there.
        """
        count = max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))
        first = 0
        with _reading(self.path) as file:
            file.seek(self.offset)
            while first < self.shape[0]:
                block = self._read(file, min(count, self.shape[0] - first)).reshape(-1, self.shape[1])
                with np.errstate(over="ignore", invalid="ignore"):
                    rows = block.astype(np.float32)
                if not (finite := np.isfinite(rows).all(axis=1)).all():
                    row = first + int(np.argmin(finite))
                    raise VideoError(
                        FailureClass.NOT_FINITE,
                        f"{self.path.name}: expected finite numbers of float32; got others, first in row {row}",
                    )
                yield rows
                first += len(rows)

    def values(self) -> npt.NDArray[np.float64]:
        """All numbers of a list, or the one of a scalar, as float64 (n,)."""
        with _reading(self.path) as file:
            file.seek(self.offset)
            return self._read(file, prod(self.shape)).astype(np.float64)

    def _read(self, file: Any, rows: int) -> npt.NDArray[Any]:
        numbers = rows * prod(self.shape[1:])
        found = np.fromfile(file, self.dtype, numbers)
        if len(found) != numbers:
            raise VideoError(FailureClass.TRUNCATED, f"{self.path.name} was cut while it was read: try again")
        return found


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path.name} cannot be read ({error.strerror})") from error


def open_matrix(path: Path) -> NpyFile:
    """An npy file of features (rows, width). Raises VideoError for anything else, an empty one included."""
    found = _opened(path)
    if 0 in found.shape:
        raise VideoError(
            FailureClass.TOO_SHORT, f"{path.name} has no rows: the video is shorter than a stack of frames"
        )
    if len(found.shape) != 2 or found.dtype.kind != "f":
        got = f"shape {found.shape} of {found.dtype}"
        raise VideoError(FailureClass.CORRUPT, f"{path.name}: expected (rows, width) of floats; got {got}")
    size = prod(found.shape) * found.dtype.itemsize
    if found.shape[0] > _MAX_ROWS or found.shape[1] > _MAX_WIDTH or size > _MAX_BYTES:
        most = f"{_MAX_ROWS:,} rows of {_MAX_WIDTH:,} numbers, and {_MAX_BYTES // 1024**3} GiB"
        raise VideoError(FailureClass.TOO_LARGE, f"{path.name}: expected at most {most}; got {found.shape}")
    return found


def read_list(path: Path) -> npt.NDArray[np.float64]:
    """Numbers of an npy file with one dimension, or with none, (n,). Raises VideoError for anything else."""
    found = _opened(path)
    if len(found.shape) > 1 or found.dtype.kind not in "fiu" or prod(found.shape) > _MAX_ROWS:
        got = f"shape {found.shape} of {found.dtype}"
        raise VideoError(FailureClass.CORRUPT, f"{path.name}: expected one list of numbers; got {got}")
    return found.values()


def _opened(path: Path) -> NpyFile:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers written by Python 2
            read_header = _HEADERS[np.lib.format.read_magic(file)]
            shape, fortran_order, dtype = read_header(file, max_header_size=_MAX_HEADER_BYTES)
            offset, size = file.tell(), file.seek(0, 2)
    except FileNotFoundError as error:
        raise VideoError(FailureClass.MISSING, f"{path.name} has vanished: restore it, and import again") from error
    except Exception as error:  # numpy parses the header as Python, and a stranger's may raise anything
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path.name} is not an npy file ({detail})") from error
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path.name}: expected numbers; got an npy file of {dtype}")
    if any(type(extent) is not int or extent < 0 for extent in shape):
        raise VideoError(FailureClass.CANNOT_OPEN, f"{path.name}: expected a shape; got {shape}")
    expected = prod(shape) * dtype.itemsize
    if size - offset != expected:
        message = f"{path.name}: expected {expected:,} bytes behind its header; got {size - offset:,}"
        raise VideoError(FailureClass.TRUNCATED, message)
    if fortran_order and len(shape) > 1 and min(shape) > 1:
        message = f"{path.name}: expected rows one after another; got columns (Fortran order). Save it again"
        raise VideoError(FailureClass.CANNOT_OPEN, message)
    return NpyFile(path, shape, dtype, offset)
