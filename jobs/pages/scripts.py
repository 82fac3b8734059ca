"""Data for the page, as scripts: a browser lets a page from a disk load scripts, and no other files."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.escaping import escaped, plain


def script(function: str, *arguments: Any) -> bytes:
    """A script that calls `msnet.function(...)`. NaN becomes null; all text is ASCII, and so never ends early."""
    texts = (json.dumps(plain(value), separators=(",", ":"), allow_nan=False) for value in arguments)
    return f"msnet.{function}({','.join(texts)});\n".encode()


def numbers(values: npt.ArrayLike, digits: int) -> list[float | None]:
    """Numbers rounded to some decimal places, as short as they can be written; None for those that are not finite."""
    rounded = np.round(np.asarray(values, np.float64), digits)
    return [None if not math.isfinite(value) else _short(value) for value in rounded.tolist()]


def shown(text: object, limit: int = 1000) -> str:
    """Foreign text for display: control and bidirectional characters escaped, and not endless."""
    found = escaped(text)
    return found if len(found) <= limit else f"{found[:limit]}..."


def data_uri(kind: str, data: bytes) -> str:
    """An image as an address that holds it. kind: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _short(value: float) -> float:
    return int(value) if value == int(value) else value
