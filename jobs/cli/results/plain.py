"""Values as JSON has them, and the document around them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from jobs.cli.streams import Block, say
from schemas import __version__

FORMAT = 1
"""Version of the documents: higher where a field is renamed or removed. New fields may come at any time."""


def print_document(command: str, content: Mapping[str, Any]) -> None:
    """Print the result of a command as one JSON document on standard output."""
    document = {"command": command, "format": FORMAT, "version": __version__, **content}
    say(Block(json.dumps(plain(document), indent=2, allow_nan=False)))


def plain(value: Any) -> Any:
    """A value as JSON has it: records and mappings as objects, NaN and missing values as null, paths as text."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | Path):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat() if value == value else None  # a missing one differs from itself
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(name): plain(part) for name, part in value.items()}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):  # of NumPy
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(part) for part in value]
    return None  # the missing values of pandas


def _text(value: object) -> str:
    """Text as every parser of JSON takes it: bytes of a path that are not UTF-8 become escapes, not lone surrogates."""
    return str(value).encode("utf-8", "backslashreplace").decode()
