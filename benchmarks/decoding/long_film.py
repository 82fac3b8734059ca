"""One long film as one sequence: how long 1, 2, ... decoders take, and how busy many of them are.

    python -m benchmarks.decoding.long_film [--decoders 1 2] [--repeat 3] [--minutes 20] [--simulated 1 2 4 8 16]

Real decoders: a film of 340 x 256 at 30 frames a second (H.264 with B-frames, a keyframe every 250 frames; a minute of
the scene of `benchmarks.decoding.limit`, repeated), sampled 10 times a second at 224 x 224 (`dense`). Its frames come
to this process as to an extractor, which drops them, so that decoding is the limit. Processes are started before;
inspection and proof are included. The numbers of decoders are measured in turns, and the least wall time and CPU time
(of the decoders) of each counts. The frames of all are compared by a digest, in a run of its own. The film is kept in
the folder for temporary files.

Simulated decoders sleep instead of decoding, so that this machine's cores do not limit them. A stretch takes 0.4 s,
give or take 30 %, the inspection of the film a 140th of all stretches, and the proof as long as three. Printed is the
share of the wall time that they spent decoding stretches, on average.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.decoding.late_segments import write_film
from benchmarks.decoding.limit import SMALL
from benchmarks.pipeline import cpu_seconds
from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder import Decoder
from jobs.workers.decoder_pool import DecoderPool, FileEvent
from schemas.config import ExtractionConfig, Sampling
from schemas.errors import VideoError
from schemas.records import Ask, Decoded, FileJob, FrameChunk, Header, Item, ItemPlan, PixelGrid, Restart, VideoInfo
from tests.jobs.workers.pool.events import file_events

__all__ = ["SleepingDecoder", "busy_share", "main", "seconds_of"]

_STRETCH_SECONDS = 0.4
_STRETCHES_A_DECODER = 25
_IN_AN_INSPECTION, _IN_A_PROOF = 1 / 140, 3.0  # stretches; the first of all that there are


class SleepingDecoder:
    """Has the methods of `jobs.workers.decoder.Decoder`, for one film of so many stretches."""

    def __init__(self, stretches: int, seconds: float = _STRETCH_SECONDS) -> None:
        self._stretches, self._seconds = stretches, seconds
        self._random = np.random.default_rng(os.getpid())
        self._slept = 0.0

    def process_id(self) -> int:
        return os.getpid()

    def next(
        self, files: Sequence[tuple[FileJob, str]] = (), ask: Ask | None = None, inspection: object = None
    ) -> list[Any]:
        if files:
            time.sleep(0.0 if inspection else self._seconds * self._stretches * _IN_AN_INSPECTION)
            index = np.arange(self._stretches)
            plan = ItemPlan("film", index, index / 10.0, np.array([len(index)]), np.array([[0, len(index)]]))
            info = VideoInfo("h264", "mp4", 340, 256, 0, 30.0, len(index), 0.0, 3600.0)
            return [Header(info, PixelGrid(1.0, 1.0, 0.0, 0.0), (plan,), self._stretches, "inspection")]
        if ask is None:
            return []
        if ask.stretch is None:
            return [Decoded("sleeping", "1", decode_seconds=self._slept)]
        time.sleep(self._seconds * _IN_A_PROOF * ask.proves)
        seconds = self._seconds * self._random.uniform(0.7, 1.3)
        time.sleep(seconds)
        self._slept += seconds
        return [FrameChunk(np.array([ask.stretch]), np.zeros((1, 8, 8, 3), np.uint8), np.ones(1, np.bool_), last=True)]


def _events(actors: Sequence[Any], job: FileJob) -> Iterator[FileEvent]:
    """Events of a file, decoded by decoders that have started."""
    waiting = deque(actors)
    pool = DecoderPool(lambda asks: waiting.popleft(), len(actors), DecoderLimits(), len(actors), len(actors))
    return file_events(pool, [job])


def seconds_of(actors: Sequence[Any], job: FileJob, *, digests: bool = False) -> tuple[float, str, Decoded]:
    """Wall seconds, a digest of all frames or "", and the end of a file."""
    digest, end = hashlib.blake2b(), None
    ray.get([actor.process_id.remote() for actor in actors])
    started = time.perf_counter()
    for event in _events(actors, job):
        match event.event:
            case FrameChunk(index=index, frames=frames) if digests:
                digest.update(index.tobytes())
                digest.update(np.ascontiguousarray(frames))
            case Decoded():
                end = event.event
            case Restart() | VideoError():
                raise SystemExit(f"expected the film to be decoded at once; got {event.event}")
    assert end is not None
    return time.perf_counter() - started, digest.hexdigest() if digests else "", end


def busy_share(decoders: int, *, seconds: float = _STRETCH_SECONDS, stretches: int = _STRETCHES_A_DECODER) -> float:
    """Share of the wall time that so many simulated decoders spend decoding. stretches: for each decoder."""
    actors = [
        ray.remote(SleepingDecoder).options(num_cpus=0).remote(stretches * decoders, seconds) for _ in range(decoders)
    ]
    wall, _, end = seconds_of(actors, FileJob("/nowhere/film", (Item("film"),)))
    for actor in actors:
        ray.kill(actor)
    return end.decode_seconds / wall / decoders


def _film(minutes: int) -> Path:
    folder = Path(tempfile.gettempdir(), "msnet_films")
    folder.mkdir(exist_ok=True)
    path = folder / f"{minutes}_minutes_340x256.mp4"
    if not path.exists():
        write_film(folder / f"{os.getpid()}.mp4", "libx264", repetitions=minutes, size=SMALL).rename(path)
    return path


def _measure(path: Path, numbers: Sequence[int], repeat: int) -> None:
    config = ExtractionConfig(
        model="tsn_resnet18", weights="random", seed=0, sampling=Sampling.DENSE, rate_hz=10.0, size=224
    )
    actors = [ray.remote(Decoder).options(num_cpus=0).remote(config) for _ in range(max(numbers))]
    job = FileJob(str(path), (Item("film"),))
    found = {number: seconds_of(actors[:number], job, digests=True)[1:] for number in numbers}
    processes = ray.get([actor.process_id.remote() for actor in actors])
    least, cpu = dict.fromkeys(numbers, float("inf")), dict.fromkeys(numbers, float("inf"))
    for _ in range(repeat):
        for number in numbers:
            before = sum(map(cpu_seconds, processes))
            least[number] = min(least[number], seconds_of(actors[:number], job)[0])
            cpu[number] = min(cpu[number], sum(map(cpu_seconds, processes)) - before)
    first = numbers[0]
    for number in numbers:
        same = "same frames" if found[number][0] == found[first][0] else "OTHER FRAMES"
        flags = ",".join(found[number][1].flags)
        faster = f"{least[first] / least[number]:.2f} times as fast as {first}"
        print(f"{number} decoders: {least[number]:.1f} s, {faster}, {cpu[number]:.1f} s of CPU ({same}, {flags})")
    for actor in actors:
        ray.kill(actor)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding.long_film", description=__doc__)
    parser.add_argument("--decoders", type=int, nargs="*", default=[1, 2], help="real ones")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--simulated", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    options = parser.parse_args()
    # As in an extraction; else whatever runs beside it comes first.
    os.environ.update({"RAY_worker_niceness": "0"})
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    if options.decoders:
        _measure(_film(options.minutes), options.decoders, options.repeat)
    for number in options.simulated:
        print(f"{number} simulated decoders: busy {busy_share(number):.0%} of the time", flush=True)


if __name__ == "__main__":
    main()
