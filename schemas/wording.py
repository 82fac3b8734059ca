"""Counts, errors and refused values, worded for the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from reprlib import repr as short
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from schemas.escaping import escaped

HOW_TO_MEND = ": run `msnet verify --deep`, and then what it says"
"""The end of every message about a damaged shard."""

_BOUNDS = {  # by pydantic's error type: our words, the name of the limit
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}  # by the start of pydantic's type
_FEW = 12  # names that a sentence can list
_LONGEST_CAUSE = 300  # of an error in a line
_NAMES_AN_ERROR = re.compile(r"[\w.]+(Error|Exception|Exit|Interrupt)\b")
_TOLD_BY_RAY = "System error: "  # before the error that kept a process from understanding its task
_LACK = "Is there enough memory and shared memory, and room for processes?"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SCARCE = re.compile(r"memory|busy|unavailable|no space|too many", re.IGNORECASE)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: counted(1, "video") is "1 video", counted(0, "video") "0 videos".

    plural: if it is not the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def in_a_line(error: BaseException) -> str:
    """What an error says, in a line; one of Ray quotes the traceback of another process, whose last line says more."""
    lines = str(error).strip().splitlines() or [""]
    quoted = [line for line in lines if _NAMES_AN_ERROR.match(line)]
    text = quoted[-1] if quoted else lines[0]
    if not type(error).__module__.startswith("ray."):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    text = escaped(_COLOURS.sub("", text))
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]} ..."


def what_to_mend(cause: str, lack: str = _LACK) -> str:
    """What to do about a process that did not start, by `in_a_line` of its error.

    lack: the advice where something is scarce, or where the process ended without a word and that is the likely reason.
    """
    told = _NAMES_AN_ERROR.match(cause) or cause.startswith(_TOLD_BY_RAY)
    return "Mend that, and run the command again" if told and not _SCARCE.search(cause) else lack


def first_refusal(
    error: ValidationError, spoken: Callable[[str], str] = str, model: type[BaseModel] | None = None
) -> str:
    """The first value that a model refused: "size: expected at least 32; got 7".

    An unknown name comes first: if a name is misspelt, the right one is missing as well. A value validated on its own
    has no name: "expected at least 32; got 7". spoken: the user's name of a field, for example an option. model: what
    refused the values, for the names that it knows.
    """
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    name = spoken(".".join(map(str, first["loc"]))) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return _unknown(first["loc"], spoken, model)
    if first["type"] == "missing":
        return f"{name}: expected a value; got none"
    expected = _expected(first["type"], first["msg"], first.get("ctx", {}))
    if expected is None:  # the message says itself what came
        message = first["msg"].removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    message = f"expected {expected}; got {short(first['input'])}"
    return f"{name}: {message}" if name else message


def _unknown(location: Sequence[int | str], spoken: Callable[[str], str], model: type[BaseModel] | None) -> str:
    """That a name is not known, and which are: the one that is meant, and all of its table where these are few."""
    *above, name = map(str, location)
    table, known = model, list[str]()
    for part in above:
        table = table if part.isdigit() else _model_of(table, part)
    if table is not None:
        known = list(table.model_fields)
    near = get_close_matches(name, known, n=1)
    # a key below the heading of a table is of that table, which is easily overlooked
    elsewhere = [path for path in ([] if model is None else _paths(model)) if path.rpartition(".")[2] == name]
    meant = elsewhere[:1] or [".".join((*above, each)) for each in near]
    advice = f"write {spoken(meant[0])}" if meant else "correct its name"
    listed = f" (known there: {', '.join(known)})" if 0 < len(known) <= _FEW else ""
    return f"{spoken('.'.join((*above, name)))} is not known: {advice}, or leave it out{listed}"


def _model_of(model: type[BaseModel] | None, field: str) -> type[BaseModel] | None:
    """The model of a field's value, or of each of its values; None if there is none."""
    if model is None or field not in model.model_fields:
        return None
    waiting: list[Any] = [model.model_fields[field].annotation]
    for annotation in waiting:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        waiting += get_args(annotation)
    return None


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Names of all fields, those of tables within with the table's name before: "clips.size_px"."""
    for name in model.model_fields:
        yield above + name
        within = _model_of(model, name)
        if within is not None:
            yield from _paths(within, f"{above}{name}.")


def _expected(kind: str, message: str, limits: Mapping[str, object]) -> str | None:
    """The expected value, for example "at least 32"; None if pydantic's message does not state it."""
    if kind in _BOUNDS:
        word, limit = _BOUNDS[kind]
        return f"{word} {limits[limit]}"
    start = "Input should be "
    if not message.startswith(start):
        return None
    return _KINDS.get(kind.partition("_")[0], message.removeprefix(start))
