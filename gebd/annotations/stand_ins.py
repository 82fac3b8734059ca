"""What stands in for the names that pickles of numbers need, so that neither numpy nor anything else is reached.

numpy's own functions trust the state that a pickle passes them (an object array over raw bytes forges pointers). These
know only numbers, text and lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import numpy as np

_SMALL_BYTES = 8  # a number: equal ones may share their bytes in a file
_left: ContextVar[list[int]] = ContextVar("bytes that may still be decoded")

_NUMBER_CODE = re.compile(r"[iu][1248]|f[248]|b1")
_TEXT_CODE = re.compile(r"U[0-9]{1,4}")
_MAX_DIMENSIONS = 4


class ForeignError(Exception):
    """Content that no annotation file needs; the text completes "got ..."."""


@contextmanager
def decoding_at_most(size: int) -> Iterator[None]:
    """Bound the bytes that the stand-ins decode: a file can name the same megabyte a million times."""
    token = _left.set([size])
    try:
        yield
    finally:
        _left.reset(token)


class _Dtype:
    """Stand-in for numpy.dtype: one number type, fixed-length text, or object (the elements are then a list)."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not (
            _NUMBER_CODE.fullmatch(code) or _TEXT_CODE.fullmatch(code) or code in ("O", "O8")
        ):
            raise ForeignError(f"an array of type {code!r:.40}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise ForeignError("an array type that is not numpy's")
        if any(part is not None for part in state[2:5]):
            raise ForeignError("an array of records")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """Return the numpy type; objects are refused."""
        if self.code[0] == "O":
            raise ForeignError("an object where a number was expected")
        return np.dtype(self.order + self.code)


class _Scalar:
    """Stand-in for numpy.core.multiarray.scalar: builds a Python number or text."""

    __slots__ = ()

    def __new__(cls, dtype: object, data: object) -> Any:
        found = _type(dtype)
        raw = _raw(data)
        if len(raw) != found.itemsize:
            raise ForeignError(f"a number of {len(raw)} bytes where its type has {found.itemsize}")
        return np.frombuffer(raw, found)[0].item()

    # Without this method a pickle could set attributes of the class; with it, pickle calls it unbound and fails.
    def __setstate__(self, state: object) -> NoReturn:
        raise ForeignError("a number with a state")


class _Array(list[Any]):
    """Stand-in for numpy.ndarray: a list, nested if the array has several axes."""

    __slots__ = ()

    def __init__(self, *values: object) -> None:
        super().__init__()
        if values:  # a file can name the same list a million times
            raise ForeignError("an array that is made of a list")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ForeignError("an array whose state is not numpy's")
        shape, dtype, fortran, data = state[-4:]
        if isinstance(data, list):
            one_axis = isinstance(shape, tuple) and shape == (len(data),)
            if not isinstance(dtype, _Dtype) or dtype.code[0] != "O" or not one_axis:
                raise ForeignError("an array of objects with several axes")
            _spend(len(data))
            self[:] = data
            return
        self[:] = _decoded(data, dtype, shape, "F" if fortran else "C")


class _FromBuffer:
    """Stand-in for numpy.core.numeric._frombuffer, which builds the arrays of protocol 5."""

    __slots__ = ()

    def __new__(cls, data: object, dtype: object, shape: object, order: object, axes: object = None) -> Any:
        if order not in ("C", "F") or axes is not None:
            raise ForeignError(f"an array in the order {order!r:.10}")
        found = _Array()
        found[:] = _decoded(data, dtype, shape, "F" if order == "F" else "C")
        return found

    def __setstate__(self, state: object) -> NoReturn:
        raise ForeignError("an array with a state of its maker")


def _decoded(data: object, dtype: object, shape: object, order: Literal["C", "F"]) -> list[Any]:
    """Return the elements of an array as a list, nested if it has several axes."""
    if (
        not isinstance(shape, tuple)
        or not 1 <= len(shape) <= _MAX_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        raise ForeignError("an array whose shape is not numpy's")
    found, raw = _type(dtype), _raw(data)
    if len(raw) != prod(shape) * found.itemsize or (prod(shape) and not raw):
        raise ForeignError(f"an array of {len(raw)} bytes where its shape is {shape}")
    if not raw:
        return []
    elements: list[Any] = np.frombuffer(raw, found).reshape(shape, order=order).tolist()
    return elements


class _Encode:
    """Stand-in for _codecs.encode, by which protocols 0 to 2 of Python 3 write bytes: only from text in latin1."""

    __slots__ = ()

    def __new__(cls, text: object, encoding: object = None) -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise ForeignError("an encoding other than latin1")
        _spend(len(text))
        return text.encode("latin1")

    def __setstate__(self, state: object) -> NoReturn:
        raise ForeignError("an encoding with a state")


class _NoBytes:
    """Stand-in for bytes, by which protocols 0 to 2 of Python 3 write empty ones."""

    __slots__ = ()

    def __new__(cls) -> Any:
        return b""

    def __setstate__(self, state: object) -> NoReturn:
        raise ForeignError("bytes with a state")


class _Reconstruct:
    """Stand-in for numpy.core.multiarray._reconstruct: an empty array that its state fills."""

    __slots__ = ()

    def __new__(cls, subtype: object, shape: object, code: object) -> Any:
        if subtype is not _Array:
            raise ForeignError("an array that is not plain numpy")
        return _Array()

    def __setstate__(self, state: object) -> NoReturn:
        raise ForeignError("an array with a state of its maker")


def _type(dtype: object) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise ForeignError("a number without a type")
    return dtype.numpy()


def _raw(data: object) -> bytes | bytearray:
    if isinstance(data, str):  # bytes written by Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise ForeignError("a number without bytes")
    _spend(len(data))
    return data


def _spend(size: int) -> None:
    left = _left.get()
    if size > _SMALL_BYTES:
        left[0] -= size
    if left[0] < 0:
        raise ForeignError("more numbers than its size explains")


ADMITTED: Mapping[tuple[str, str], type] = MappingProxyType(
    {
        ("numpy.core.multiarray", "scalar"): _Scalar,
        ("numpy._core.multiarray", "scalar"): _Scalar,
        ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
        ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
        ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _Encode,
        ("__builtin__", "bytes"): _NoBytes,
    }
)
