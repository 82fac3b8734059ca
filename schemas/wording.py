"""Numbers, and values that cannot be, in sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import repr as short

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
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}  # by how pydantic's type begins


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: counted(1, "video") is "1 video", counted(0, "video") "0 videos".

    plural: where it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def first_refusal(error: ValidationError, spoken: Callable[[str], str] = str) -> str:
    """The first of the values that a model refused: "size was expected to be at least 32, not 7".

    A name that is not known comes before all others: where one is misspelt, the right one is missing, too. A value that
    was refused by itself has no name: "at least 32 was expected, not 7". spoken: what the user calls a field, an option
    for example.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    name = spoken(".".join(map(str, first["loc"]))) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"{name} is not known: correct its name, or leave it out"
    if first["type"] == "missing":
        return f"{name} was expected and is missing"
    expected = _expected(first["type"], first["msg"], first.get("ctx", {}))
    if expected is None:  # a sentence that says what came by itself
        message = first["msg"].removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    came = short(first["input"])
    return f"{name} was expected to be {expected}, not {came}" if name else f"{expected} was expected, not {came}"


def _expected(kind: str, message: str, limits: Mapping[str, object]) -> str | None:
    """What a value was to be: "at least 32"; None where pydantic's message does not say it like that."""
    if kind in _BOUNDS:
        word, limit = _BOUNDS[kind]
        return f"{word} {limits[limit]}"
    start = "Input should be "
    if not message.startswith(start):
        return None
    return _KINDS.get(kind.partition("_")[0], message.removeprefix(start))
