"""Zarr, format 3: a group a video, an array a tensor.

Rows of videos are ragged. One array over all videos would need an index to find a video in, and a chunk that two
videos share would be rewritten when the second comes. A group for each has the video's own name, never changes once it
is there, and appears by one rename. We write the few files of the format ourselves, row block by row block; tests read
them with zarr-python.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from extractor.store.disk.atomic import fsync_file, fsync_folder, storage_errors, temporary_beside, write_bytes
from extractor.store.reader import FeatureStore
from jobs.stores.exporting.clips import video_document
from jobs.stores.exporting.video_files import raw

_CHUNK_BYTES = 8 * 1024**2
_METADATA = "zarr.json"


class ZarrGroups:
    """features.zarr/cats/one.mp4/frame, below `out`. clips: the table of the export, for the attributes of groups."""

    folder = "features.zarr"
    ending = ""

    def __init__(self, out: Path, clips: pd.DataFrame) -> None:
        self._root = out / self.folder
        self._clips = clips

    def files(self, name: str, tensors: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
        return {f"{self.folder}/{name}": tensors}

    def place(self, file: str, tensor: str) -> str:
        return f"{file}/{tensor}"

    def write(self, store: FeatureStore, path: Path, video_id: str, tensors: tuple[str, ...]) -> int:
        with storage_errors(path.parent):
            _make_groups(path.parent, self._root)
            temporary = temporary_beside(path)
            try:
                size = self._write_group(store, temporary, video_id, tensors)
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            fsync_folder(path.parent)
            return size

    def _write_group(self, store: FeatureStore, folder: Path, video_id: str, tensors: tuple[str, ...]) -> int:
        document = video_document(store, self._clips, video_id)
        size = _write_file(folder / _METADATA, _group(document))
        for tensor in tensors:
            size += _write_array(store, folder / tensor, tensor, store.video_clips(video_id))
        for path in sorted(folder.rglob("*"), reverse=True):  # after all is written: faster than one by one
            fsync_folder(path) if path.is_dir() else fsync_file(path)
        fsync_folder(folder)
        return size


def _write_array(store: FeatureStore, folder: Path, tensor: str, clips: range) -> int:
    shape, dtype = store.shape(tensor, clips), store.dtype(tensor)
    row_bytes = max(1, dtype.itemsize * prod(shape[1:]))
    rows = max(1, min(shape[0], _CHUNK_BYTES // row_bytes))
    size = _write_file(folder / _METADATA, _array(shape, dtype.name, rows))
    inner = ".0" * (len(shape) - 1)
    for number, block in enumerate(store.blocks(tensor, clips, rows)):
        missing = bytes((rows - len(block)) * row_bytes)  # every chunk of Zarr is whole
        size += _write_file(folder / f"c.{number}{inner}", raw(block), missing)
    return size


def _write_file(path: Path, *pieces: bytes | memoryview) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(pieces)
        return file.tell()


def _make_groups(folder: Path, root: Path) -> None:
    """Make the folders between the root of the hierarchy and a video groups as well, from the top."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = len(folder.relative_to(root).parts)
    for group in reversed([folder, *folder.parents[:depth]]):
        if not (group / _METADATA).exists():
            write_bytes(group / _METADATA, _group({}))


def _group(attributes: Mapping[str, Any]) -> bytes:
    return _encoded({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def _array(shape: tuple[int, ...], dtype: str, rows: int) -> bytes:
    return _encoded(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *shape[1:]]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": False if dtype == "bool" else 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
        }
    )


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode() + b"\n"
