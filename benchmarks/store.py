"""The store's layout against one HDF5 group per clip: writing, and reading random clips.

    python -m benchmarks.store [--clips 2000] [--reads 1000] [--videos 300] [--folder FOLDER]

Also reading neighbouring clips at once, and the processor time of staging and committing a frame: of videos of 100
frames at 10 Hz with the default outputs of two networks, as windows and dense, whose rows come in the store's number
format, half a video at a time, as from a network. The budget is for staging and commit together.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from extractor.store import FeatureStore, StagingLog, commit_shard, new_attempt, write_run
from extractor.store.commits.run import Run
from extractor.store.disk.shard import ShardReader, ShardWriter
from schemas.config import ExtractionConfig, Sampling
from schemas.layout import StorePaths, shard_name
from schemas.manifest import MANIFEST_COLUMNS
from schemas.tensors import NetworkShape

__all__ = ["Figures", "main", "measure", "measure_staging"]

FRAMES = 8
CLIPS_AN_ITEM = 20
SHAPE = NetworkShape(clip_dim=512, frame_dim=512, motion_channels=128, cells=(28, 28))
VIDEO_FRAMES, VIDEOS_A_SYNC = 100, 20
BUDGETS_US = {
    "msnet_resnet18": (SHAPE, 100),
    "msnet_resnet50": (NetworkShape(clip_dim=2048, frame_dim=2048, motion_channels=512, cells=(28, 28)), 150),
}

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Figures:
    """Seconds for all clips (write), microseconds per clip (read), bytes per clip."""

    clip_bytes: int
    write_seconds: float
    group_write_seconds: float
    read_us: float
    group_read_us: float
    store_read_us: float
    batch_read_us: float


def measure(folder: Path, clips: int, reads: int, seed: int = 0) -> Figures:
    """Write `clips` clips of 8 frames of ResNet-18 outputs both ways below `folder`, and read `reads` random ones."""
    run = Run(ExtractionConfig(model="msnet_resnet18", weights="random", seed=0), SHAPE, "none", 0, "", "")
    clip = _clip(run, np.random.default_rng(seed))
    order = np.random.default_rng(seed).integers(0, clips, reads).tolist()

    def write_layout() -> None:
        writer = ShardWriter(folder / "layout.h5", run.datasets)
        for start in range(0, clips, CLIPS_AN_ITEM):
            count = min(clips - start, CLIPS_AN_ITEM)
            writer.append({path: np.concatenate([rows] * count) for path, rows in clip.items()})
        writer.close({})

    def write_groups() -> None:
        with h5py.File(folder / "groups.h5", "w", libver=("v110", "v110")) as file:
            for k in range(clips):
                for path, rows in clip.items():
                    file.create_dataset(f"{k}/{path}", data=rows, chunks=rows.shape, fletcher32=True)

    def read_layout() -> None:
        with ShardReader(folder / "layout.h5", run.datasets) as reader:
            for k in order:
                for spec in run.datasets:
                    size = len(clip[spec.path])
                    reader.read(spec.path, k * size, (k + 1) * size)

    def read_groups() -> None:
        with h5py.File(folder / "groups.h5") as file:
            for k in order:
                for path in clip:
                    file[f"{k}/{path}"][()]

    write, group_write = _seconds(write_layout), _seconds(write_groups)
    _make_store(folder / "store", run, clip, clips)
    store = FeatureStore(folder / "store")
    store.clip(0)
    return Figures(
        clip_bytes=sum(rows.nbytes for rows in clip.values()),
        write_seconds=write,
        group_write_seconds=group_write,
        read_us=_seconds(read_layout) / reads * 1e6,
        group_read_us=_seconds(read_groups) / reads * 1e6,
        store_read_us=_seconds(lambda: [store.clip(k) for k in order]) / reads * 1e6,
        batch_read_us=_seconds(lambda: [store.clips(range(k, min(k + 64, clips))) for k in range(0, clips, 64)])
        / clips
        * 1e6,
    )


def _clip(run: Run, rng: np.random.Generator) -> Arrays:
    rows = {"clips": 1, "frames": FRAMES, "pairs": FRAMES - 1}
    return {
        spec.path: rng.integers(0, 100, (rows[spec.level], *spec.shape)).astype(spec.dtype) for spec in run.datasets
    }


def _make_store(folder: Path, run: Run, clip: Arrays, clips: int) -> None:
    """Stage and commit the clips, as items of 20 clips in one shard."""
    folder.mkdir()
    paths = StorePaths(folder)
    attempt = new_attempt(paths, write_run(paths, run), shard_name(0), "benchmark")
    names = [f"{k}.mp4" for k in range(clips // CLIPS_AN_ITEM)]
    with StagingLog(attempt) as log:
        for name in names:
            with log.item(name) as writer:
                for _ in range(CLIPS_AN_ITEM):
                    writer.append(clip)
                size = FRAMES - 1
                ranges = [(k * FRAMES, (k + 1) * FRAMES, k * size, (k + 1) * size) for k in range(CLIPS_AN_ITEM)]
                writer.finish([_row(k, (a, b), (c, d)) for k, (a, b, c, d) in enumerate(ranges)])
    commit_shard(attempt, names)


def _row(clip: int, frames: tuple[int, int], pairs: tuple[int, int]) -> dict[str, Any]:
    """Manifest row of a clip of an item, with its ranges of rows."""
    blank = {"str": "h264", "int64": 0, "float64": 0.5, "bool": False}
    rows = {name: blank[dtype] for name, dtype in MANIFEST_COLUMNS.items()}
    ranges = {"frame_start": frames[0], "frame_stop": frames[1], "pair_start": pairs[0], "pair_stop": pairs[1]}
    return rows | {"clip_number": clip} | ranges


def measure_staging(folder: Path, model: str, sampling: str, videos: int, seed: int = 0) -> tuple[float, float, float]:
    """Bytes a frame, and processor microseconds a frame of staging and of the commit, of one shard in `folder`."""
    config = ExtractionConfig(model=model, weights="random", seed=0, sampling=Sampling(sampling))
    paths = StorePaths(folder)
    run = write_run(paths, Run(config, BUDGETS_US[model][0], "none", 0, "", ""))
    attempt = new_attempt(paths, run, shard_name(0), "benchmark")
    starts = [0] if sampling == "dense" else [*range(0, VIDEO_FRAMES - FRAMES + 1, FRAMES), VIDEO_FRAMES - FRAMES]
    size = VIDEO_FRAMES if sampling == "dense" else FRAMES
    clips = [_row(k, (start, start + size), (start, start + size - 1)) for k, start in enumerate(starts)]
    made = _videos(run, len(clips), np.random.default_rng(seed))
    ids = [f"{k:05d}.mp4" for k in range(videos)]

    def stage() -> None:
        with StagingLog(attempt) as log:
            for number, video_id in enumerate(ids):
                with log.item(video_id) as writer:
                    for rows in made[number % len(made)]:
                        writer.append(rows)
                    writer.finish(clips)
                if number % VIDEOS_A_SYNC == 0:
                    log.sync()

    frame_bytes = sum(array.nbytes for rows in made[0] for array in rows.values()) / VIDEO_FRAMES
    spent = [_seconds(work, time.process_time) for work in (stage, lambda: commit_shard(attempt, ids))]
    staging, commit = (seconds / videos / VIDEO_FRAMES * 1e6 for seconds in spent)
    return frame_bytes, staging, commit


def _videos(run: Run, clips: int, rng: np.random.Generator, count: int = 8) -> list[list[Arrays]]:
    """Rows of some videos, in the blocks in which they are appended: of each half its pairs, then its frames."""
    rows = {"clips": clips, "frames": VIDEO_FRAMES, "pairs": VIDEO_FRAMES - 1}
    halves = (slice(0, VIDEO_FRAMES // 2), slice(VIDEO_FRAMES // 2, None))
    videos = []
    for _ in range(count):
        arrays = {
            spec.path: rng.integers(0, 100, (rows[spec.level], *spec.shape)).astype(spec.dtype) for spec in run.datasets
        }
        videos.append(
            [
                {path: array[half] for path, array in arrays.items() if path.startswith(levels)}
                for half in halves
                for levels in (("clips", "pairs"), ("frames",))
            ]
        )
    return videos


def _seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--videos", type=int, default=300, help="videos that are staged and committed")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), options.clips, options.reads)
    megabytes = found.clip_bytes * options.clips / 1e6
    print(
        f"{options.clips} clips of {found.clip_bytes / 1e3:.0f} kB, {options.reads} random reads of all their tensors"
    )
    print(f"write, layout         {found.write_seconds:8.2f} s     {megabytes / found.write_seconds:6.0f} MB/s")
    ratio = found.group_write_seconds / found.write_seconds
    print(f"write, group per clip {found.group_write_seconds:8.2f} s     {ratio:6.1f} times slower")
    print(f"read, layout          {found.read_us:8.0f} us per clip")
    ratio = found.group_read_us / found.read_us
    print(f"read, group per clip  {found.group_read_us:8.0f} us per clip {ratio:6.1f} times slower")
    print(f"FeatureStore.clip     {found.store_read_us:8.0f} us per clip")
    ratio = found.store_read_us / found.batch_read_us
    print(
        f"FeatureStore.clips    {found.batch_read_us:8.0f} us per clip {ratio:6.1f} times faster: 64 neighbours at once"
    )
    print_staging(options.folder, options.videos)


def print_staging(place: Path | None, videos: int) -> None:
    """Measure staging and commit below `place`, and print."""
    print(f"\nprocessor time in us a frame, {videos} videos of {VIDEO_FRAMES} frames")
    print(f"{'network':<16}{'sampling':<10}{'B/frame':>8}{'staging':>9}{'commit':>9}{'together':>10}{'budget':>8}")
    for model, (_, budget) in BUDGETS_US.items():
        for sampling in ("windows", "dense"):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                size, staging, commit = measure_staging(Path(folder), model, sampling, videos)
            figures = f"{staging:>9.1f}{commit:>9.1f}{staging + commit:>10.1f}"
            print(f"{model:<16}{sampling:<10}{size:>8,.0f}{figures}{budget:>8}")


if __name__ == "__main__":
    main()
