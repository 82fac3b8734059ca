"""Export of a store to formats of others, under the videos' own names and in step with a store that grows."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from extractor.store.disk.atomic import read_bounded, write_bytes
from extractor.store.disk.probe import probe_storage, refuse_other_folder
from extractor.store.reader import FeatureStore
from extractor.store.tables import write_table
from jobs.stores.exporting.clips import exported_clips
from jobs.stores.exporting.names import Names, OwnIds
from jobs.stores.exporting.parquet_rows import ParquetRows
from jobs.stores.exporting.parts import RECORDS, Part, PartFormat, read_parts, write_parts
from jobs.stores.exporting.tar_shards import TarShards, tar_key
from jobs.stores.exporting.video_files import NpyFiles, SafetensorsFiles, VideoFormat, remove_leftovers
from jobs.stores.exporting.zarr_groups import ZarrGroups
from jobs.stores.formats import PART_BYTES, ExportFormat
from schemas.errors import StorageError, StoreError, UsageError

INDEX = "index.json"
CLIPS = "clips.parquet"
_STORE = "run.json"  # which tells a store
_LAYOUT = 2  # 1 named all files by a hash
_MAX_INDEX_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class ExportReport:
    """Result of an export. files: written by this call. skipped: left from an earlier call. bytes: of `files`."""

    out: Path
    index: Path
    videos: int
    files: int
    skipped: int
    bytes: int


def export_store(
    store: Path,
    out: Path,
    format: ExportFormat | str = ExportFormat.NPY,
    tensors: Sequence[str] | None = None,
    *,
    part_bytes: int = PART_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write tensors (default: all) of every video below the folder `out`, with one block of rows in memory at a time.

    npy, safetensors and zarr have a file or folder for each video, webdataset and parquet parts of about `part_bytes`.
    Files are called after the videos where that is safe (see `jobs.stores.exporting.names`); index.json says where each
    video is. clips.parquet is the manifest with row ranges that count from each video's first row.

    What is there stays, so repeating a killed export continues it, and repeating it after `msnet resume` adds the new
    videos. Files appear whole or not at all. `progress(done, total)` counts videos, those of earlier calls too. Raises
    UsageError if `out` holds another export or a store, StorageError if it holds anything else.
    """
    format = ExportFormat(format)
    features = FeatureStore(store)
    names = features.tensors if tensors is None else tuple(tensors)
    if not names or not set(names) <= set(features.tensors):
        raise UsageError(f"expected tensors among {', '.join(features.tensors)}; got {', '.join(names)}")
    identity = {"digest": features.run.digest, "format": format.value, "tensors": sorted(names), "layout": _LAYOUT}
    _require_own(out, identity)
    probe_storage(out)
    # widest dtype first, so that every tensor of a safetensors file is aligned
    ordered = tuple(sorted(set(names), key=lambda name: (-features.dtype(name).itemsize, name)))
    clips = exported_clips(features)
    with _alone(out):
        export = _Export(features, out, identity, ordered, clips, progress or (lambda done, total: None))
        if format is ExportFormat.WEBDATASET:
            report = export.in_parts(TarShards(features, clips, ordered), Names(own=tar_key), part_bytes)
        elif format is ExportFormat.PARQUET:
            report = export.in_parts(ParquetRows(features, ordered), OwnIds(), part_bytes)
        else:
            report = export.by_video(_of_videos(format, out, clips))
    features.close()
    return report


def _of_videos(format: ExportFormat, out: Path, clips: pd.DataFrame) -> VideoFormat:
    if format is ExportFormat.ZARR:
        return ZarrGroups(out, clips)
    return NpyFiles() if format is ExportFormat.NPY else SafetensorsFiles()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other exports out of the folder until the end, or until this process dies."""
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"expected {out} to be free; another export writes there. Wait for it") from error
        except OSError:  # a network file system without locks: files are whole there too
            pass
        yield
    finally:
        os.close(handle)


def _require_own(out: Path, identity: Mapping[str, Any]) -> None:
    if (out / _STORE).exists():
        raise UsageError(f"{out} is a store: give another folder for the export")
    index = _read_index(out)
    if index is None:
        refuse_other_folder(out, CLIPS.__eq__, "an export")  # the table is written before the index
    elif index["export"] != identity:
        raise UsageError(
            f"{out} holds an export of another configuration, format, set of tensors or layout: give another folder"
        )


def _require_inside(folder: Path, out: Path) -> None:
    """Raise StorageError if a link leads out of the export: files there are others'."""
    if not folder.resolve().is_relative_to(out.resolve()):
        raise StorageError(f"expected folders of the export; got {folder}, a link out of it. Remove the link")


def _read_index(out: Path) -> dict[str, Any] | None:
    """The index of an export; None if there is none."""
    try:
        index = json.loads(read_bounded(out / INDEX, _MAX_INDEX_BYTES))
        if isinstance(index["export"], dict) and isinstance(index["videos"], dict):
            return index  # type: ignore[no-any-return]
        raise TypeError("expected objects")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StoreError) as error:
        raise UsageError(f"{out / INDEX} is not the index of an export: give another folder") from error


@dataclass(frozen=True)
class _Export:
    """An export at work. tensors: widest dtype first. clips: its table."""

    store: FeatureStore
    out: Path
    identity: Mapping[str, Any]
    tensors: tuple[str, ...]
    clips: pd.DataFrame
    progress: Callable[[int, int], None]

    def by_video(self, form: VideoFormat) -> ExportReport:
        """Write the files of every video that are not there."""
        index = _read_index(self.out)
        earlier: dict[str, Any] = {} if index is None else index["videos"]
        names = Names(form.ending, taken=() if form.folder else (INDEX, CLIPS, _STORE))
        names.keep({video_id: self._name_of(places, form) for video_id, places in earlier.items()}, self.out / INDEX)
        files = {video_id: form.files(names[video_id], self.tensors) for video_id in self.store.video_ids}
        places = {
            video_id: {tensor: form.place(file, tensor) for file, held in of_video.items() for tensor in held}
            for video_id, of_video in files.items()
        }
        write_table(self.out / CLIPS, self.clips)
        self._write_index({"videos": places | {name: earlier[name] for name in earlier if name not in places}})
        written = skipped = size = 0
        swept: set[Path] = set()
        for done, (video_id, of_video) in enumerate(files.items(), start=1):
            for file, held in of_video.items():
                path = self.out / file
                if path.exists():
                    skipped += 1
                    continue
                if path.parent not in swept:
                    _require_inside(path.parent, self.out)
                    remove_leftovers(path.parent)
                    swept.add(path.parent)
                size += form.write(self.store, path, video_id, held)
                written += 1
            self.progress(done, len(files))
        return self._report(written, skipped, size)

    def _name_of(self, places: Any, form: VideoFormat) -> str:
        """The name of a video by the place of a tensor; "" if that is none of ours."""
        tensor = self.tensors[0]
        mark = "\n"  # in no name
        (file,) = form.files(mark, (tensor,))
        before, _, after = form.place(file, tensor).partition(mark)
        place = places.get(tensor) if isinstance(places, dict) else None
        if not isinstance(place, str) or not (place.startswith(before) and place.endswith(after)):
            return ""
        return place[len(before) : len(place) - len(after)]

    def in_parts(self, form: PartFormat, names: Names | OwnIds, part_bytes: int) -> ExportReport:
        """Write the videos that are in no part to further parts."""
        write_table(self.out / CLIPS, self.clips)
        self._write_index(_index_of(read_parts(self.out, form)))
        for folder in {self.out, self.out / RECORDS, *((self.out / file).parent for file in form.files(""))}:
            _require_inside(folder, self.out)
            remove_leftovers(folder)
        total, count = len(self.store.video_ids), 0

        def done(more: int) -> None:
            nonlocal count
            count += more
            self.progress(count, max(count, total))

        parts, before = write_parts(self.store, self.out, form, names, self.tensors, part_bytes, done)
        self._write_index(_index_of(parts))
        new = [size for part in parts[before:] for size in part.files.values()]
        return self._report(len(new), sum(len(part.files) for part in parts[:before]), sum(new))

    def _write_index(self, content: Mapping[str, Any]) -> None:
        write_bytes(self.out / INDEX, json.dumps({"export": self.identity, **content}, indent=1).encode() + b"\n")

    def _report(self, files: int, skipped: int, size: int) -> ExportReport:
        return ExportReport(self.out, self.out / INDEX, len(self.store.video_ids), files, skipped, size)


def _index_of(parts: Sequence[Part]) -> dict[str, Any]:
    """What the index says of parts: their files, and of every video the part and its name there."""
    videos = {video_id: {"part": part.name, "name": name} for part in parts for video_id, name in part.videos.items()}
    return {"parts": {part.name: {"files": list(part.files), "videos": len(part.videos)} for part in parts}} | {
        "videos": videos
    }
