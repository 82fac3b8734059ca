"""Loading a GEBD training set: random windows against the shard-aware order, and against one npy file a video.

    python -m benchmarks.gebd_loader [--videos 2000] [--windows 2000] [--folder FOLDER]

Videos of 100 frames at 10 Hz with features of 512 values and displacement of 28 x 28 cells, in windows of 1.6 s: one
every 0.4 s, as boundaries are learned, and side by side. "Cold" means that the pages of all files are dropped from the
page cache every few windows, as if the data were much larger than memory; "warm" that they all are in it. Then two
workers, and resident memory over five epochs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from extractor.store import FeatureStore, StagingLog, commit_shard, new_attempt, write_inventory, write_run
from extractor.store.commits.run import Run
from gebd import Batch, GEBDDataset, Sample, ShardSampler, collate
from schemas.config import ExtractionConfig, Sampling
from schemas.layout import StorePaths, shard_name
from schemas.manifest import INVENTORY_COLUMNS, MANIFEST_COLUMNS
from schemas.tensors import NetworkShape

__all__ = ["NpyFolder", "main", "make_store"]

FRAMES, RATE_HZ = 100, 10.0
SHAPE = NetworkShape(clip_dim=512, frame_dim=512, motion_channels=128, cells=(28, 28))
VIDEOS_A_SHARD = 500  # some 200 MB
WINDOW_SECONDS, HOP_SECONDS, WINDOW_FRAMES = 1.6, 0.4, 16
TENSORS = ("frame", "displacement")
BATCH, COLD_WINDOWS, EPOCHS = 32, 64, 5


class NpyFolder(Dataset[Sample]):
    """The same windows from one npy file a video and tensor, each window cut out of a memory map or a whole file."""

    def __init__(self, folder: Path, like: GEBDDataset, *, mapped: bool) -> None:
        self.folder = folder
        self.like = like
        self.mode: Any = "r" if mapped else None

    @staticmethod
    def write(folder: Path, store: FeatureStore) -> None:
        """Write every video of a store as npy files."""
        for video_id in store.video_ids:
            for name, rows in store.video(video_id, TENSORS).items():
                np.save(folder / f"{video_id}.{name}.npy", rows)

    def __len__(self) -> int:
        return len(self.like)

    def __getitem__(self, index: int) -> Sample:
        number, start = divmod(index, len(self.like) // len(self.like.store.video_ids))
        first = min(round(start * HOP_SECONDS * RATE_HZ), FRAMES - WINDOW_FRAMES)
        video_id = f"{number:05d}.mp4"
        frame, motion = (
            np.load(self.folder / f"{video_id}.{name}.npy", mmap_mode=self.mode)[first : first + WINDOW_FRAMES]
            for name in TENSORS
        )
        short = WINDOW_FRAMES - len(motion)  # the last frame has no pair
        motion = np.concatenate([motion, motion[-1:]]) if short else np.array(motion)
        valid, times = np.ones(WINDOW_FRAMES, bool), np.arange(first, first + WINDOW_FRAMES) / RATE_HZ
        rest: Any = (None, None, None, None, None, 10.0, 30.0, video_id, first / RATE_HZ)
        return Sample({"frame": np.array(frame), "displacement": motion}, valid, times, *rest)


def make_store(root: Path, videos: int, seed: int = 0) -> FeatureStore:
    """A store of seeded numbers."""
    root.mkdir()
    paths = StorePaths(root)
    config = ExtractionConfig(
        model="msnet_resnet18",
        weights="random",
        seed=0,
        sampling=Sampling.DENSE,
        outputs=("frame", "displacement"),
    )
    run = write_run(paths, Run(config, SHAPE, "none", 0, "", ""))
    ids = [f"{k:05d}.mp4" for k in range(videos)]
    shards = [ids[start : start + VIDEOS_A_SHARD] for start in range(0, videos, VIDEOS_A_SHARD)]
    write_inventory(paths, _inventory(shards))
    rng = np.random.default_rng(seed)
    for number, members in enumerate(shards):
        attempt = new_attempt(paths, run, shard_name(number), "benchmark")
        with StagingLog(attempt) as log:
            for video_id in members:
                with log.item(video_id) as writer:
                    writer.append(_rows(run, rng))
                    writer.finish([_manifest_row()])
        commit_shard(attempt, members)
    return FeatureStore(root)


def _rows(run: Run, rng: np.random.Generator) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for spec in run.datasets:
        shape = (FRAMES - (spec.level == "pairs"), *spec.shape)
        rows[spec.path] = rng.integers(0, 100, shape).astype(spec.dtype)
    rows["frames/time_seconds"] = np.arange(FRAMES) / RATE_HZ
    rows["frames/index"], rows["frames/valid"] = np.arange(FRAMES) * 3, np.ones(FRAMES, np.uint8)
    return rows


def _manifest_row() -> dict[str, Any]:
    blank = {"str": "", "int64": 0, "float64": 0.0, "bool": False}
    row = {name: blank[dtype] for name, dtype in MANIFEST_COLUMNS.items()}
    return row | {"frame_stop": FRAMES, "pair_stop": FRAMES - 1, "fps": 30.0, "video_end_seconds": FRAMES / RATE_HZ}


def _inventory(shards: Sequence[Sequence[str]]) -> Any:
    import pandas as pd

    rows = [
        dict.fromkeys(INVENTORY_COLUMNS, 0)
        | {
            "video_id": video_id,
            "path": video_id,
            "shard": shard_name(k),
            "start_seconds": np.nan,
            "end_seconds": np.nan,
        }
        for k, members in enumerate(shards)
        for video_id in members
    ]
    return pd.DataFrame(rows)


def drop_pages(folder: Path) -> None:
    """Drop the pages of all files below a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def windows_a_second(batches: Iterable[Batch], between: Callable[[], None] | None = None) -> float:
    """Windows a second over batches; `between`, where given, is called now and then outside the time taken."""
    windows, seconds, since = 0, 0.0, 0
    start = time.perf_counter()
    for batch in batches:
        windows, since = windows + len(batch), since + len(batch)
        if between is not None and since >= COLD_WINDOWS:
            seconds += time.perf_counter() - start
            between()
            since, start = 0, time.perf_counter()
    return windows / (seconds + time.perf_counter() - start)


def _loader(dataset: Dataset[Sample], windows: int | None = None, **options: Any) -> Iterator[Batch]:
    loader: DataLoader[Sample] = DataLoader(dataset, batch_size=BATCH, collate_fn=collate, **options)
    return islice(iter(loader), None if windows is None else max(1, windows // BATCH))


def _random(dataset: Any) -> RandomSampler:
    return RandomSampler(dataset, generator=torch.Generator().manual_seed(0))


def _resident_kb(pid: int | str) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _report(name: str, value: float, note: str = "") -> None:
    print(f"  {name:<44}{value:>12,.0f}   {note}", flush=True)


def compare_cold(dataset: GEBDDataset, folder: Path, windows: int) -> None:
    """Random and shard-aware windows a second in one process, with a cold page cache."""

    def drop() -> None:
        drop_pages(folder)

    drop()
    random = windows_a_second(_loader(dataset, windows, sampler=_random(dataset)), drop)
    drop()
    aware = windows_a_second(_loader(dataset, sampler=ShardSampler(dataset)), drop)
    _report("random order, cold", random, "windows/s")
    _report("shard-aware epoch, cold", aware, f"windows/s, {aware / random:.1f} times the random order")


def compare_warm(dataset: GEBDDataset, folder: Path, windows: int) -> None:
    """Random and shard-aware windows a second in one process, and those of npy files, all in the page cache."""
    folder.mkdir()
    NpyFolder.write(folder, dataset.store)
    npy = {name: NpyFolder(folder, dataset, mapped=name == "memory map") for name in ("whole file", "memory map")}
    for _ in _loader(dataset, sampler=ShardSampler(dataset)):  # into the page cache, where the new files are
        pass
    _report("random order, warm", windows_a_second(_loader(dataset, windows, sampler=_random(dataset))), "windows/s")
    aware = windows_a_second(_loader(dataset, sampler=ShardSampler(dataset, seed=1)))
    _report("shard-aware epoch, warm", aware, "windows/s")
    for name, one in npy.items():
        found = windows_a_second(_loader(one, windows, sampler=_random(one)))
        _report(f"npy a video, {name}, warm", found, f"windows/s, shard-aware is {aware / found:.2f} times that")


def workers_and_memory(dataset: GEBDDataset, workers: int) -> None:
    """Frames a second of several workers, and memory after every epoch."""
    sampler = ShardSampler(dataset, batch_size=BATCH, num_workers=workers)
    loader: DataLoader[Sample] = DataLoader(
        dataset, BATCH, sampler=sampler, collate_fn=collate, num_workers=workers, persistent_workers=True
    )
    memory = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        speed = windows_a_second(loader) * WINDOW_FRAMES
        pids = [worker.pid for worker in getattr(loader, "_iterator")._workers]  # noqa: B009
        memory.append((_resident_kb("self"), sum(map(_resident_kb, pids))))
        _report(f"{workers} workers, epoch {epoch + 1}", speed, "frames/s")
    for name, first, last in zip(("loading process", "workers"), memory[0], memory[-1], strict=True):
        _report(f"memory of {name}, epoch {EPOCHS}", last / 1024, f"MiB, {last / first - 1:+.1%} of epoch 1")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--windows", type=int, default=2000, help="windows of the random orders; others are epochs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (a temporary folder)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place) / "store"
        before = time.perf_counter()
        store = make_store(folder, options.videos)
        made = time.perf_counter()
        apart = GEBDDataset(store, None, RATE_HZ, WINDOW_SECONDS, tensors=TENSORS)
        _report("store made in", made - before, "s")
        _report("dataset opened in", 1000 * (time.perf_counter() - made), "ms")
        dataset = GEBDDataset(store, None, RATE_HZ, WINDOW_SECONDS, HOP_SECONDS, tensors=TENSORS)
        for name, one in ((f"one every {HOP_SECONDS:g} s", dataset), ("side by side", apart)):
            print(f"{len(one)} windows, {name}")
            compare_cold(one, folder, options.windows)
        print(f"{len(dataset)} windows, all files in the page cache")
        compare_warm(dataset, Path(place) / "npy", options.windows)
        print(f"{len(apart)} windows, {options.workers} workers")
        workers_and_memory(apart, options.workers)


if __name__ == "__main__":
    main()
