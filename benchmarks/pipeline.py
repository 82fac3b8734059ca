"""How busy a fast device is kept, and what a frame costs beside it.

    python -m benchmarks.pipeline [--frames-a-second 4000] [--videos 1000]

The device is a stand-in of a given speed that uses no CPU; frames are ready-made, and come through Ray from decoders
that do nothing else. Staging and commits are included. Prints a table, what an H200 would be used to by these figures,
and a last line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.decoding.limit import LARGE, SMALL, DecodeCost, decode_costs_of
from extractor.extraction.request import Request
from extractor.extraction.resolving import resolve
from extractor.models.loading import load_model
from extractor.pipeline.devices import StandInDevice
from extractor.store import write_run
from extractor.store.commits.run import Run
from extractor.video.encoding import encode_video
from extractor.video.sampling import plan_for
from jobs.cluster.devices import Workers
from jobs.cluster.options import DecoderLimits
from jobs.workers.attempt import ShardAttempt
from jobs.workers.decoder_pool import DecoderPool
from jobs.workers.events import ShardCommitted, ShardTask
from jobs.workers.pipeline import Pipeline
from jobs.workers.writer import spawn_writer
from schemas.config import DecoderPolicy, ExtractionConfig, Sampling
from schemas.layout import StorePaths, shard_name
from schemas.records import Decoded, DecodingEvent, FileJob, FrameChunk, Header, Item, PixelGrid, VideoInfo

_SIZE = 224
_VIDEO_FRAMES = 100  # ten seconds at 10 Hz
_CHUNK = 111  # what a decoder sends at a time
_SHARD_BYTES = 256 * 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_H200_FRAMES_A_SECOND = 20_000.0


@dataclass(frozen=True, slots=True)
class Figures:
    """busy: share of the time in which the device computed. CPU in microseconds a frame."""

    busy: float
    frames_a_second: float
    extractor_us: float
    writer_us: float


class ReadyDecoder:
    """Has the methods of `jobs.workers.decoder.Decoder`; its frames are ready."""

    def __init__(self, config: ExtractionConfig) -> None:
        self._config = config
        self._answers: deque[list[DecodingEvent]] = deque()
        self._frames = np.random.default_rng(0).integers(0, 256, (_CHUNK, _SIZE, _SIZE, 3), np.uint8)

    def process_id(self) -> int:
        return os.getpid()

    def next(self, files: Sequence[tuple[FileJob, str]] = ()) -> list[DecodingEvent]:
        for job, _ in files:
            self._add(job)
        return self._answers.popleft() if self._answers else []

    def _add(self, job: FileJob) -> None:
        """Make the events of a file, in answers as a decoder's."""
        times = np.arange(_VIDEO_FRAMES) / self._config.rate_hz
        end = _VIDEO_FRAMES / self._config.rate_hz
        info = VideoInfo("h264", "mp4", 340, 256, 0, self._config.rate_hz, _VIDEO_FRAMES, 0.0, end)
        plans = tuple(plan_for(times, end, item, self._config, None) for item in job.items)
        answer: list[DecodingEvent] = [Header(info, PixelGrid(1.0, 1.0, 0.0, 0.0), plans)]
        for start in range(0, _VIDEO_FRAMES, _CHUNK):
            index = np.arange(start, min(start + _CHUNK, _VIDEO_FRAMES))
            answer.append(FrameChunk(index, self._frames[: len(index)], np.ones(len(index), np.bool_)))
            self._answers.append(answer)
            answer = []
        self._answers[-1].append(Decoded("ready", "1"))


class StandInExtractor:
    """An extractor with a stand-in for its device, which begins each shard when the one before is at its last files."""

    def __init__(self, paths: StorePaths, run: Run, rate: float, decoders: int) -> None:
        def spawn(asks: bool) -> Any:
            return ray.remote(ReadyDecoder).options(num_cpus=0).remote(run.config)

        network = load_model(run.config.model, weights="random", num_segments=run.config.num_frames)
        self._device = StandInDevice(rate)
        self._writer = spawn_writer()
        workers = Workers(1, decoders, 1, 0, decoders_fixed=True)
        pool = DecoderPool(spawn, decoders, DecoderLimits(), decoders, decoders)
        self._pipeline = Pipeline(paths, run, network, self._device, pool, self._writer, workers)
        self._pipeline.start()

    def run(self, tasks: Sequence[ShardTask]) -> Figures:
        """Run all shards; the first is for warming up."""
        self._finish([tasks[0]])
        writer = ray.get(self._writer.process_id.remote())
        begun = time.perf_counter(), time.process_time(), cpu_seconds(writer), self._device.busy_seconds
        self._finish(tasks[1:])
        ended = time.perf_counter(), time.process_time(), cpu_seconds(writer), self._device.busy_seconds
        wall, extractor, writing, busy = (after - before for after, before in zip(ended, begun, strict=True))
        frames = sum(len(task.jobs) for task in tasks[1:]) * _VIDEO_FRAMES
        return Figures(busy / wall, frames / wall, extractor / frames * 1e6, writing / frames * 1e6)

    def _finish(self, tasks: Sequence[ShardTask]) -> None:
        waiting, shards = deque(tasks), deque([self._pipeline.begin(tasks[0])])
        waiting.popleft()
        while shards:
            for event in _events(shards[0]):
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, ShardCommitted):
                    shards.popleft()
                    break
            if waiting and all(shard.told_last_files for shard in shards):
                shards.append(self._pipeline.begin(waiting.popleft()))


def _events(shard: ShardAttempt) -> Iterator[Any]:
    while not shard.events.empty():
        yield shard.events.get()
    time.sleep(0.05)


def measure(folder: Path, model: str, sampling: Sampling, rate: float, videos: int, decoders: int = 2) -> Figures:
    """Extract ready-made videos into a store below `folder`, on a Ray that runs."""
    resolved = resolve(Request(model=model, weights="random", sampling=sampling))
    paths = StorePaths(folder / f"{model}-{sampling}")
    paths.root.mkdir()
    run = write_run(paths, Run(resolved.config, resolved.shape, "none", _SHARD_BYTES, "/nowhere", ""))
    a_frame = sum(spec.row_bytes for spec in run.datasets if spec.level != "clips")
    per_shard = min(max(1, _SHARD_BYTES // (a_frame * _VIDEO_FRAMES)), -(-videos // 3))
    names = [f"{number}.mp4" for number in range(per_shard // 4 + videos)]
    cuts = [0, per_shard // 4, *range(per_shard // 4 + per_shard, len(names), per_shard), len(names)]
    tasks = [
        ShardTask(shard_name(k), "benchmark", tuple(FileJob(name, (Item(name),)) for name in names[first:last]))
        for k, (first, last) in enumerate(pairwise(cuts))
    ]
    actor: Any = ray.remote(StandInExtractor).options(num_cpus=1).remote(paths, run, rate, decoders)
    try:
        figures: Figures = ray.get(actor.run.remote(tasks))
        return figures
    finally:
        ray.kill(actor)


def cpu_seconds(process_id: int) -> float:
    """CPU time that a process has taken."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def small_videos(folder: Path, count: int, code: Path | None = None) -> float:
    """Seconds in which `msnet extract` does so many videos of ten frames at 64 px; `code`: of another checkout."""
    videos = folder / "small"
    if not videos.exists():
        videos.mkdir()
        frames = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8)
        encode_video(videos / "0.mp4", frames, fps=10)
        for number in range(1, count):
            shutil.copy(videos / "0.mp4", videos / f"{number}.mp4")
    store = folder / f"store-{code is None}"
    command = [sys.executable, "-m", "msnet_features", "extract", str(videos), "--out", str(store), "--device", "cpu"]
    command += ["--model", "tsm_resnet18", "--weights", "random", "--sampling", "dense", "--size", "64"]
    place = str(code or Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": place}
    done = subprocess.run(command, check=False, env=environment, cwd=place, capture_output=True, text=True)
    found = re.search(r"frames in ([\d.]+) s", done.stdout + done.stderr)
    if found is None:
        raise SystemExit(f"expected `msnet extract` to end with its table; got: {(done.stdout + done.stderr)[-500:]}")
    return float(found[1])


def print_h200(found: Figures, costs: Sequence[DecodeCost]) -> None:
    """What share of an H200 is used by these figures: the least of the device, extractor, writer and decoders."""
    print(f"\nof an H200 ({_H200_FRAMES_A_SECOND:.0f} frames/s, by arithmetic) one extractor would use:")
    extractor, writer = 1e6 / found.extractor_us, 1e6 / found.writer_us
    for cores in (16, 32, 64):
        decoders = cores - 2  # beside the extractor and the writer
        shares = [
            min(_H200_FRAMES_A_SECOND, extractor, writer, decoders * 1000 / cost.ms_a_frame) / _H200_FRAMES_A_SECOND
            for cost in costs
        ]
        print(
            f"  {cores} cores: {shares[0]:4.0%} at 340 x 256 (decoded by auto), {shares[1]:4.0%} by sparse, "
            f"{shares[2]:4.0%} at 1080p, {shares[3]:4.0%} by sparse"
        )


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--frames-a-second", type=float, default=4000.0, help="of the stand-in")
    parser.add_argument("--videos", type=int, default=1000, help="of 100 frames each")
    parser.add_argument("--small-videos", type=int, default=800, help="of ten frames, through `msnet extract`")
    parser.add_argument("--old", type=Path, help="another checkout, whose `msnet extract` does the small videos, too")
    options = parser.parse_args(arguments)
    found: dict[tuple[str, Sampling], Figures] = {}
    print(f"stand-in of {options.frames_a_second:.0f} frames/s, {options.videos} videos of {_VIDEO_FRAMES} frames")
    print(f"{'network':<16}{'sampling':<10}{'busy':>6}{'frames/s':>10}{'extractor us':>14}{'writer us':>11}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=10**9,
        )
        for model in ("msnet_resnet18", "msnet_resnet50"):
            for sampling in (Sampling.WINDOWS, Sampling.DENSE):
                figures = found[model, sampling] = measure(
                    folder, model, sampling, options.frames_a_second, options.videos
                )
                print(
                    f"{model:<16}{sampling:<10}{figures.busy:6.2f}{figures.frames_a_second:10.0f}"
                    f"{figures.extractor_us:14.1f}{figures.writer_us:11.1f}",
                    flush=True,
                )
        ray.shutdown()
        policies = (DecoderPolicy.AUTO, DecoderPolicy.SPARSE)
        costs = [cost for size in (SMALL, LARGE) for cost in decode_costs_of(size, policies)]
        for name, cost in zip(("340 x 256", "340 x 256 sparse", "1080p", "1080p sparse"), costs, strict=True):
            print(f"decoding {name:<17} {cost.ratio:5.2f} of plain decoding, {cost.ms_a_frame:6.2f} ms a frame")
        windows, dense = found["msnet_resnet18", Sampling.WINDOWS], found["msnet_resnet18", Sampling.DENSE]
        slowest = max(windows, dense, key=lambda figures: figures.extractor_us)
        print_h200(slowest, costs)
        seconds = small_videos(folder, options.small_videos)
        print(f"\n{options.small_videos} videos of ten frames, 64 px, dense, on this CPU: {seconds:.1f} s")
        if options.old:
            before = small_videos(folder, options.small_videos, options.old)
            print(f"the other checkout: {before:.1f} s, {before / seconds:.2f} times as long")
    summary = {
        "busy_windows": windows.busy,
        "busy_dense": dense.busy,
        "extractor_us_per_frame": slowest.extractor_us,
        "writer_us_per_frame": max(windows.writer_us, dense.writer_us),
        "decode_ratio_340x256": costs[0].ratio,
        "decode_ratio_340x256_sparse": costs[1].ratio,
        "decode_ratio_1080p": costs[2].ratio,
        "decode_ratio_1080p_sparse": costs[3].ratio,
        "small_videos_seconds": seconds,
    }
    print(json.dumps({name: round(value, 3) for name, value in summary.items()}))


if __name__ == "__main__":
    main()
