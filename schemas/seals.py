"""Seals: a line inside a file of ours with the kind of the file and the SHA-256 of all the rest.

A file with a valid seal was written by this program and not changed since, so a later call may replace it. Other
readers ignore the seal: it is a text chunk of a PNG, a comment at the end of a PDF or SVG, a key of a JSON object, or
bytes before the footer of a Parquet table that no column points to.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

_KEY = "seal"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END_BYTES = 12  # the chunk IEND
_PARQUET = b"PAR1"
_PARQUET_END_BYTES = 8  # the length of the footer, and the magic number again
_DIGITS = 64


def sealed(data: bytes, kind: str) -> bytes:
    """Add a seal of this kind to a PNG, PDF, SVG or Parquet file; raises ValueError for anything else."""
    mark = _mark(data, kind, hashlib.sha256(data).hexdigest())
    cut = len(data) - _behind(data)
    return data[:cut] + mark + data[cut:]


def parquet_seal(kind: str, sha256: str) -> bytes:
    """The seal of a Parquet file, whose other bytes have this SHA-256."""
    return _mark(_PARQUET, kind, sha256)


def sealed_content(content: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Add a seal of this kind to the content of a JSON object."""
    return {**content, _KEY: _seal_of(content, kind)}


def is_sealed(data: bytes, kind: str) -> bool:
    """Whether this file has a seal of this kind and is as it was written."""
    if data.lstrip()[:1] == b"{":
        return _is_sealed_json(data, kind)
    try:
        stop = len(data) - _behind(data)
        start = stop - len(_mark(data, kind, "0" * _DIGITS))
        return start > 0 and sealed(data[:start] + data[stop:], kind) == data
    except ValueError:
        return False


def _is_sealed_json(data: bytes, kind: str) -> bool:
    try:
        content = json.loads(data)
        return isinstance(content, dict) and content.pop(_KEY, None) == _seal_of(content, kind)
    except (ValueError, RecursionError):
        return False


def _seal_of(content: Mapping[str, Any], kind: str) -> dict[str, str]:
    plain = json.loads(json.dumps(content))  # text keys and lists for tuples, as a reader gets them
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return {"kind": kind, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def _mark(data: bytes, kind: str, sha256: str) -> bytes:
    """The seal in the form that fits `data`; its length does not depend on the SHA-256."""
    text = f"{kind} sha256 {sha256}".encode()
    if data.startswith(_PNG):
        chunk = b"tEXtmsnet-features\0" + text
        return (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    if data.startswith(b"%PDF-"):
        return b"% msnet-features " + text + b"\n"
    if data.startswith(b"<?xml"):
        return b"<!-- msnet-features " + text + b" -->\n"
    if data.startswith(_PARQUET):
        return b"msnet-features " + text + b"\n"
    raise ValueError(f"expected a PNG, PDF, SVG or Parquet file; got one that starts with {data[:8]!r}")


def _behind(data: bytes) -> int:
    """Number of bytes of a file behind its seal."""
    if data.startswith(_PARQUET):
        return _PARQUET_END_BYTES + int.from_bytes(data[-_PARQUET_END_BYTES : -len(_PARQUET)], "little")
    return _PNG_END_BYTES if data.startswith(_PNG) else 0
