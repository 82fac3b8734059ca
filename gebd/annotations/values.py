"""Values of foreign files, checked where they come in. Every function raises UsageError, naming `what`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any

import numpy as np

from schemas.errors import UsageError
from schemas.escaping import escaped

__all__ = ["MAX_BOUNDARIES", "mapping", "number", "numbers", "sequence", "shown", "text", "whole"]

MAX_BOUNDARIES = 100_000  # in one list: far more than any video has, far less than memory


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """A dictionary whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _unexpected(value, what, "a dictionary with text as keys")
    return value


def sequence(value: Any, what: str) -> Sequence[Any]:
    """A list, a tuple or a numpy array of one axis or more, of at most MAX_BOUNDARIES elements."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        value = list(value)
    if not isinstance(value, list | tuple):
        raise _unexpected(value, what, "a list")
    if len(value) > MAX_BOUNDARIES:
        raise UsageError(f"{what} was expected to have at most {MAX_BOUNDARIES} elements and has {len(value)}")
    return value


def number(value: Any, what: str) -> float:
    """A number, of Python or of numpy, as float64; not text, not a truth value."""
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _unexpected(value, what, "a number")


def numbers(value: Any, what: str) -> list[float]:
    """A list of numbers."""
    return [number(element, what) for element in sequence(value, what)]


def whole(value: Any, what: str) -> int:
    """A number without a fraction."""
    found = number(value, what)
    if not found.is_integer():
        raise _unexpected(value, what, "a whole number")
    return int(found)


def text(value: Any, what: str) -> str:
    """Text."""
    if not isinstance(value, str):
        raise _unexpected(value, what, "text")
    return value


def shown(value: object) -> str:
    """Foreign text as part of a message: of at most 100 characters, none of which moves the cursor."""
    return escaped(str(value)[:100])


def _unexpected(value: Any, what: str, expected: str) -> UsageError:
    return UsageError(f"{what} was expected to be {expected} and is {short(value)} ({type(value).__name__})")
