"""Check values from foreign files where they enter. Every function raises UsageError that names `what`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as short
from typing import Any, TypeVar

from schemas.errors import UsageError
from schemas.escaping import escaped

_Choice = TypeVar("_Choice", bound=str)

MAX_BOUNDARIES = 100_000  # in one list: far more than any video has, far less than memory


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Check a dictionary with text as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _unexpected(value, what, "a dictionary with text as keys")
    return value


def sequence(value: Any, what: str) -> Sequence[Any]:
    """Check a list, a tuple or a numpy array of one axis or more, with at most MAX_BOUNDARIES elements."""
    if not isinstance(value, list | tuple):
        import numpy as np  # here, as every `--help` imports this module

        if isinstance(value, np.ndarray) and value.ndim > 0:
            value = list(value)
    if not isinstance(value, list | tuple):
        raise _unexpected(value, what, "a list")
    if len(value) > MAX_BOUNDARIES:
        raise UsageError(f"{what}: expected at most {MAX_BOUNDARIES} elements; got {len(value)}. Check it")
    return value


def number(value: Any, what: str) -> float:
    """Return a Python or numpy number as float64; text and booleans are refused."""
    if isinstance(value, float):
        return float(value)
    import numpy as np

    if isinstance(value, int | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _unexpected(value, what, "a number")


def numbers(value: Any, what: str) -> list[float]:
    """Return a list of numbers."""
    return [number(element, what) for element in sequence(value, what)]


def whole(value: Any, what: str) -> int:
    """Return a number without a fraction."""
    found = number(value, what)
    if not found.is_integer():
        raise _unexpected(value, what, "a whole number")
    return int(found)


def text(value: Any, what: str) -> str:
    """Check text."""
    if not isinstance(value, str):
        raise _unexpected(value, what, "text")
    return value


def one_of(name: str, value: Any, choices: Sequence[_Choice]) -> _Choice:
    """Return the choice that equals `value`, which users call `name`."""
    for choice in choices:
        if choice == value:
            return choice
    raise UsageError(f"{name}: expected one of {', '.join(choices)}; got {value!r:.60}. Choose one of them")


def shown(value: object) -> str:
    """Return foreign text for a message: at most 100 characters, none of which moves the cursor."""
    return escaped(str(value)[:100])


def _unexpected(value: Any, what: str, expected: str) -> UsageError:
    return UsageError(f"{what}: expected {expected}; got {short(value)} ({type(value).__name__}). Correct it")
