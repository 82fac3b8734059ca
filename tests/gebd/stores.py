"""Small stores whose numbers say where they come from: a feature begins with its frame, its clip and its network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from extractor.store import (
    FeatureStore,
    StagingLog,
    commit_shard,
    new_attempt,
    write_inventory,
    write_manifest_cache,
    write_run,
)
from extractor.store.commits.run import Run
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.records import Failure
from schemas.tensors import NetworkShape
from tests.extractor.store.making import item_clips, make_inventory
from tests.templates import copy_of

CELLS = (2, 3)
NO_SEGMENT = (np.nan, np.nan)


@dataclass(frozen=True)
class Made:
    """One video: times of its frames on the container's clock, and its clips as lists of frame numbers.

    Without clips it is one sequence. For an ensemble a clip is a list of frames for each network. `damaged` frames
    are stored as not valid.
    """

    times: Sequence[float]
    clips: Sequence[Any] = ()
    fps: float = 30.0
    end: float | None = None
    segment: tuple[float, float] = NO_SEGMENT
    damaged: frozenset[int] = field(default_factory=frozenset)


def regular(seconds: float = 4.0, hz: float = 10.0, start: float = 0.0, **changes: Any) -> Made:
    """A video of `seconds`, sampled at `hz` as one sequence, whose clock begins at `start`."""
    times = start + np.arange(round(seconds * hz)) / hz
    return Made(times, **{"end": start + seconds, **changes})


def windows(made: Made, size: int, hop: int) -> Made:
    """The same cut into windows, the last one shifted back or, of a short video, filled up."""
    count = len(made.times)
    if count <= size:
        clips = [[min(k, count - 1) for k in range(size)]]
    else:
        starts = list(range(0, count - size + 1, hop))
        starts += [count - size] * (starts[-1] != count - size)
        clips = [list(range(start, start + size)) for start in starts]
    return Made(made.times, clips, made.fps, made.end, made.segment, made.damaged)


def make(
    root: Path,
    videos: Mapping[str, Made],
    *,
    shards: int = 1,
    members: int = 1,
    outputs: Sequence[str] = ("frame", "motion", "displacement", "confidence"),
    failed: Sequence[str] = (),
    **config: Any,
) -> FeatureStore:
    """A finished store of these videos, dealt to some shards in their order."""
    root.mkdir()
    key = "gebd", pickle.dumps((dict(videos), shards, members, tuple(outputs), tuple(failed), sorted(config.items())))
    copy_of(key, lambda place: _make(place, videos, shards, members, outputs, failed, config), root)
    return FeatureStore(root)


def _make(
    root: Path,
    videos: Mapping[str, Made],
    shards: int,
    members: int,
    outputs: Sequence[str],
    failed: Sequence[str],
    config: dict[str, Any],
) -> None:
    root.mkdir()
    values = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "sampling": "dense", "outputs": outputs}
    shape = NetworkShape(4, 4, motion_channels=2, cells=CELLS, members=members, stage_channels=(3, 5, 4))
    paths = StorePaths(root)
    run = write_run(paths, Run(ExtractionConfig(**{**values, **config}), shape, "none", 10**6, "/videos", ""))
    dealt = [list(part) for part in np.array_split(list(videos), shards)]
    dealt[0] += failed
    inventory = make_inventory(dealt)
    spans = [videos[item].segment if item in videos else NO_SEGMENT for item in inventory["video_id"]]
    inventory[["start_seconds", "end_seconds"]] = spans
    write_inventory(paths, inventory)
    for number, members_of_shard in enumerate(dealt):
        attempt = new_attempt(paths, run, shard_name(number), "token")
        with StagingLog(attempt) as log:
            for item in members_of_shard:
                if item in failed:
                    log.fail(Failure(item, FailureClass.CORRUPT, f"{item} is broken"))
                else:
                    _stage(log, run, item, videos[item])
        commit_shard(attempt, members_of_shard)
    write_manifest_cache(paths)


def _stage(log: StagingLog, run: Run, item: str, made: Made) -> None:
    clips = [np.arange(len(made.times))] if not len(made.clips) else made.clips
    parts = [clip if isinstance(clip[0], Sequence) else [clip] for clip in clips]  # (clip, network, frame)
    rows: dict[str, list[np.ndarray]] = {spec.path: [] for spec in run.datasets}
    grid = next((spec.shape[1:] for spec in run.datasets if spec.path == "frames/motion"), ())
    manifest, frames, pairs = [], 0, 0
    base = item_clips(run, 1)[0]
    for clip, networks in enumerate(parts):
        first = {"frame_start": frames, "pair_start": pairs}
        for network, chosen in enumerate(networks):
            index = np.array(chosen)
            _append(rows, index, clip, network, made, grid)
            frames, pairs = frames + len(index), pairs + (len(index) - 1) * ("pairs/confidence" in rows)
        times = [made.times[k] for network in networks for k in network]
        manifest.append(
            base
            | first
            | {"clip_number": clip, "frame_stop": frames, "pair_stop": pairs, "fps": made.fps}
            | {"start_seconds": min(times), "end_seconds": max(times), "video_start_seconds": float(made.times[0])}
            | {"video_end_seconds": made.times[-1] + 0.1 if made.end is None else made.end}
        )
    with log.item(item) as writer:
        writer.append({path: np.concatenate(blocks) for path, blocks in rows.items()})
        writer.finish(manifest)


def _append(
    rows: dict[str, list[np.ndarray]], index: np.ndarray, clip: int, network: int, made: Made, grid: tuple[int, ...]
) -> None:
    again = np.diff(index, prepend=-1) == 0
    valid = ~again & ~np.isin(index, list(made.damaged))
    of_frame = np.stack([index, np.full_like(index, clip), np.full_like(index, network)], axis=1).astype(np.float32)
    maps = np.broadcast_to(of_frame[:-1, :2, None, None], (len(index) - 1, 2, *CELLS))
    content: dict[str, np.ndarray] = {
        "frames/time_seconds": np.array(made.times, dtype=np.float64)[index],
        "frames/index": index.astype(np.int64),
        "frames/valid": valid.astype(np.uint8),
        "frames/member": np.full(len(index), network, np.uint8),
        "pairs/member": np.full(len(index) - 1, network, np.uint8),
        "frames/feature": np.pad(of_frame, ((0, 0), (0, 1))),
        "frames/motion": np.tile((of_frame[:, :2] + 100).reshape(-1, 2, *[1] * len(grid)), (1, 1, *grid)),
        "pairs/displacement": maps,
        "pairs/confidence": maps[:, :1] + 1000,
        "pairs/tied": np.zeros((len(index) - 1, CELLS[0], 1), np.uint8),
        "clips/feature": np.zeros((int(network == 0), 4), np.float32),
    }
    for path, blocks in rows.items():
        blocks.append(content[path] if path in content else _map_rows(path, index))


def _map_rows(path: str, index: np.ndarray) -> np.ndarray:
    """Rows of stages and of grids: the number of the frame, plus 64 for each channel, plus 16 for each cell."""
    name = path.removeprefix("frames/")
    source, _, grid = name.partition("_")
    channels = {"motion": 2, "stage2": 3, "stage3": 5, "stage4": 4}[source]
    row = 64.0 * np.arange(channels)
    if grid:
        side = int(grid.partition("x")[0])
        row = row[:, None, None] + 16.0 * np.arange(side**2).reshape(side, side)
    return index.reshape(-1, *[1] * row.ndim) + row
