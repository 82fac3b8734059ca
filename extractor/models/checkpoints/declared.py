"""What one of our own files of weights says of itself, read without torch, which takes seconds to import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from schemas.config import Edges
from schemas.errors import WeightsError

FORMAT = "msnet-features"
FORMAT_VERSION = "1"

_CLASSIFIER = "fc.weight"


@dataclass(frozen=True, slots=True)
class Declared:
    """Of a file: its SHA-256, the classes of its classifier (None without one), and the edges that it was made for."""

    sha256: str
    num_classes: int | None
    edges: Edges


def read_declared(path: Path) -> Declared:
    """Read what one of our own files declares. Whether its tensors fit a network is for the loading to find.

    WeightsError where the file cannot be read, or says nothing of the kind.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            has_classifier = _CLASSIFIER in opened.keys()  # noqa: SIM118
            num_classes = opened.get_slice(_CLASSIFIER).get_shape()[0] if has_classifier else None
    except (SafetensorError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"expected one of our own files of weights at {path}; got {reason}. Copy or install it again"
        ) from error
    return Declared(sha256, num_classes, own_numbers(path, metadata)[1])


def own_numbers(path: Path, metadata: Mapping[str, str]) -> tuple[tuple[str, ...], Edges]:
    """Shifted blocks and edges by the metadata of one of our own files."""
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"expected format version {FORMAT_VERSION} in {path}; got {version}. Load it with the release that wrote it"
        )
    try:
        numbers = json.loads(metadata.get("numbers", "{}"))
        shifted = numbers["shifted_blocks"]
        if not isinstance(shifted, list) or not all(isinstance(block, str) for block in shifted):
            raise TypeError
        edges = Edges(numbers.get("edges", Edges.ZEROS))  # files older than this choice were made with zeros
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"expected the metadata of {path} to say which blocks shift and which edges it is for; got"
            f" {metadata.get('numbers', 'nothing')[:200]!r}. Convert the original checkpoint again"
        ) from error
    return tuple(shifted), edges
