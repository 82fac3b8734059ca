"""Reading a file of weights without trusting it: what it is comes from its content, and nothing in it is run."""

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

__all__ = ["WeightsFile", "read_weights_file"]

_LARGEST_FILE_BYTES = 4 << 30  # the largest network of the family has 180 MB; an optimiser's state triples that
_MOST_TENSORS = 20_000
_LARGEST_HEADER_BYTES = 16 << 20  # of a safetensors file


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What a file holds: dense tensors of floating point (and counters) by name, and text beside them."""

    path: Path
    size_bytes: int
    sha256: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]  # of a safetensors file; empty for a pickle


def read_weights_file(path: Path) -> WeightsFile:
    """Read the file at `path`: safetensors, or a pickle under `torch.load(weights_only=True)` and nothing looser.

    WeightsError in one sentence where it is neither, too large, or not what it claims.
    """
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():
            raise WeightsError(f"expected a file of weights; {path} is not a file")
        if size_bytes > _LARGEST_FILE_BYTES:
            raise WeightsError(f"{path} has {size_bytes:,} bytes; a checkpoint of this family has far fewer")
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror or error}") from error
    metadata: Mapping[str, str] = {}
    if _is_safetensors(start, size_bytes):
        tensors, metadata = _read_safetensors(path)
    elif start[:2] == b"PK" or start[:1] == b"\x80":
        tensors = _read_pickle(path, size_bytes, is_zip=start[:2] == b"PK")
    else:
        raise WeightsError(f"{path} is not a checkpoint: expected a safetensors file or one that torch.save wrote")
    _check_tensors(path, tensors, size_bytes)
    return WeightsFile(path, size_bytes, sha256, tensors, metadata)


def _is_safetensors(start: bytes, size_bytes: int) -> bool:
    """A length of 8 bytes, then a JSON object of that length."""
    if len(start) < 10:
        return False
    (header_bytes,) = struct.unpack("<Q", start[:8])
    return start[8:9] == b"{" and bool(header_bytes + 8 <= size_bytes)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
    if header_bytes > _LARGEST_HEADER_BYTES:
        raise WeightsError(f"{path} is not a checkpoint: its header claims {header_bytes:,} bytes")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is a damaged safetensors file: {_first_line(error)}") from error


def _read_pickle(path: Path, size_bytes: int, *, is_zip: bool) -> dict[str, Tensor]:
    if is_zip:
        _check_archive(path, size_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle may raise anything; whatever it is, it is no checkpoint
        raise WeightsError(
            f"{path} is not a checkpoint that can be read safely: tensors and plain values were expected, it has "
            "others or is damaged; save the network's state_dict() instead"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state_dict; got {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} holds no state_dict of tensors by name: {str(name)[:80]!r} is a {type(value).__name__}"
            )
    return dict(content)


def _check_archive(path: Path, size_bytes: int) -> None:
    """torch.save stores without compression, so an archive cannot hold more than the file has."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(f"{path} is a truncated or damaged checkpoint: {_first_line(error)}") from error
    if sum(member.file_size for member in members) > size_bytes:
        raise WeightsError(f"{path} is not a checkpoint: its parts claim more bytes than the file has")


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], size_bytes: int) -> None:
    if len(tensors) > _MOST_TENSORS:
        raise WeightsError(f"{path} holds {len(tensors):,} tensors; a checkpoint of this family has far fewer")
    for name, tensor in tensors.items():
        # an expanded tensor claims any size for the bytes of one element
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.numel() * tensor.itemsize > size_bytes:
            raise WeightsError(f"{path} is not a checkpoint: {name[:80]!r} is not a plain dense tensor")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
