"""WebDataset: tar files in which the files of a video follow one another and share a key."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from pathlib import Path

import pandas as pd

from extractor.store.disk.atomic import replacing
from extractor.store.reader import FeatureStore
from jobs.stores.exporting.clips import video_document
from jobs.stores.exporting.video_files import content, npy_header


def tar_key(video_id: str) -> str:
    """The key of a plain id: readers end a key at the first dot behind the last slash, so it may have none there."""
    folder, slash, name = video_id.rpartition("/")
    return folder + slash + name.replace(".", "_")


class TarShards:
    """features-00000.tar, with KEY.json and a KEY.frame.npy for every tensor.

    clips: the table of the export, for the JSON.
    """

    def __init__(self, store: FeatureStore, clips: pd.DataFrame, tensors: Sequence[str]) -> None:
        self._store, self._clips, self._tensors = store, clips, tuple(tensors)

    def files(self, part: str) -> Sequence[str]:
        return (f"{part}.tar",)

    def write(self, out: Path, part: str, videos: Mapping[str, str], done: Callable[[], None]) -> None:
        (file,) = self.files(part)
        with replacing(out / file) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            for video_id, key in videos.items():
                self._add(tar, video_id, key)
                done()

    def _add(self, tar: tarfile.TarFile, video_id: str, key: str) -> None:
        document = json.dumps(video_document(self._store, self._clips, video_id), allow_nan=False).encode()
        tar.addfile(_entry(f"{key}.json", len(document)), io.BytesIO(document))
        clips = self._store.video_clips(video_id)
        for tensor in self._tensors:
            header = npy_header(self._store, tensor, clips)
            size = self._store.dtype(tensor).itemsize * prod(self._store.shape(tensor, clips))
            pieces = chain([memoryview(header)], content(self._store, tensor, clips))
            tar.addfile(_entry(f"{key}.{tensor}.npy", len(header) + size), _Pieces(pieces))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """A plain file that everyone may read. It has no time, so that equal features make equal files."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


class _Pieces(io.RawIOBase):
    """A file to read once, made of pieces as they come."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        taken: list[memoryview] = []
        while size != 0:
            if not self._rest:
                try:
                    self._rest = next(self._pieces)
                    continue
                except StopIteration:
                    break
            piece = self._rest[: size if size > 0 else None]
            self._rest = self._rest[len(piece) :]
            taken.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(taken)
