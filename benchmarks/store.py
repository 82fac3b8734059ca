"""The store's layout against one HDF5 group per clip: writing, and reading random clips.

    python -m benchmarks.store [--clips 2000] [--reads 1000] [--folder FOLDER]

Also the cost of staging and committing per clip, and of reading neighbouring clips at once.
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
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths, shard_name
from schemas.manifest import MANIFEST_COLUMNS
from schemas.tensors import NetworkShape

__all__ = ["Figures", "main", "measure"]

FRAMES = 8
CLIPS_AN_ITEM = 20
SHAPE = NetworkShape(clip_dim=512, frame_dim=512, motion_channels=128, cells=(28, 28))

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Figures:
    """Seconds for all clips (write, staging, commit), microseconds per clip (read), bytes per clip."""

    clip_bytes: int
    write_seconds: float
    group_write_seconds: float
    stage_seconds: float
    commit_seconds: float
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
    stage, commit = _store(folder / "store", run, clip, clips)
    store = FeatureStore(folder / "store")
    len(store)
    return Figures(
        clip_bytes=sum(rows.nbytes for rows in clip.values()),
        write_seconds=write,
        group_write_seconds=group_write,
        stage_seconds=stage,
        commit_seconds=commit,
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


def _store(folder: Path, run: Run, clip: Arrays, clips: int) -> tuple[float, float]:
    """Seconds to stage and to commit the clips, as items of 20 clips in one shard."""
    folder.mkdir()
    paths = StorePaths(folder)
    attempt = new_attempt(paths, write_run(paths, run), shard_name(0), "benchmark")
    names = [f"{k}.mp4" for k in range(clips // CLIPS_AN_ITEM)]

    def stage() -> None:
        with StagingLog(attempt) as log:
            for name in names:
                with log.item(name) as writer:
                    for _ in range(CLIPS_AN_ITEM):
                        writer.append(clip)
                    writer.finish([_row(k) for k in range(CLIPS_AN_ITEM)])

    return _seconds(stage), _seconds(lambda: commit_shard(attempt, names))


def _row(clip: int) -> dict[str, Any]:
    blank = {"str": "", "int64": 0, "float64": 0.0, "bool": False}
    rows = {name: blank[dtype] for name, dtype in MANIFEST_COLUMNS.items()}
    frames = {"frame_start": clip * FRAMES, "frame_stop": (clip + 1) * FRAMES}
    pairs = {"pair_start": clip * (FRAMES - 1), "pair_stop": (clip + 1) * (FRAMES - 1)}
    return rows | {"clip_number": clip} | frames | pairs


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--reads", type=int, default=1000)
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
    print(f"stage                 {found.stage_seconds:8.2f} s     {megabytes / found.stage_seconds:6.0f} MB/s")
    print(f"commit (read back)    {found.commit_seconds:8.2f} s     {megabytes / found.commit_seconds:6.0f} MB/s")
    print(f"read, layout          {found.read_us:8.0f} us per clip")
    ratio = found.group_read_us / found.read_us
    print(f"read, group per clip  {found.group_read_us:8.0f} us per clip {ratio:6.1f} times slower")
    print(f"FeatureStore.clip     {found.store_read_us:8.0f} us per clip")
    ratio = found.store_read_us / found.batch_read_us
    print(
        f"FeatureStore.clips    {found.batch_read_us:8.0f} us per clip {ratio:6.1f} times faster: 64 neighbours at once"
    )


if __name__ == "__main__":
    main()
