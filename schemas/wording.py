"""Numbers, and values that cannot be, in sentences for people."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

__all__ = ["HOW_TO_MEND", "counted", "first_refusal"]

HOW_TO_MEND = ": run `msnet verify --deep`, then `msnet resume`"
"""The end of a sentence on a damaged shard."""

_BOUNDS = {  # pydantic's type of an error: its word for a person, the name of its limit
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: counted(1, "video") is "1 video", counted(0, "video") "0 videos".

    plural: where it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_refusal(error: ValidationError, spoken: Callable[[str], str] = str) -> str:
    """The first of the values that a model refused: "size was expected to be at least 32, not 7".

    spoken: what the user calls a field, an option for example.
    """
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if not name:
        return message
    if first["type"] in _BOUNDS:
        word, limit = _BOUNDS[first["type"]]
        return f"{spoken(name)} was expected to be {word} {first['ctx'][limit]}, not {first['input']!r:.60}"
    return f"{spoken(name)}: {message}, not {first['input']!r:.60}"
