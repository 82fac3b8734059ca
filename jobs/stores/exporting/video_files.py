"""Formats with files of their own for every video: npy and safetensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from extractor.store.disk.atomic import entries, is_temporary, replacing, storage_errors
from extractor.store.reader import Array, FeatureStore

_SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


class VideoFormat(Protocol):
    """How one video lies below the folder of an export.

    folder: below which names are paths; "" the export's own. ending: of a video's file or folder, behind its name.
    """

    folder: str
    ending: str

    def files(self, name: str, tensors: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        """Paths of a video's files, relative to the export, each with the tensors that it holds."""

    def write(self, store: FeatureStore, path: Path, video_id: str, tensors: tuple[str, ...]) -> int:
        """Write one of these files, whole or not at all; returns its size in bytes."""

    def place(self, file: str, tensor: str) -> str:
        """What the index says of a tensor in a file."""


class NpyFiles:
    """cats/one.mp4/frame.npy: a folder a video, a file a tensor."""

    folder = ending = ""

    def files(self, name: str, tensors: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        return {f"{name}/{tensor}.npy": (tensor,) for tensor in tensors}

    def place(self, file: str, tensor: str) -> str:
        return file

    def write(self, store: FeatureStore, path: Path, video_id: str, tensors: tuple[str, ...]) -> int:
        (tensor,) = tensors
        clips = store.video_clips(video_id)
        return write_whole(path, [npy_header(store, tensor, clips)], content(store, tensor, clips))


class SafetensorsFiles:
    """cats/one.mp4.safetensors: all tensors of a video."""

    folder = ""
    ending = ".safetensors"

    def files(self, name: str, tensors: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        return {name + self.ending: tensors}

    def place(self, file: str, tensor: str) -> str:
        return file

    def write(self, store: FeatureStore, path: Path, video_id: str, tensors: tuple[str, ...]) -> int:
        clips = store.video_clips(video_id)
        pieces = (content(store, tensor, clips) for tensor in tensors)
        return write_whole(path, [_safetensors_header(store, video_id, tensors)], *pieces)


def write_whole(path: Path, *pieces: Iterator[bytes | memoryview] | list[bytes]) -> int:
    """Write a file from pieces, atomically and with the folders above it; returns its size in bytes."""
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            for piece in pieces:
                file.writelines(piece)
            return file.tell()


def remove_leftovers(folder: Path) -> None:
    """Remove what a call that was killed left half written in a folder. The caller has the export to itself."""
    for path in entries(folder):
        if is_temporary(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def content(store: FeatureStore, tensor: str, clips: range) -> Iterator[memoryview]:
    """The bytes of a video's rows, about 8 MB at a time."""
    for block in store.blocks(tensor, clips):
        yield raw(block)


def raw(rows: Array) -> memoryview:
    """The bytes of rows, little-endian as they are stored."""
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


def npy_header(store: FeatureStore, tensor: str, clips: range) -> bytes:
    """The header of an npy file."""
    header = {
        "descr": np.lib.format.dtype_to_descr(store.dtype(tensor)),
        "fortran_order": False,
        "shape": store.shape(tensor, clips),
    }
    out = BytesIO()
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()


def _safetensors_header(store: FeatureStore, video_id: str, tensors: tuple[str, ...]) -> bytes:
    clips = store.video_clips(video_id)
    entries: dict[str, Any] = {"__metadata__": {"video_id": video_id, "digest": store.run.digest}}
    offset = 0
    for name in tensors:
        dtype, shape = store.dtype(name), store.shape(name, clips)
        end = offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": _SAFETENSORS[dtype.name], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text
