"""Export of a store to common formats: an npy file per video and tensor, or a safetensors file per video."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from extractor.store.disk.atomic import replacing, storage_errors, write_bytes
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.reader import FeatureStore
from extractor.store.tables import write_table
from jobs.stores.formats import ExportFormat
from schemas.errors import UsageError

INDEX = "index.json"
CLIPS = "clips.parquet"
_SAFE = re.compile(r"[^A-Za-z0-9]+")
_STEM = 48
_SAFETENSORS = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


@dataclass(frozen=True)
class ExportReport:
    """Result of an export. files: written by this call. skipped: left from an earlier call. bytes: of `files`."""

    out: Path
    index: Path
    videos: int
    files: int
    skipped: int
    bytes: int


@dataclass(frozen=True)
class _ExportFile:
    """One file to write: its path, and the tensors of a video that it holds."""

    path: Path
    video_id: str
    tensors: tuple[str, ...]


def export_store(
    store: Path,
    out: Path,
    format: ExportFormat | str = ExportFormat.NPY,
    tensors: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write tensors (default: all) of every video below the folder `out`, with one block of rows in memory at a time.

    A video_id never becomes a path: file names consist of its letters and digits and of a hash, and index.json maps
    ids to files. clips.parquet is the manifest with row ranges that count from each video's first row. Files appear
    whole or not at all, and existing ones are kept: repeating a killed export continues it.
    `progress(done, total)` is called after every file. Raises UsageError if `out` holds another export or a store,
    StorageError if it holds anything else.
    """
    format = ExportFormat(format)
    features = FeatureStore(store)
    names = features.tensors if tensors is None else tuple(tensors)
    if not names or not set(names) <= set(features.tensors):
        raise UsageError(f"expected tensors among {', '.join(features.tensors)}; got {', '.join(names)}")
    identity = {"digest": features.run.digest, "format": format.value, "tensors": sorted(names)}
    _require_own(out, identity)
    probe_storage(out)
    # widest dtype first, so that every tensor of a safetensors file is aligned
    ordered = tuple(sorted(names, key=lambda name: (-features.dtype(name).itemsize, name)))
    files = list(_files(features, out, format, ordered))
    _write_index(features, out, identity, files)
    written = skipped = size = 0
    for done, file in enumerate(files, start=1):
        if file.path.exists():
            skipped += 1
        else:
            size += _write(features, file, format)
            written += 1
        if progress is not None:
            progress(done, len(files))
    features.close()
    return ExportReport(out, out / INDEX, len(features.video_ids), written, skipped, size)


def safe_name(video_id: str) -> str:
    """A file name for any id, distinct for distinct ids even on a file system that ignores case; never a path."""
    stem = _SAFE.sub("-", video_id).strip("-")[:_STEM].strip("-").lower()
    digest = hashlib.sha256(video_id.encode()).hexdigest()[:20]
    return f"{stem}-{digest}" if stem else digest


def _require_own(out: Path, identity: dict[str, Any]) -> None:
    if (out / "run.json").exists():
        raise UsageError(f"{out} is a store: give another folder for the export")
    try:
        there = json.loads((out / INDEX).read_bytes())["export"]
    except (FileNotFoundError, NotADirectoryError):
        refuse_other_folder(out, CLIPS.__eq__, "an export")  # the table is written before the index
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{out / INDEX} is not the index of an export: give another folder") from error
    if there != identity:
        raise UsageError(
            f"{out} holds an export of another configuration, format or set of tensors: give another folder"
        )


def _files(store: FeatureStore, out: Path, format: ExportFormat, names: tuple[str, ...]) -> Iterator[_ExportFile]:
    for video_id in store.video_ids:
        if format is ExportFormat.SAFETENSORS:
            yield _ExportFile(out / f"{safe_name(video_id)}.safetensors", video_id, names)
        else:
            for name in names:
                yield _ExportFile(out / safe_name(video_id) / f"{name}.npy", video_id, (name,))


def _write_index(store: FeatureStore, out: Path, identity: dict[str, Any], files: list[_ExportFile]) -> None:
    videos: dict[str, dict[str, Any]] = {}
    for file in files:
        paths = videos.setdefault(file.video_id, {})
        paths.update(dict.fromkeys(file.tensors, file.path.relative_to(out).as_posix()))
    table = store.manifest.drop(columns=["shard", "file"])
    origins = table.groupby("video_id", sort=False)[["clip_row", "frame_start", "pair_start"]].transform("first")
    for column in ("clip_row", "frame_start", "frame_stop", "pair_start", "pair_stop"):
        table[column] -= origins[column.replace("_stop", "_start")]
    write_table(out / CLIPS, table)
    write_bytes(out / INDEX, json.dumps({"export": identity, "videos": videos}, indent=1).encode() + b"\n")


def _write(store: FeatureStore, file: _ExportFile, format: ExportFormat) -> int:
    """Write one file; returns its size in bytes."""
    with storage_errors(file.path.parent):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file.path) as temporary, temporary.open("wb") as out:
            _write_header(store, file, format, out)
            clips = store.video_clips(file.video_id)
            for name in file.tensors:
                for block in store.blocks(name, clips):
                    out.write(np.ascontiguousarray(block).data.cast("B"))
            return out.tell()


def _write_header(store: FeatureStore, file: _ExportFile, format: ExportFormat, out: BinaryIO) -> None:
    clips = store.video_clips(file.video_id)
    kinds = {name: (store.dtype(name), store.shape(name, clips)) for name in file.tensors}
    if format is ExportFormat.NPY:
        ((dtype, shape),) = kinds.values()
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        return
    entries: dict[str, Any] = {"__metadata__": {"video_id": file.video_id, "digest": store.run.digest}}
    offset = 0
    for name, (dtype, shape) in kinds.items():
        end = offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": _SAFETENSORS[dtype.name], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
    out.write(len(text).to_bytes(8, "little") + text)
