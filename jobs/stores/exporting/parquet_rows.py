"""Parquet: a table for frames, one for pairs and one for clips; a row each, and a column a tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from extractor.store.disk.atomic import replacing, storage_errors
from extractor.store.reader import Array, FeatureStore
from schemas.tensors import LEVELS, TENSORS

_BLOCK_BYTES = 8 * 1024**2
_GROUP_BYTES = 64 * 1024**2


class ParquetRows:
    """frames/features-00000.parquet, and likewise pairs and clips where there are tensors of these."""

    def __init__(self, store: FeatureStore, tensors: Sequence[str]) -> None:
        self._store = store
        self._levels = {
            level: [name for name in store.tensors if name in tensors and TENSORS[name].level == level]
            for level in LEVELS
        }

    def files(self, part: str) -> Sequence[str]:
        return [f"{level}/{part}.parquet" for level, tensors in self._levels.items() if tensors]

    def write(self, out: Path, part: str, videos: Mapping[str, str], done: Callable[[], None]) -> None:
        levels = [level for level, tensors in self._levels.items() if tensors]
        for level, file in zip(levels, self.files(part), strict=True):
            with storage_errors(out):
                (out / level).mkdir(exist_ok=True)
                with replacing(out / file) as temporary:
                    self._write_level(temporary, level, videos, done if level == levels[-1] else _nothing)

    def _write_level(self, path: Path, level: str, videos: Mapping[str, str], done: Callable[[], None]) -> None:
        schema = self._schema(self._levels[level])
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["video_id"]) as writer:
            waiting: list[pa.RecordBatch] = []
            size = 0
            for video_id in videos:
                for batch in self._batches(video_id, self._levels[level], schema):
                    waiting.append(batch)
                    size += batch.nbytes
                    if size >= _GROUP_BYTES:
                        _write_group(writer, waiting)
                        waiting, size = [], 0
                done()
            _write_group(writer, waiting)

    def _schema(self, tensors: Sequence[str]) -> pa.Schema:
        """Columns: the video, the number of the row in it, and each tensor, flat; its metadata has the row's shape."""
        fields = [pa.field("video_id", pa.string()), pa.field("row", pa.int64())]
        for name in tensors:
            shape = self._store.row_shape(name)
            kind = pa.from_numpy_dtype(self._store.dtype(name))
            flat = pa.list_(kind, prod(shape)) if shape else kind
            fields.append(pa.field(name, flat, metadata={"shape": json.dumps(shape)}))
        metadata = {"msnet_digest": self._store.run.digest, "msnet_model": self._store.config.model}
        return pa.schema(fields, metadata=metadata)

    def _batches(self, video_id: str, tensors: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a video, about 8 MB at a time."""
        clips = self._store.video_clips(video_id)
        row_bytes = sum(self._store.dtype(name).itemsize * prod(self._store.row_shape(name)) for name in tensors)
        step = max(1, _BLOCK_BYTES // row_bytes)
        first = 0
        for blocks in zip(*(self._store.blocks(name, clips, step) for name in tensors), strict=True):
            count = len(blocks[0])
            ids = pa.array([video_id]).take(pa.array(np.zeros(count, np.int32)))
            rows = pa.array(np.arange(first, first + count))
            yield pa.record_batch([ids, rows, *map(_column, blocks)], schema=schema)
            first += count


def _column(rows: Array) -> pa.Array:
    flat = pa.array(rows.reshape(-1))
    return flat if rows.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, prod(rows.shape[1:]))


def _write_group(writer: pq.ParquetWriter, batches: Sequence[pa.RecordBatch]) -> None:
    """Write batches as one row group, so that small videos share one."""
    if batches:
        table = pa.Table.from_batches(batches)
        writer.write_table(table, row_group_size=len(table))


def _nothing() -> None:
    """What is called after a video of all tables but the last."""
