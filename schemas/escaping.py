"""Foreign text made safe to show: characters that move the cursor, recolour or reorder a line become escapes.

And any value made safe for JSON.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

# C0, DEL and C1; marks, embeddings, overrides and isolates of direction; line separators; lone surrogates, which
# stand for the bytes of a file name that is not UTF-8
_BREAKS = "\n\t"
_MOVING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_BREAKS}{_MOVING}]")
_IN_LINES = re.compile(f"[{_MOVING}]")


def escaped(value: object) -> str:
    r"""Text as one line without control characters: an ESC in "a\x1b[2Jb" becomes the four characters \x1b.

    For display only: files and JSON hold the text itself.
    """
    return _IN_A_LINE.sub(_escape, str(value))


def escaped_lines(text: str) -> str:
    """`escaped`, but line breaks and tabs stay."""
    return _IN_LINES.sub(_escape, text)


def in_command(value: object) -> str:
    """A path or a name as an argument of a command that is shown, to be pasted into a shell: 'my videos; 1'."""
    return shlex.quote(str(value))


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: that of a file may hold any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_title(value: object) -> str:
    """`escaped` for a matplotlib title, where text between two dollars would be a formula."""
    return escaped(value).replace("$", r"\$")


def plain(value: Any) -> Any:
    """A value as JSON has it: records and mappings as objects, NaN and missing values as null, paths as text."""
    if isinstance(value, float):  # first, as pages hold millions of numbers
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str | Path):
        return _json_text(value)
    if isinstance(value, datetime):
        return value.isoformat() if value == value else None  # a missing one differs from itself
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {_json_text(name): plain(part) for name, part in value.items()}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):  # of NumPy and pandas
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(part) for part in value]
    return None  # the missing values of pandas


def _json_text(value: object) -> str:
    """Text as every parser of JSON takes it: bytes of a path that are not UTF-8 become escapes, not lone surrogates."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _escape(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
