"""`plan`: what an extraction would do, from demuxing every file and a short calibration. Writes nothing."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from extractor.models.spec import member_frames
from extractor.pipeline.runner import NetworkRunner, load_network
from extractor.video.listing import list_videos
from extractor.video.probing import ProbedItem
from jobs.cluster.devices import Workers, count_gpus, torch_device
from jobs.cluster.machines import cluster
from jobs.run.inventory import limited
from jobs.run.options import Options, Request, Resolved, resolve
from jobs.run.sharding import item_bytes, rows_of_item
from jobs.run.videos import probe_listing
from jobs.run.watcher import Watcher
from jobs.workers.decoder import Decoder
from schemas.errors import VideoError
from schemas.layout import datasets_of
from schemas.records import Decoded, FileJob

__all__ = ["Plan", "plan"]

_CALIBRATION_FILES = 3
_CALIBRATION_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What an extraction would do.

    bad: (video_id, class, message). duplicates: groups of paths with the same content. skipped: what of the folder is
    not taken. columns: what of a table goes into the manifest, as a sentence. decoded: files that were decoded, to
    measure how long it takes; of all others it is not known whether they can be. decode_seconds, network_seconds: of
    all workers together; the first is None where no file of those tried was decoded.
    """

    files: int
    items: int
    bad: tuple[tuple[str, str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    skipped: str
    video_seconds: float
    frames: int
    network_frames: int
    clips: int
    store_bytes: int
    workers: Workers
    decoded: int
    decode_seconds: float | None
    network_seconds: float
    columns: str = ""

    @property
    def bad_by_class(self) -> Mapping[str, int]:
        return Counter(failure for _, failure, _ in self.bad)

    @property
    def wall_seconds(self) -> float:
        """With the workers there are. Decoding and network run side by side: the longer one decides.

        Where decoding was not measured it is the network's, and the least that it takes.
        """
        workers = self.workers
        decode = (self.decode_seconds or 0.0) / (workers.extractors * workers.decoders)
        network = self.network_seconds / workers.extractors
        return max(decode, network)

    @property
    def exit_code(self) -> int:
        """As the extraction would end: 0, or 2 with bad videos."""
        return 2 if self.bad else 0


def plan(videos: Path | str, request: Request, options: Options | None = None, watcher: Watcher | None = None) -> Plan:
    """Say what `extract` would do with these arguments. Raises the same errors."""
    options, watcher = options or Options(), watcher or Watcher()
    resolved = resolve(request)
    listing = limited(list_videos(videos), options.limit)
    with cluster(options) as machines:
        probed = probe_listing(listing, resolved.config, machines.workers.decoders, watcher)
        decoder: Any = ray.remote(Decoder).options(num_cpus=0, max_restarts=0).remote(resolved.config)
        trial = _try_decoding(probed, decoder)
        ray.kill(decoder)  # at once: left to Ray, it would still be ending when Ray is shut down
    items = [item for job, found in probed.items() for item in trial.judged(job, found)]
    rows = [rows_of_item(resolved.config, item.num_clips, item.num_frames) for item in items if item.failure is None]
    datasets = datasets_of(resolved.config, resolved.shape)
    network_frames = sum(row["frames"] for row in rows)
    if resolved.config.sampling.is_continuous:  # frames between windows that lie apart are computed and not stored
        network_frames = sum(item.num_frames for item in items if item.failure is None)
    return Plan(
        files=len(listing.jobs),
        items=len(items),
        bad=tuple((item.video_id, str(item.failure), item.message) for item in items if item.failure is not None),
        duplicates=_duplicates(listing.jobs),
        skipped=listing.skipped_summary(),
        video_seconds=float(np.nansum([item.duration_seconds for item in items if item.failure is None])),
        frames=sum(item.num_frames for item in items),
        network_frames=network_frames,
        clips=sum(row["clips"] for row in rows),
        store_bytes=sum(item_bytes(row, datasets) for row in rows),
        workers=machines.workers,
        decoded=trial.decoded + len(trial.failed),
        decode_seconds=trial.seconds,
        network_seconds=network_frames * _seconds_a_frame(resolved, machines.workers),
        columns=listing.columns.summary(),
    )


@dataclass(slots=True)
class _Trial:
    """What decoding a few files told. seconds: of a CPU, that decoding and resizing everything would take."""

    decoded: int = 0
    failed: dict[FileJob, VideoError] = field(default_factory=dict)
    seconds: float | None = None

    def judged(self, job: FileJob, items: Sequence[ProbedItem]) -> Sequence[ProbedItem]:
        """The items of a file; bad ones, where it was tried and could not be decoded."""
        error = self.failed.get(job)
        if error is None:
            return items
        return [item if item.failure else _bad(item, error) for item in items]


def _bad(item: ProbedItem, error: VideoError) -> ProbedItem:
    return ProbedItem(item.video_id, failure=error.failure, message=error.message)


def _try_decoding(probed: Mapping[FileJob, Sequence[ProbedItem]], decoder: Any) -> _Trial:
    """Decode a few files of the usual size."""
    weight = {job: max(item.native_frames * item.pixels for item in found) for job, found in probed.items()}
    good = sorted((job for job in weight if weight[job] > 0), key=weight.__getitem__)
    trial, seconds, work = _Trial(), 0.0, 0.0
    for job in good[len(good) // 2 :][:_CALIBRATION_FILES]:  # of the usual size, not the smallest
        try:
            found = _decoded(job, decoder)
        except RayError:
            break
        if isinstance(found, VideoError):
            trial.failed[job] = found
        elif found is not None:
            trial.decoded += 1
            seconds, work = seconds + found.decode_seconds + found.transform_seconds, work + weight[job]
    trial.seconds = _scaled(seconds, work, sum(weight[job] for job in weight if job not in trial.failed))
    return trial


def _decoded(job: FileJob, decoder: Any) -> Decoded | VideoError | None:
    """How the decoding of a file ended. Raises RayError where the decoder dies or takes too long."""
    decoder.enqueue.remote(job)
    while True:
        event = ray.get(decoder.next.remote(), timeout=_CALIBRATION_SECONDS)
        if event is None or isinstance(event, Decoded | VideoError):
            return event


def _scaled(seconds: float, work: float, total: float) -> float | None:
    if not total:  # no good file: there is nothing to decode
        return 0.0
    return seconds * total / work if work else None


def _seconds_a_frame(resolved: Resolved, workers: Workers) -> float:
    """Seconds that the network takes for a frame, on one extractor's device."""
    config = resolved.config
    torch.set_num_threads(workers.threads)
    device = torch_device(workers.gpu and count_gpus() > 0)  # the head of a cluster may have none
    network = load_network(config, resolved.weights, device)
    runner = NetworkRunner(network, config, batch_frames=workers.batch_frames)
    frames = np.random.default_rng(0).integers(0, 255, (workers.batch_frames, config.size, config.size, 3), np.uint8)
    seconds, count = 0.0, 0
    for repetition in range(3):
        started = time.perf_counter()
        count = _run_once(runner, frames, resolved)
        seconds = time.perf_counter() - started if repetition else seconds  # the first one warms up
    return seconds / count


def _run_once(runner: NetworkRunner, frames: Any, resolved: Resolved) -> int:
    if resolved.config.sampling.is_continuous:
        runner.sequence(np.array([[0, len(frames)]])).push(frames, last=True)
        return len(frames)
    lengths = member_frames(resolved.config)
    for member, length in enumerate(lengths):
        runner.submit(member, np.resize(frames, (length, *frames.shape[1:])), lambda rows: None)
    runner.flush()
    return sum(lengths)


def _duplicates(jobs: Sequence[FileJob]) -> tuple[tuple[str, ...], ...]:
    """Groups of files with the same content; only files of the same size are read."""
    by_size: defaultdict[int, set[str]] = defaultdict(set)
    for job in jobs:
        if job.size_bytes and Path(job.path).is_file():
            by_size[job.size_bytes].add(job.path)
    by_content: defaultdict[str, list[str]] = defaultdict(list)
    for paths in by_size.values():
        for path in sorted(paths) if len(paths) > 1 else ():
            try:
                with Path(path).open("rb") as file:
                    by_content[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
            except OSError:
                continue
    return tuple(tuple(group) for group in by_content.values() if len(group) > 1)
