"""A store of a million videos, 12 million clips and 20,000 shards: how long it takes to open, read and resume.

    python -m benchmarks.rehearsals.large_store [--shards 20000] [--videos 50] [--clips 12] [--store FOLDER]

The store is synthetic: its commit records and fragments are whole, of its data only the shards are written that are
read here. Each figure is taken in a process of its own, with warm disk caches. `--store` keeps the store in a folder
and uses it again.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from extractor.store import write_inventory, write_run
from extractor.store.commits.records import encode_record
from extractor.store.commits.run import Run
from extractor.store.disk.shard import ShardWriter
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.manifest import INVENTORY_COLUMNS, manifest_from_columns
from schemas.records import CommitRecord, Failure, StoredFile
from schemas.tensors import NetworkShape

__all__ = ["main", "make"]

_SHAPE = NetworkShape(clip_dim=64, frame_dim=64, motion_channels=8, cells=(7, 7), num_classes=0)
_CONFIG = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "num_frames": 8, "outputs": ("clip", "frame")}
_FRAMES = 8  # of a clip
_WHOLE_SHARDS = 8  # whose data is written
_FAILED_EVERY = 40  # shards, one video


def _attempt(shard: int) -> str:
    return hashlib.sha256(str(shard).encode()).hexdigest()[:16]


def _ids(shard: int, videos: int) -> list[str]:
    return [f"class_{shard % 400:03d}/{_attempt(shard * videos + k)[:11]}_{shard:06d}.mp4" for k in range(videos)]


def _whole(shards: int) -> set[int]:
    """The shards whose data is written, spread over the store."""
    return {k * shards // _WHOLE_SHARDS for k in range(_WHOLE_SHARDS)}


def make(root: Path, shards: int, videos: int, clips: int) -> StorePaths:
    """Write the store, without its caches."""
    root.mkdir(parents=True, exist_ok=True)
    paths = StorePaths(root)
    run = Run(ExtractionConfig(**_CONFIG), _SHAPE, "none", 10**9, "/videos", "2026-01-01T00:00:00+00:00")  # type: ignore[arg-type]
    run = write_run(paths, run)
    _write_inventory(paths, shards, videos)
    for folder in (paths.shards, paths.commits):
        folder.mkdir()
    template = _template(videos, clips)
    for shard in range(shards):
        _write_shard(paths, run, template, shard, videos, clips)
        if sys.stderr.isatty() and shard % 100 == 99:
            print(f"\r{shard + 1}/{shards} shards", end="", file=sys.stderr)
    return paths


def _write_inventory(paths: StorePaths, shards: int, videos: int) -> None:
    import pandas as pd

    ids = [name for shard in range(shards) for name in _ids(shard, videos)]
    columns: dict[str, Any] = dict.fromkeys(INVENTORY_COLUMNS, 1) | {"video_id": ids, "path": ids}
    columns["start_seconds"] = columns["end_seconds"] = np.nan
    columns["shard"] = [shard_name(shard) for shard in range(shards) for _ in range(videos)]
    write_inventory(paths, pd.DataFrame(columns).astype(dict(INVENTORY_COLUMNS)))


def _template(videos: int, clips: int) -> pa.Table:
    """The fragment of a shard, to be given its own names."""
    count = videos * clips
    rows = np.arange(count)
    clip, rng = rows % clips, np.random.default_rng(0)
    columns: dict[str, Any] = {
        "clip_number": clip,
        "clip_row": rows,
        "frame_start": rows * _FRAMES,
        "frame_stop": (rows + 1) * _FRAMES,
        "pair_start": rows * (_FRAMES - 1),
        "pair_stop": (rows + 1) * (_FRAMES - 1),
        "start_seconds": clip * 0.8 + 0.033,
        "end_seconds": clip * 0.8 + 0.733,
        "num_valid_frames": np.full(count, _FRAMES),
        "video_end_seconds": np.repeat(rng.uniform(9.6, 11, videos), clips),
        "width": np.repeat(rng.choice([320, 640, 1280], videos), clips),
    }
    ones = {"fps": 29.97, "video_start_seconds": 0.033, "height": 240, "pixel_aspect": 1.0, "codec": "h264"}
    ones |= {"container": "mp4", "scale_x": 1.5, "scale_y": 1.25, "offset_x": 0.0, "offset_y": 0.0}
    ones |= {"rate_capped": False, "times_made_up": False, "decoder": "pyav", "decoder_version": "17.0.1"}
    ones |= {"fallback_reason": "", "flags": "", "bad_packets": 0, "bad_frames": 0}
    names = dict.fromkeys(("video_id", "shard", "file"), "x")
    columns |= {name: np.full(count, value) for name, value in ones.items()}
    return pa.Table.from_pandas(
        manifest_from_columns(columns | {name: [value] * count for name, value in names.items()}), preserve_index=False
    )


def _write_shard(paths: StorePaths, run: Run, template: pa.Table, shard: int, videos: int, clips: int) -> None:
    name, attempt = shard_name(shard), _attempt(shard)
    done = _ids(shard, videos)
    failed = done[-1:] if shard % _FAILED_EVERY == 0 else []
    done = done[: videos - len(failed)]
    data, fragment = paths.shard_data(name, attempt), paths.shard_rows(name, attempt)
    count = len(done) * clips
    file = data.relative_to(paths.root).as_posix()
    table = template.slice(0, count)
    for column, values in {
        "video_id": [video_id for video_id in done for _ in range(clips)],
        "shard": [name] * count,
        "file": [file] * count,
    }.items():
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    pq.write_table(table, fragment, compression="zstd")
    rows = {"clips": count, "frames": count * _FRAMES, "pairs": count * (_FRAMES - 1)}
    size = 0
    if shard % max(1, 20_000 // _WHOLE_SHARDS) == 0:
        size = _write_data(data, run, rows, shard)
    content = fragment.read_bytes()
    record = CommitRecord(
        shard=name,
        attempt=attempt,
        generation=1,
        digest=run.digest,
        data=StoredFile(file, size or 10**9, hashlib.sha256(file.encode()).hexdigest()),
        fragment=StoredFile(
            fragment.relative_to(paths.root).as_posix(), len(content), hashlib.sha256(content).hexdigest()
        ),
        rows=rows,
        checksums={spec.path: shard * 7919 for spec in run.datasets},
        video_ids=tuple(done),
        failures=tuple(Failure(one, FailureClass.CORRUPT, f"{one} is broken", 2, 0.5) for one in failed),
    )
    paths.commit(name).write_bytes(encode_record(record))


def _write_data(path: Path, run: Run, rows: dict[str, int], seed: int) -> int:
    rng = np.random.default_rng(seed)
    writer = ShardWriter(path, run.datasets)
    writer.append(
        {spec.path: rng.integers(0, 2, (rows[spec.level], *spec.shape)).astype(spec.dtype) for spec in run.datasets}
    )
    writer.close({"format_version": 2, "digest": run.digest})
    return path.stat().st_size
