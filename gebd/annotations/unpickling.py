"""Read foreign pickles without executing anything in them.

The public annotations are pickles made with numpy and need a few of its names. Those are admitted, and every other name
is refused. Even these do not reach numpy: stand-ins replace them (`gebd.annotations.stand_ins`). Arrays become lists,
numpy scalars become Python numbers.

All instructions are checked before anything is built, because ten bytes of a pickle can request gigabytes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

from gebd.annotations.stand_ins import ADMITTED, ForeignError, decoding_at_most
from gebd.annotations.values import shown
from schemas.errors import UsageError

MAX_INSTRUCTIONS = 40_000_000  # the training half of Kinetics-GEBD, raw, takes about nine million


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return ADMITTED[module, name]
        except (KeyError, TypeError):
            raise ForeignError(f"the name {shown(module)}.{shown(name)}, which could run code") from None


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
        with decoding_at_most(2 * len(data)):  # `_codecs.encode` makes bytes of text, and an array numbers of the bytes
            found = _Unpickler(io.BytesIO(data[:end]), encoding="latin1").load()
        _require_tree(found, 1_000_000 + 8 * len(data))
        return found
    except ForeignError as found:
        raise UsageError(
            f"{source} was refused unread: expected numbers, text, lists and dictionaries; got {found}. Ask for JSON, "
            "and do not use this file unless you trust its author"
        ) from None
    except Exception as error:  # a damaged pickle can raise any exception
        raise UsageError(
            f"{source}: expected a complete pickle; got one that cannot be read ({type(error).__name__}: "
            f"{shown(error)}). Fetch it again"
        ) from error


def _require_tree(content: object, most: int) -> None:
    """Raise ForeignError if content holds itself, or by repeating its parts comes to more than `most` values."""
    sizes: dict[int, int] = {}  # of lists, tuples and dictionaries, by identity; 0 while they are being measured

    def size_of(part: Any) -> int:
        if (known := sizes.get(id(part))) is not None:
            if not known:
                raise ForeignError("a list that holds itself")
            return known
        sizes[id(part)] = 0
        inner = part.values() if isinstance(part, dict) else part
        size = 1 + len(part) + sum(size_of(one) for one in inner if isinstance(one, list | tuple | dict))
        if size > most:
            raise ForeignError("the same lists again and again")
        sizes[id(part)] = size
        return size

    if isinstance(content, list | tuple | dict):
        size_of(content)


_LINE, _TWO_LINES, _STOP, _COUNTED, _PUT = -2, -3, -4, -5, -6
_COUNT_BYTES = {b"\x8c": 1, b"U": 1, b"C": 1, b"\x8a": 1, b"X": 4, b"T": 4, b"B": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8}


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
    """Return the offset where the pickle ends. Raises ForeignError at an instruction that is refused.

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
    raise ForeignError(f"more than {MAX_INSTRUCTIONS} instructions")


def _after_counted(data: bytes, at: int, done: int) -> int:
    if data[at] == 0x95:  # a frame: its instructions follow, so only its length is checked
        size = int.from_bytes(data[at + 1 : at + 9], "little")
        after, end = at + 9, at + 9 + size
    else:
        width = _COUNT_BYTES[data[at : at + 1]]
        size = int.from_bytes(data[at + 1 : at + 1 + width], "little")
        after = end = at + 1 + width + size
    if end > len(data):
        raise ForeignError(f"an element of {size} bytes in {len(data)}")
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
        raise ForeignError(f"a memo number of {number} after {done} instructions")
    return after


def _refuse(data: bytes, at: int, done: int) -> NoReturn:
    raise ForeignError(f"the instruction 0x{data[at]:02x}, which data does not need")


_SPECIAL: dict[int, Callable[[bytes, int, int], int]] = {
    -1: _refuse,
    _LINE: _after_line,
    _TWO_LINES: _after_two_lines,
    _PUT: _after_put,
    _COUNTED: _after_counted,
}
