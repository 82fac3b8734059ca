"""Stores of made videos whose features and motion change at known boundaries and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from extractor.store import FeatureStore, StagingLog, commit_shard, new_attempt, write_inventory, write_run
from extractor.store.commits.run import Run
from gebd import Annotations, VideoAnnotation
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths, shard_name
from schemas.tensors import NetworkShape
from tests.extractor.store.making import item_clips, make_inventory

CELLS, CHANNELS, RATE_HZ = (6, 8), 12, 10.0


def make_videos(
    root: Path,
    count: int,
    *,
    seed: int = 0,
    seconds: float = 8.0,
    outputs: tuple[str, ...] = ("frame", "displacement", "confidence"),
    prefix: str = "v",
    noise: float = 0.3,
    shards: int = 2,
    **config: Any,
) -> tuple[FeatureStore, Annotations]:
    """`count` dense videos at 10 Hz, `v00.mp4` ..., with two to three boundaries each, and their annotations."""
    root.mkdir()
    rng = np.random.default_rng(seed)
    values = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "sampling": "dense", "outputs": outputs}
    shape = NetworkShape(clip_dim=CHANNELS, frame_dim=CHANNELS, motion_channels=2, cells=CELLS)
    paths = StorePaths(root)
    run = write_run(paths, Run(ExtractionConfig(**{**values, **config}), shape, "none", 10**6, "/videos", ""))
    ids = [f"{prefix}{n:02d}.mp4" for n in range(count)]
    dealt = [list(part) for part in np.array_split(ids, shards)]
    write_inventory(paths, make_inventory(dealt))
    truth = []
    for index, part in enumerate(dealt):
        attempt = new_attempt(paths, run, shard_name(index), "token")
        with StagingLog(attempt) as log:
            for video_id in part:
                frames = round(seconds * RATE_HZ)
                boundaries = _boundaries(rng, seconds)
                with log.item(video_id) as writer:
                    writer.append(_arrays(attempt.run, frames, boundaries, rng, noise))
                    writer.finish([_clip(attempt.run, frames, seconds)])
                truth.append(VideoAnnotation(video_id, seconds, (tuple(boundaries),), fps=30.0))
        commit_shard(attempt, part)
    return FeatureStore(root), Annotations(truth)


def _boundaries(rng: np.random.Generator, seconds: float) -> list[float]:
    """Two or three times, at least a second from each other and from the ends."""
    count = int(rng.integers(2, 4))
    spare = np.sort(rng.uniform(0, seconds - (count + 1), count))
    return [round(float(time) + n + 1, 2) for n, time in enumerate(spare)]


def _arrays(
    run: Run, frames: int, boundaries: list[float], rng: np.random.Generator, noise: float
) -> dict[str, np.ndarray]:
    times = np.arange(frames) / RATE_HZ
    stretch = np.searchsorted(boundaries, times, side="right")
    looks = rng.standard_normal((len(boundaries) + 1, CHANNELS)) * 2
    moves = rng.standard_normal((len(boundaries) + 1, 2, 1, 1)) * 2
    pairs = stretch[:-1]
    found = {
        "frames/time_seconds": times,
        "frames/index": np.arange(frames) * 3,
        "frames/valid": np.ones(frames, np.uint8),
        "frames/feature": looks[stretch] + rng.standard_normal((frames, CHANNELS)) * noise,
        "clips/feature": np.zeros((1, CHANNELS), np.float32),
        "pairs/displacement": np.broadcast_to(moves[pairs], (frames - 1, 2, *CELLS))
        + rng.standard_normal((frames - 1, 2, *CELLS)) * noise,
        "pairs/confidence": rng.uniform(0.2, 1.0, (frames - 1, 1, *CELLS)),
        "pairs/tied": np.zeros((frames - 1, CELLS[0], 1), np.uint8),
    }
    kept = {spec.path for spec in run.datasets}
    return {
        path: array.astype(np.float32) if "time" not in path and array.dtype == float else array
        for path, array in found.items()
        if path in kept
    }


def _clip(run: Run, frames: int, seconds: float) -> dict[str, Any]:
    pairs = frames - 1 if any(spec.level == "pairs" for spec in run.datasets) else 0
    return item_clips(run, 1)[0] | {
        "frame_stop": frames,
        "pair_stop": pairs,
        "end_seconds": (frames - 1) / RATE_HZ,
        "video_end_seconds": seconds,
        "num_valid_frames": frames,
    }
