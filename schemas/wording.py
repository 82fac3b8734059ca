"""Counts and refused values, worded for the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import repr as short

from pydantic import ValidationError

HOW_TO_MEND = ": run `msnet verify --deep`, then `msnet resume`"
"""The end of every message about a damaged shard."""

_BOUNDS = {  # by pydantic's error type: our words, the name of the limit
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}  # by the start of pydantic's type


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: counted(1, "video") is "1 video", counted(0, "video") "0 videos".

    plural: if it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_refusal(error: ValidationError, spoken: Callable[[str], str] = str) -> str:
    """The first value that a model refused: "size: expected at least 32; got 7".

    An unknown name comes first: if a name is misspelt, the right one is missing as well. A value validated on its own
    has no name: "expected at least 32; got 7". spoken: the user's name of a field, for example an option.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    name = spoken(".".join(map(str, first["loc"]))) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"{name} is not known: correct its name, or leave it out"
    if first["type"] == "missing":
        return f"{name}: expected a value; got none"
    expected = _expected(first["type"], first["msg"], first.get("ctx", {}))
    if expected is None:  # the message says itself what came
        message = first["msg"].removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    message = f"expected {expected}; got {short(first['input'])}"
    return f"{name}: {message}" if name else message


def _expected(kind: str, message: str, limits: Mapping[str, object]) -> str | None:
    """The expected value, for example "at least 32"; None if pydantic's message does not state it."""
    if kind in _BOUNDS:
        word, limit = _BOUNDS[kind]
        return f"{word} {limits[limit]}"
    start = "Input should be "
    if not message.startswith(start):
        return None
    return _KINDS.get(kind.partition("_")[0], message.removeprefix(start))
