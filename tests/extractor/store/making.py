"""Small stores of seeded numbers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from extractor.store import (
    StagingLog,
    commit_shard,
    new_attempt,
    write_inventory,
    write_manifest_cache,
    write_run,
)
from extractor.store.commits.run import Run
from extractor.store.commits.staged_rows import read_staged
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import Failure
from schemas.tensors import NetworkShape
from tests.templates import copy_of

SHAPE = NetworkShape(clip_dim=16, frame_dim=16, motion_channels=4, cells=(5, 11), num_classes=0)


def make_run(*, compression: str = "none", shape: NetworkShape = SHAPE, **config: Any) -> Run:
    values: dict[str, Any] = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "num_frames": 4} | config
    return Run(ExtractionConfig(**values), shape, compression, 10**6, "/videos", "2026-01-01T00:00:00+00:00")


def item_arrays(run: Run, clips: int, seed: int) -> dict[str, np.ndarray]:
    """Arrays by dataset path for `clips` clips of the run's num_frames, which overlap where its hop is smaller."""
    rng = np.random.default_rng(seed)
    ranges = item_clips(run, clips)
    frames = ranges[-1]["frame_stop"]
    rows = {"clips": clips, "frames": frames, "pairs": ranges[-1]["pair_stop"]}
    arrays: dict[str, np.ndarray] = {}
    for spec in run.datasets:
        shape = (rows[spec.level], *spec.shape)
        if spec.path == "frames/time_seconds":
            arrays[spec.path] = np.arange(frames) / 10
        elif spec.path == "frames/index":
            arrays[spec.path] = np.arange(frames) * 3
        elif spec.path == "frames/valid":
            arrays[spec.path] = np.ones(frames, dtype=np.uint8)
        elif spec.name == "member":
            arrays[spec.path] = np.zeros(shape, dtype=np.uint8)
        elif spec.path == "pairs/tied":
            arrays[spec.path] = np.packbits(rng.random((shape[0], *run.shape.cells)) < 0.1, axis=-1)
        else:
            arrays[spec.path] = rng.standard_normal(shape).astype(np.float32)
    return arrays


def item_clips(run: Run, clips: int) -> list[dict[str, Any]]:
    """Manifest rows of such an item, as the pipeline passes them to the store."""
    size = run.config.num_frames or 4
    hop = min(run.config.hop or size, size)
    pair_hop = hop if hop < size else size - 1
    return [
        {
            "clip_number": k,
            "frame_start": k * hop,
            "frame_stop": k * hop + size,
            "pair_start": k * pair_hop,
            "pair_stop": k * pair_hop + size - 1,
            "start_seconds": k * size / 10,
            "end_seconds": ((k + 1) * size - 1) / 10,
            "num_valid_frames": size,
            "fps": 30.0,
            "video_start_seconds": 0.0,
            "video_end_seconds": clips * size / 10,
            "width": 320,
            "height": 240,
            "pixel_aspect": 1.0,
            "codec": "h264",
            "container": "mp4",
            "scale_x": 1.5,
            "scale_y": 1.25,
            "offset_x": 0.0,
            "offset_y": 0.0,
            "rate_capped": False,
            "times_made_up": False,
            "decoder": "pyav",
            "decoder_version": "1",
            "fallback_reason": "",
            "flags": "",
            "bad_packets": 0,
            "bad_frames": 0,
        }
        for k in range(clips)
    ]


def stage(attempt: Any, video_id: str, clips: int = 2, seed: int = 0, change: Callable | None = None) -> None:
    arrays = item_arrays(attempt.run, clips, seed)
    if change is not None:
        change(video_id, arrays)
    with StagingLog(attempt) as log, log.item(video_id) as writer:
        writer.append(arrays)
        writer.finish(item_clips(attempt.run, clips))


def fail(attempt: Any, video_id: str, failure: FailureClass = FailureClass.CORRUPT) -> None:
    with StagingLog(attempt) as log:
        log.fail(Failure(video_id, failure, f"{video_id} is broken", 2, 0.5))


def staged_rows(run: Run, item: Any) -> tuple[dict[str, np.ndarray], dict[str, list[Any]]]:
    """Rows by dataset path and manifest columns of a staged success."""
    blocks: list[dict[str, np.ndarray]] = []
    ((_, columns),) = read_staged(
        [item], run, lambda rows: blocks.append({path: array.copy() for path, array in rows.items()})
    )
    arrays = {
        spec.path: np.concatenate([block[spec.path] for block in blocks if spec.path in block]) for spec in run.datasets
    }
    return arrays, columns


def make_inventory(shards: Sequence[Sequence[str]]) -> pd.DataFrame:
    rows = [
        dict.fromkeys(INVENTORY_COLUMNS, 0) | {"video_id": v, "path": v.split("#")[0], "shard": shard_name(k)}
        for k, ids in enumerate(shards)
        for v in ids
    ]
    return pd.DataFrame(rows).astype(dict(INVENTORY_COLUMNS))


def make_store(
    root: Path,
    shards: Sequence[Sequence[str]] = (("a.mp4", "b.mp4", "bad.mp4"), ("c/d.mp4", "e.mp4")),
    *,
    clips: int = 2,
    change: Callable | None = None,
    **run_options: Any,
) -> StorePaths:
    """A finished store; ids with "bad" in them failed. An item's numbers depend on its id and the seed alone.

    `change(video_id, arrays)` may alter an item's arrays in place.
    """
    if change is not None:
        _make(root, shards, clips, change, run_options)
    else:
        key = "store", pickle.dumps((shards, clips, sorted(run_options.items())))
        copy_of(key, lambda place: _make(place, shards, clips, None, run_options), root)
    return StorePaths(root)


def _make(
    root: Path, shards: Sequence[Sequence[str]], clips: int, change: Callable | None, run_options: dict[str, Any]
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    paths = StorePaths(root)
    run = write_run(paths, make_run(**run_options))
    write_inventory(paths, make_inventory(shards))
    for index, video_ids in enumerate(shards):
        attempt = new_attempt(paths, run, shard_name(index), "token")
        for video_id in video_ids:
            if "bad" in video_id:
                fail(attempt, video_id)
            else:
                stage(attempt, video_id, clips, seed=sum(video_id.encode()), change=change)
        commit_shard(attempt, video_ids)
    write_manifest_cache(paths)
