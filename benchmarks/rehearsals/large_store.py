"""A store of a million videos, 12 million clips and 20,000 shards: how long it takes to open, read and resume.

    python -m benchmarks.rehearsals.large_store [--shards 20000] [--videos 50] [--clips 12] [--store FOLDER]

The store is synthetic: its commit records and fragments are whole, of its data only the shards are written that are
read here. Every group of figures is taken in a process of its own, with a warm disk cache: seconds on the wall and on
the CPU, memory, and what is expected. Making the store takes minutes: `--store` keeps it in a folder for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extractor.store import FeatureStore, Lease, read_run, sweep, write_inventory, write_manifest_cache, write_run
from extractor.store.commits.records import encode_record
from extractor.store.commits.run import Run
from extractor.store.commits.snapshot import refresh_commits_cache
from extractor.store.disk.shard import ShardWriter
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.videos import StoreVideos
from jobs.run.watcher import Watcher
from jobs.stores.standing import standing
from jobs.stores.status import store_status
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass
from schemas.layout import StorePaths, shard_name
from schemas.manifest import INVENTORY_COLUMNS, manifest_from_columns
from schemas.records import CommitRecord, Failure, StoredFile
from schemas.tensors import NetworkShape

__all__ = ["FIGURES", "main", "make"]

_SHAPE = NetworkShape(clip_dim=64, frame_dim=64, motion_channels=8, cells=(7, 7), num_classes=0)
_CONFIG = {"model": "msnet_resnet18", "weights": "random", "seed": 0, "num_frames": 8, "outputs": ("clip", "frame")}
_FRAMES = 8  # of a clip
_WHOLE_SHARDS = 8  # whose data is written
_FAILED_EVERY = 40  # shards, one video


def _attempt(shard: int) -> str:
    return hashlib.sha256(str(shard).encode()).hexdigest()[:16]


def _ids(shard: int, videos: int) -> list[str]:
    return [f"class_{shard % 400:03d}/{_attempt(shard * videos + k)[:11]}_{shard:06d}.mp4" for k in range(videos)]


def _whole(shards: int) -> list[int]:
    """The shards whose data is written, spread over the store."""
    return sorted({k * shards // _WHOLE_SHARDS for k in range(_WHOLE_SHARDS)})


def make(root: Path, shards: int, videos: int, clips: int) -> StorePaths:
    """Write the store, without its caches."""
    root.mkdir(parents=True, exist_ok=True)
    paths = StorePaths(root)
    run = Run(ExtractionConfig(**_CONFIG), _SHAPE, "none", 10**9, "/videos", "2026-01-01T00:00:00+00:00")  # type: ignore[arg-type]
    run = write_run(paths, run)
    _write_inventory(paths, shards, videos)
    for folder in (paths.shards, paths.commits):
        folder.mkdir()
    template, whole = _template(videos, clips), set(_whole(shards))
    for shard in range(shards):
        _write_shard(paths, run, template, _Shard(shard, videos, clips, shard in whole))
        if sys.stderr.isatty() and shard % 100 == 99:
            print(f"\r{shard + 1}/{shards} shards", end="", file=sys.stderr)
    return paths


def _write_inventory(paths: StorePaths, shards: int, videos: int) -> None:
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


@dataclass(frozen=True, slots=True)
class _Shard:
    """What a shard holds. whole: with its data."""

    number: int
    videos: int
    clips: int
    whole: bool


def _write_shard(paths: StorePaths, run: Run, template: pa.Table, holds: _Shard) -> None:
    shard, videos, clips = holds.number, holds.videos, holds.clips
    name, attempt, done = shard_name(shard), _attempt(shard), _ids(shard, videos)
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
    for column in ("start_seconds", "end_seconds", "video_start_seconds", "video_end_seconds"):
        place = table.schema.get_field_index(column)
        times = pc.add(table[column], shard * 0.001)  # no two shards have the same
        table = table.set_column(place, table.schema.field(place), times)
    pq.write_table(table, fragment, compression="zstd")
    rows = {"clips": count, "frames": count * _FRAMES, "pairs": count * (_FRAMES - 1)}
    size = _write_data(data, run, rows, shard) if holds.whole else 10**9
    content = fragment.read_bytes()
    record = CommitRecord(
        shard=name,
        attempt=attempt,
        generation=1,
        digest=run.digest,
        data=StoredFile(file, size, hashlib.sha256(file.encode()).hexdigest()),
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
    arrays = {spec.path: (rows[spec.level], *spec.shape) for spec in run.datasets}
    writer.append({spec.path: rng.integers(0, 2, arrays[spec.path]).astype(spec.dtype) for spec in run.datasets})
    writer.close({"format_version": 2, "digest": run.digest})
    return path.stat().st_size


def _memory_mb() -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(slots=True)
class _Meter:
    """Prints what each step takes."""

    memory: float = field(default_factory=_memory_mb)

    def take(self, name: str, step: Callable[[], Any], expected: str = "") -> Any:
        before, wall, cpu = _memory_mb(), time.perf_counter(), time.process_time()
        found = step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name:<36}{wall:>9.3f} s {cpu:>9.3f} s{_memory_mb() - before:>8.0f} MB   {expected}", flush=True)
        return found

    def peak(self, expected: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - self.memory
        print(f"{'  peak of this process':<60}{peak:>5.0f} MB   {expected}", flush=True)


def _write(paths: StorePaths, _: argparse.Namespace) -> None:
    meter = _Meter()
    meter.take("caches, at the end of a run", lambda: write_manifest_cache(paths))
    meter.peak("1500 MB")


def _read(paths: StorePaths, options: argparse.Namespace) -> None:
    meter, rng = _Meter(), np.random.default_rng(0)
    store = meter.take("FeatureStore(...)", lambda: FeatureStore(paths.root), "2 s, 500 MB")
    ids = [_ids(shard, options.videos)[0] for shard in _whole(options.shards)]
    meter.take("first video", lambda: store.video(ids[1]), "0.05 s")
    meter.take("video of another shard", lambda: store.video(ids[-1]), "0.05 s")
    clips = [clip for video_id in ids for clip in store.video_clips(video_id)]
    meter.take("256 random clips, one by one", lambda: [store.clip(clip) for clip in rng.choice(clips, 256)])
    meter.take("256 random clips, together", lambda: store.clips(rng.choice(clips, 256).tolist()))
    meter.peak("500 MB")
    meter.take("video_ids", lambda: store.video_ids)
    meter.take("rows of the manifest, of a video", lambda: store.manifest_rows(store.video_clips(ids[-1])))
    meter.take("three columns, one row per video", lambda: store.of_videos(["fps", "decoder", "flags"]))
    meter.take("row ranges of all clips", store.row_ranges)
    state = meter.take("pickled", lambda: pickle.dumps(store))
    meter.take("unpickled", lambda: pickle.loads(state))


def _status(paths: StorePaths, _: argparse.Namespace) -> None:
    meter = _Meter()
    found = meter.take("store_status", lambda: store_status(paths.root), "seconds")
    meter.peak("1500 MB")
    print(f"  {found.standing}, {found.standing.clips} clips")


def _resume(paths: StorePaths, _: argparse.Namespace) -> None:
    """What a run does before extractors get work, without Ray."""
    meter = _Meter()
    began = time.perf_counter(), time.process_time()
    run = read_run(paths)
    with Lease(paths) as lease:
        meter.take("resume: sweep", lambda: sweep(paths, lease.token))
        meter.take("resume: cache of records", lambda: refresh_commits_cache(paths))
        videos = StoreVideos(paths, run, paths.root, Placement((Workers(1, 2, 1, 0, 16),)), 1, Watcher())
        inventory = meter.take("resume: inventory", lambda: videos.inventory(None, rescan=False))
        inventory = meter.take("resume: compared with the records", lambda: videos.whole(inventory))
        meter.take("resume: standing", lambda: standing(paths, run, inventory))
        meter.take("resume: shards to do", lambda: videos.pending(inventory, (0, 1)))
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"{'resume, until there is work':<36}{wall:>9.3f} s {cpu:>9.3f} s{'':>11}   10 s", flush=True)
    meter.peak("1500 MB")


FIGURES = {"write": _write, "read": _read, "status": _status, "resume": _resume}


def main() -> None:
    """Make the store if there is none, and take each group of figures in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("shards", 20_000), ("videos", 50), ("clips", 12)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--store", type=Path, help="folder to keep the store in (default: a temporary one)")
    parser.add_argument("--only", choices=FIGURES, help="the figures to take, of a store that exists")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = options.store or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
        paths = StorePaths(root)
        if options.only:
            FIGURES[options.only](paths, options)
            return
        if not paths.run.exists():
            began = time.perf_counter()
            make(root, options.shards, options.videos, options.clips)
            print(f"made in {time.perf_counter() - began:.0f} s")
        print(f"{'':<36}{'wall':>11} {'CPU':>11}{'memory':>11}   expected", flush=True)
        sizes = [f"--{name}={getattr(options, name)}" for name in ("shards", "videos", "clips")]
        for name in (*FIGURES, "write"):  # again, from the caches that there are now
            command = [sys.executable, "-m", "benchmarks.rehearsals.large_store", "--only", name]
            subprocess.run([*command, "--store", str(root), *sizes], check=True)


if __name__ == "__main__":
    main()
