"""Read foreign pickles without executing anything in them.

The public annotations are pickles made with old numpy and need four of its names. Those four are admitted, under either
spelling of their module; every other name is refused. Even the four do not reach numpy: its functions trust the state
that a pickle passes them (an object array over raw bytes forges pointers), so small stand-ins that know only numbers,
text and lists replace them. Arrays become lists, numpy scalars become Python numbers.

All instructions are checked before anything is built, because ten bytes of a pickle can request gigabytes.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from gebd.annotations.values import shown
from schemas.errors import UsageError

MAX_INSTRUCTIONS = 40_000_000  # the training half of Kinetics-GEBD, raw, takes about nine million

_NUMBER_CODE = re.compile(r"[iu][1248]|f[248]|b1")
_TEXT_CODE = re.compile(r"U[0-9]{1,4}")
_MAX_DIMENSIONS = 4


class _Dtype:
    """Stand-in for numpy.dtype: one number type, fixed-length text, or object (the elements are then a list)."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not (
            _NUMBER_CODE.fullmatch(code) or _TEXT_CODE.fullmatch(code) or code in ("O", "O8")
        ):
            raise _ForeignError(f"an array of type {code!r:.40}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise _ForeignError("an array type that is not numpy's")
        if any(part is not None for part in state[2:5]):
            raise _ForeignError("an array of records")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """Return the numpy type; objects are refused."""
        if self.code[0] == "O":
            raise _ForeignError("an object where a number was expected")
        return np.dtype(self.order + self.code)


class _Scalar:
    """Stand-in for numpy.core.multiarray.scalar: builds a Python number or text."""

    __slots__ = ()

    def __new__(cls, dtype: object, data: object) -> Any:
        found = _type(dtype)
        raw = _raw(data)
        if len(raw) != found.itemsize:
            raise _ForeignError(f"a number of {len(raw)} bytes where its type has {found.itemsize}")
        return np.frombuffer(raw, found)[0].item()

    # Without this method a pickle could set attributes of the class; with it, pickle calls it unbound and fails.
    def __setstate__(self, state: object) -> NoReturn:
        raise _ForeignError("a number with a state")


class _Array(list[Any]):
    """Stand-in for numpy.ndarray: a list, nested if the array has several axes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise _ForeignError("an array whose state is not numpy's")
        shape, dtype, fortran, data = state[-4:]
        if (
            not isinstance(shape, tuple)
            or not 1 <= len(shape) <= _MAX_DIMENSIONS
            or not all(type(size) is int and size >= 0 for size in shape)
        ):
            raise _ForeignError("an array whose shape is not numpy's")
        if isinstance(data, list):
            if not isinstance(dtype, _Dtype) or dtype.code[0] != "O" or len(shape) != 1 or len(data) != shape[0]:
                raise _ForeignError("an array of objects with several axes")
            self[:] = data
            return
        found, raw = _type(dtype), _raw(data)
        if len(raw) != prod(shape) * found.itemsize or not raw:
            if raw or prod(shape):
                raise _ForeignError(f"an array of {len(raw)} bytes where its shape is {shape}")
            self[:] = []
            return
        self[:] = np.frombuffer(raw, found).reshape(shape, order="F" if fortran else "C").tolist()


class _Reconstruct:
    """Stand-in for numpy.core.multiarray._reconstruct: an empty array that its state fills."""

    __slots__ = ()

    def __new__(cls, subtype: object, shape: object, code: object) -> Any:
        if subtype is not _Array:
            raise _ForeignError("an array that is not plain numpy")
        return _Array()

    def __setstate__(self, state: object) -> NoReturn:
        raise _ForeignError("an array with a state of its maker")


def _type(dtype: object) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise _ForeignError("a number without a type")
    return dtype.numpy()


def _raw(data: object) -> bytes:
    if isinstance(data, str):  # bytes written by Python 2
        return data.encode("latin1")
    if not isinstance(data, bytes):
        raise _ForeignError("a number without bytes")
    return data


class _ForeignError(Exception):
    """Content that no annotation file needs; the text completes "got ..."."""


_ADMITTED: Mapping[tuple[str, str], type] = MappingProxyType(
    {
        ("numpy.core.multiarray", "scalar"): _Scalar,
        ("numpy._core.multiarray", "scalar"): _Scalar,
        ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _ADMITTED[module, name]
        except (KeyError, TypeError):
            raise _ForeignError(f"the name {shown(module)}.{shown(name)}, which could run code") from None


def is_pickle(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a pickle of any protocol."""
    return head[:1] == b"\x80" or head[:2] in (b"}q", b"}.", b"(d", b"}(")


def unpickle(data: bytes, source: str) -> Any:
    """Return the content of a pickle: dictionaries, lists, tuples, text, numbers and None.

    Error messages call it `source`. Raises UsageError if the pickle holds anything else, requests more memory than its
    size explains, or is damaged. Nothing that it names is imported or called.
    """
    try:
        end = _walk(data)
        return _Unpickler(io.BytesIO(data[:end]), encoding="latin1").load()
    except _ForeignError as found:
        raise UsageError(
            f"{source} was refused unread: expected numbers, text, lists and dictionaries; got {found}. Ask for JSON, "
            "and do not use this file unless you trust its author"
        ) from None
    except Exception as error:  # a damaged pickle can raise any exception
        raise UsageError(
            f"{source}: expected a complete pickle; got one that cannot be read ({type(error).__name__}: "
            f"{shown(error)}). Fetch it again"
        ) from error


_LINE, _TWO_LINES, _STOP, _COUNTED, _PUT = -2, -3, -4, -5, -6
_COUNT_BYTES = {b"\x8c": 1, b"U": 1, b"C": 1, b"\x8a": 1, b"X": 4, b"T": 4, b"B": 4, b"\x8d": 8, b"\x8e": 8}


def _instructions() -> list[int]:
    """Return for every instruction the number of bytes that follow it, a kind from above, or -1 if it is refused."""
    table = [-1] * 256
    kinds = {
        0: b"(N\x88\x89]lae)t\x85\x86\x87}dsuRb\x93\x94",
        1: b"\x80Kqh",
        2: b"M",
        4: b"Jj",
        8: b"G",
        _LINE: b"IFLSVg",
        _TWO_LINES: b"c",
        _STOP: b".",
        _PUT: b"rp",
        _COUNTED: b"".join(_COUNT_BYTES) + b"\x95",
    }
    for kind, codes in kinds.items():
        for code in codes:
            table[code] = kind
    return table


_TABLE = _instructions()


def _walk(data: bytes) -> int:
    """Return the offset where the pickle ends. Raises _ForeignError at an instruction that is refused.

    Refused are instructions that create objects other than by name, and sizes or memo numbers that make the reader
    allocate more memory than the file has bytes.
    """
    at = 0
    table = _TABLE
    for done in range(1, MAX_INSTRUCTIONS + 1):
        kind = table[data[at]]  # an IndexError means a truncated pickle
        if kind >= 0:
            at += 1 + kind
        elif kind == _STOP:
            return at + 1
        else:
            at = _SPECIAL[kind](data, at, done)
    raise _ForeignError(f"more than {MAX_INSTRUCTIONS} instructions")


def _after_counted(data: bytes, at: int, done: int) -> int:
    if data[at] == 0x95:  # a frame: its instructions follow, so only its length is checked
        size = int.from_bytes(data[at + 1 : at + 9], "little")
        after, end = at + 9, at + 9 + size
    else:
        width = _COUNT_BYTES[data[at : at + 1]]
        size = int.from_bytes(data[at + 1 : at + 1 + width], "little")
        after = end = at + 1 + width + size
    if end > len(data):
        raise _ForeignError(f"an element of {size} bytes in {len(data)}")
    return after


def _after_line(data: bytes, at: int, done: int) -> int:
    return data.index(b"\n", at) + 1


def _after_two_lines(data: bytes, at: int, done: int) -> int:
    return data.index(b"\n", _after_line(data, at, done)) + 1


def _after_put(data: bytes, at: int, done: int) -> int:
    if data[at : at + 1] == b"r":
        number, after = int.from_bytes(data[at + 1 : at + 5], "little"), at + 5
    else:
        after = _after_line(data, at, done)
        number = int(data[at + 1 : min(after, at + 12)])
    if number > done:
        raise _ForeignError(f"a memo number of {number} after {done} instructions")
    return after


def _refuse(data: bytes, at: int, done: int) -> NoReturn:
    raise _ForeignError(f"the instruction 0x{data[at]:02x}, which data does not need")


_SPECIAL: dict[int, Callable[[bytes, int, int], int]] = {
    -1: _refuse,
    _LINE: _after_line,
    _TWO_LINES: _after_two_lines,
    _PUT: _after_put,
    _COUNTED: _after_counted,
}
