"""Processor time of staging and committing, in microseconds a frame.

    python -m benchmarks.staging [--videos 300] [--folder FOLDER]

Videos of 100 frames at 10 Hz with the default outputs of two networks, as windows and dense. Rows come in the store's
number format, half a video at a time, as from a network. A budget is printed beside each figure: 100 us for ResNet-18,
150 us for ResNet-50, staging and commit together.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from extractor.store import StagingLog, commit_shard, new_attempt, write_run
from extractor.store.commits.run import Run
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths, shard_name
from schemas.manifest import MANIFEST_COLUMNS
from schemas.tensors import NetworkShape

__all__ = ["main", "measure"]

FRAMES, WINDOW, VIDEOS_A_SYNC = 100, 8, 20
NETWORKS = {
    "msnet_resnet18": (NetworkShape(512, 512, 128, (28, 28)), 100),
    "msnet_resnet50": (NetworkShape(2048, 2048, 512, (28, 28)), 150),
}
SAMPLINGS = ("windows", "dense")

Arrays = dict[str, npt.NDArray[Any]]


def measure(folder: Path, model: str, sampling: str, videos: int, seed: int = 0) -> tuple[float, float, float]:
    """Bytes a frame, and processor microseconds a frame of staging and of the commit, of one shard below `folder`."""
    config = ExtractionConfig(model=model, weights="random", seed=0, sampling=sampling)
    paths = StorePaths(folder)
    run = write_run(paths, Run(config, NETWORKS[model][0], "none", 0, "", ""))
    attempt = new_attempt(paths, run, shard_name(0), "benchmark")
    ranges = _ranges(sampling)
    clips, made = _clips(ranges), _videos(run, len(ranges), seed)
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

    frame_bytes = sum(array.nbytes for rows in made[0] for array in rows.values()) / FRAMES
    staging, commit = _seconds(stage), _seconds(lambda: commit_shard(attempt, ids))
    return frame_bytes, staging / videos / FRAMES * 1e6, commit / videos / FRAMES * 1e6


def _ranges(sampling: str) -> list[tuple[int, int]]:
    if sampling == "dense":
        return [(0, FRAMES)]
    starts = [*range(0, FRAMES - WINDOW + 1, WINDOW), FRAMES - WINDOW]
    return [(start, start + WINDOW) for start in starts]


def _clips(ranges: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Manifest rows of the clips with these frames."""
    blank = {"str": "", "int64": 0, "float64": 0.5, "bool": False}
    base = {name: blank[dtype] for name, dtype in MANIFEST_COLUMNS.items()}
    base |= {"codec": "h264", "container": "mov,mp4,m4a", "decoder": "decord", "decoder_version": "3.4.0"}
    return [
        base
        | {"clip_number": k, "num_valid_frames": stop - start, "start_seconds": start / 10, "end_seconds": stop / 10}
        | {"frame_start": start, "frame_stop": stop, "pair_start": start, "pair_stop": stop - 1}
        for k, (start, stop) in enumerate(ranges)
    ]


def _videos(run: Run, clips: int, seed: int, count: int = 8) -> list[list[Arrays]]:
    """Seeded numbers of some videos, in the blocks in which they are appended: each half's pairs, then its frames."""
    rng = np.random.default_rng(seed)
    rows = {"clips": clips, "frames": FRAMES, "pairs": FRAMES - 1}
    videos = []
    for _ in range(count):
        arrays = {
            spec.path: rng.integers(0, 100, (rows[spec.level], *spec.shape)).astype(spec.dtype) for spec in run.datasets
        }
        halves = (slice(0, FRAMES // 2), slice(FRAMES // 2, None))
        videos.append(
            [
                {path: array[half] for path, array in arrays.items() if path.startswith(levels)}
                for half in halves
                for levels in (("clips", "pairs"), ("frames",))
            ]
        )
    return videos


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (a temporary folder)")
    options = parser.parse_args()
    print(f"{'network':<16}{'sampling':<10}{'B/frame':>8}{'staging':>9}{'commit':>9}{'together':>10}{'budget':>8}")
    for model, (_, budget) in NETWORKS.items():
        for sampling in SAMPLINGS:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                size, staging, commit = measure(Path(folder), model, sampling, options.videos)
            figures = f"{staging:>9.1f}{commit:>9.1f}{staging + commit:>10.1f}"
            print(f"{model:<16}{sampling:<10}{size:>8,.0f}{figures}{budget:>8}")


if __name__ == "__main__":
    main()
