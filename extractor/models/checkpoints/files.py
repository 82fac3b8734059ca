"""Read a file of weights without trusting it: its content says what it is, and nothing in it is run."""

from __future__ import annotations

import hashlib
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from schemas.errors import WeightsError

_LARGEST_FILE_BYTES = 4 << 30  # the largest network of the family has 180 MB; an optimiser's state triples that
_MOST_TENSORS = 20_000
_LARGEST_HEADER_BYTES = 16 << 20  # of a safetensors file


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What a file holds: dense tensors by name, and text metadata."""

    size_bytes: int
    sha256: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]  # of a safetensors file; empty for a pickle


def read_weights_file(path: Path) -> WeightsFile:
    """Read the file at `path`: safetensors, or a pickle, which `torch.load(weights_only=True)` alone reads.

    WeightsError where it is neither, too large, or not what it claims.
    """
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise WeightsError(f"expected a file of weights; {path} is not a file. Give the path of one")
        if size_bytes > _LARGEST_FILE_BYTES:
            raise WeightsError(
                f"expected a checkpoint of at most {_LARGEST_FILE_BYTES:,} bytes; {path} has {size_bytes:,}"
            )
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights {path}: {error.strerror or error}. Give a file that can be read"
        ) from error
    metadata: Mapping[str, str] = {}
    if _is_safetensors(start, size_bytes):
        tensors, metadata = _read_safetensors(path)
    elif start[:2] == b"PK" or start[:1] == b"\x80":
        tensors = _read_pickle(path, size_bytes, is_zip=start[:2] == b"PK")
    else:
        raise WeightsError(f"expected a file of safetensors or torch.save; {path} is neither, so not a checkpoint")
    _check_tensors(path, tensors, size_bytes)
    return WeightsFile(size_bytes, sha256, tensors, metadata)


def _is_safetensors(start: bytes, size_bytes: int) -> bool:
    """Whether it is a length in 8 bytes, then a JSON object of that length."""
    if len(start) < 10:
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    return start[8:9] == b"{" and bool(header_bytes + 8 <= size_bytes)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
    if header_bytes > _LARGEST_HEADER_BYTES:
        raise WeightsError(
            f"expected a header of at most {_LARGEST_HEADER_BYTES:,} bytes; that of {path} claims {header_bytes:,}: it"
            " is not a checkpoint"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is a damaged safetensors file: {_first_line(error)}. Copy or download it again"
        ) from error


def _read_pickle(path: Path, size_bytes: int, *, is_zip: bool) -> dict[str, Tensor]:
    if is_zip:
        _check_archive(path, size_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle may raise anything
        raise WeightsError(
            f"expected a checkpoint that can be read safely, of tensors and plain values; {path} holds others or is "
            "damaged. Save the network's state_dict() instead"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        kind = f"an empty {type(content).__name__}" if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(f"expected a state_dict in {path}; got {kind}. Save the network's state_dict() instead")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"expected a state_dict of tensors by name in {path}; got {str(name)[:80]!r} as a"
                f" {type(value).__name__}. Save the network's state_dict() instead"
            )
    return dict(content)


def _check_archive(path: Path, size_bytes: int) -> None:
    """Refuse a compressed archive: torch.save does not compress, so its parts are no larger than the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is a truncated or damaged checkpoint: {_first_line(error)}. Copy or download it again"
        ) from error
    if sum(member.file_size for member in members) > size_bytes:
        raise WeightsError(f"expected an uncompressed checkpoint; the parts of {path} claim more bytes than it has")


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], size_bytes: int) -> None:
    if len(tensors) > _MOST_TENSORS:
        raise WeightsError(f"expected a checkpoint of at most {_MOST_TENSORS:,} tensors; {path} has {len(tensors):,}")
    for name, tensor in tensors.items():
        # an expanded tensor claims any size for the bytes of one element
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.numel() * tensor.itemsize > size_bytes:
            raise WeightsError(f"expected plain dense tensors in {path}; {name[:80]!r} is not a plain dense tensor")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
