"""Planning of very many videos: how much of small files is read, and the memory and time of a million rows.

    python -m benchmarks.rehearsals.planning [--files 20000] [--rows 1000000]

The files are links to ten small videos. The rows are of files that are listed and not there, so that their
lengths are estimated by their sizes. Each part runs in a process of its own and uses neither Ray nor a decoder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from extractor.store import read_inventory, write_run
from extractor.store.commits.run import Run
from extractor.video.encoding import encode_video
from extractor.video.listing import Listing, list_videos
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.videos import StoreVideos
from jobs.run.watcher import Watcher
from schemas.config import ExtractionConfig
from schemas.layout import StorePaths
from schemas.records import FileJob, Item
from schemas.tensors import NetworkShape

__all__ = ["main"]

_KINDS = 10
_SHAPE = NetworkShape(clip_dim=512, frame_dim=512, motion_channels=128, cells=(28, 28))
_WORKERS = Placement((Workers(8, 16, 1, 1),))


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rehearsals.planning", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _apart(_plan_files, folder, options.files)
        _apart(_plan_rows, folder, options.rows)


def _apart(part: Callable[[Path, int], None], folder: Path, count: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=part, args=(folder, count))
    process.start()
    process.join()
    assert process.exitcode == 0


def _plan_files(folder: Path, count: int) -> None:
    videos = folder / "videos"
    _link_videos(videos, count)
    started = time.perf_counter()
    listing = list_videos(videos)
    print(f"{count} files listed in {time.perf_counter() - started:.1f} s")
    before = _bytes_read()
    _plan(listing, folder / "of_files")
    stored = sum(job.size_bytes or 0 for job in listing.jobs)
    share = (_bytes_read() - before) / stored
    print(f"  {share:.1%} of their {stored / 1e6:.0f} MB were read, with the store's own files")


def _plan_rows(folder: Path, count: int) -> None:
    sizes = np.random.default_rng(0).integers(20_000, 60_000, count).tolist()
    names = (f"class_{k % 400:03d}/video_{k:07d}_some_name.mp4" for k in range(count))
    jobs = tuple(
        FileJob(f"/nowhere/data/{name}", (Item(name),), size, 10**18 + size)
        for name, size in zip(names, sizes, strict=True)
    )
    print(f"{count} rows: {_peak_mb():.0f} MB with the listing")
    _plan(Listing(Path("/nowhere/data"), jobs), folder / "of_rows")


def _plan(listing: Listing, root: Path) -> None:
    root.mkdir()
    paths = StorePaths(root)
    config = ExtractionConfig(model="msnet_resnet18", weights="random", seed=0)
    run = write_run(paths, Run(config, _SHAPE, "none", 256 * 1024 * 1024, str(listing.root), ""))
    started, cpu = time.perf_counter(), time.process_time()
    first = 0.0
    with StoreVideos(paths, run, listing.root, _WORKERS, 1, Watcher()).planning(listing) as planning:
        while not planning.supply.wait_for_end(0.01):
            first = first or (time.perf_counter() - started if len(planning.supply) else 0.0)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    shards, peak = len(planning.supply), _peak_mb()
    print(f"  planned in {wall:.1f} s, {cpu:.1f} s of CPU time, into {shards} shards, the first after {first:.2f} s")
    print(f"  {peak:.0f} MB at most")
    assert len(read_inventory(paths)) == listing.num_items and not paths.planning.exists()


def _link_videos(folder: Path, count: int) -> None:
    folder.mkdir()
    kinds = []
    for kind in range(_KINDS):
        random = np.random.default_rng(kind)
        noise = random.integers(0, 255, (12, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        frames = (np.roll(noise, 3 * k, axis=1) for k in range(100 + 20 * kind))
        kinds.append(folder / f"kind_{kind}.mp4")
        encode_video(kinds[-1], frames, fps=25, crf=20)
    print(f"files of {min(k.stat().st_size for k in kinds)} to {max(k.stat().st_size for k in kinds)} bytes")
    for number in range(count - _KINDS):
        (folder / f"video_{number:06d}.mp4").hardlink_to(kinds[number % _KINDS])


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
