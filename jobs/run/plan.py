"""`plan`: what an extraction would do, found by demuxing every file and decoding a few. Writes nothing."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import ray
import torch
from ray.exceptions import RayError, RayTaskError

from extractor.extraction.request import Request, RequestFields, with_fields
from extractor.extraction.resolving import ResolvedRequest, resolve
from extractor.models.pieces import WHOLE
from extractor.models.spec import member_frames
from extractor.pipeline.devices import device_of
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.network import load_network
from extractor.video.listing import Listing, list_videos
from extractor.video.probing import ProbedItem
from jobs.cluster.cluster import cluster
from jobs.cluster.devices import Workers, torch_device
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement
from jobs.run.inventory import limited, split_jobs
from jobs.run.limits import LEAST_SECONDS, LimitingStage, limit_of_plan
from jobs.run.sharding import item_bytes, rows_of_item
from jobs.run.watcher import Watcher
from jobs.workers.decoder import Decoder
from jobs.workers.probing import probe_files
from schemas.config import ExtractionConfig
from schemas.errors import MSNetError, ResourceError, VideoError
from schemas.layout import datasets_of
from schemas.records import Decoded, FileJob, is_address
from schemas.wording import in_a_line, what_to_mend

_CALIBRATION_FILES = 3
_CALIBRATION_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What an extraction would do.

    bad: (video_id, class, message). duplicates: groups of paths with the same content. skipped: a sentence on the files
    of the folder that are left out. columns: a sentence on the columns of the table that go into the manifest.
    decoded: files that were decoded to measure the speed; whether the others can be decoded is unknown. decode_seconds,
    network_seconds: of all workers together; the first is None if none of the files tried was decoded.
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
    workers: Placement
    decoded: int
    decode_seconds: float | None
    network_seconds: float
    columns: str = ""

    @property
    def bad_by_class(self) -> Mapping[str, int]:
        return Counter(failure for _, failure, _ in self.bad)

    @property
    def wall_seconds(self) -> float:
        """Estimated time with these workers, see `Placement.wall_seconds`.

        If decoding was not measured, this is the network's time alone, a lower bound.
        """
        return self.workers.wall_seconds(self.decode_seconds or 0.0, self.network_seconds)

    @property
    def limit(self) -> LimitingStage | None:
        """What would take longest, and what would help; None if that was not measured, or is short."""
        if self.decode_seconds is None or self.wall_seconds < LEAST_SECONDS:
            return None
        return limit_of_plan(self.decode_seconds, self.network_seconds, self.workers)

    @property
    def exit_code(self) -> int:
        """The exit code of the extraction: 0, or 2 with bad videos."""
        return 2 if self.bad else 0


def plan(
    videos: Path | str,
    request: Request | None = None,
    options: Options | None = None,
    watcher: Watcher | None = None,
    **fields: Unpack[RequestFields],
) -> Plan:
    """Predict what `extract` would do with these arguments, and write nothing. Raises the same errors."""
    options, watcher = options or Options(), watcher or Watcher()
    resolved = resolve(with_fields(request, fields))
    listing = limited(list_videos(videos), options.limit)
    if any(is_address(job.path) for job in listing.jobs):
        watcher.say(
            "videos at addresses: lengths are estimated from their sizes, and duplicates are not looked for among them"
        )
    with cluster(options, say=watcher.say) as machines:
        probed = _probe_listing(listing, resolved.config, machines.workers.decoders, watcher)
        decoder: Any = ray.remote(Decoder).options(num_cpus=0, max_restarts=0).remote(resolved.config, options.cache)
        trial = _try_decoding(probed, decoder)
        ray.kill(decoder)  # now: left to Ray, it would still be ending when Ray shuts down
        seconds_a_frame = _timed(resolved, machines.workers.groups[0])
    items = [item for job, found in probed.items() for item in trial.judged(job, found)]
    rows = [rows_of_item(resolved.config, item.num_clips, item.num_frames) for item in items if item.failure is None]
    datasets = datasets_of(resolved.config, resolved.shape)
    network_frames = sum(row["frames"] for row in rows)
    if resolved.config.sampling.is_continuous:  # frames between windows are computed, not stored
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
        network_seconds=network_frames * seconds_a_frame,
        columns=listing.columns.summary(),
    )


def _probe_listing(
    listing: Listing, config: ExtractionConfig, processes: int, watcher: Watcher
) -> dict[FileJob, list[ProbedItem]]:
    """Demux every file of a listing in other processes, and return what its items hold. Ray must run."""
    jobs = list(split_jobs(listing.jobs))
    spawn = ray.remote(Decoder).options(num_cpus=0, max_restarts=0).remote
    found: dict[FileJob, list[ProbedItem]] = {}
    for job, items in probe_files(jobs, lambda: spawn(config), processes):
        found[job] = items
        watcher.probing(len(found), len(jobs))
    return found


@dataclass(slots=True)
class _Trial:
    """Results of decoding a few files. seconds: estimated CPU time of decoding and resizing everything."""

    decoded: int = 0
    failed: dict[FileJob, VideoError] = field(default_factory=dict)
    seconds: float | None = None

    def judged(self, job: FileJob, items: Sequence[ProbedItem]) -> Sequence[ProbedItem]:
        """The items of a file, marked as failed if decoding it was tried and failed."""
        error = self.failed.get(job)
        if error is None:
            return items
        return [
            item if item.failure else ProbedItem(item.video_id, failure=error.failure, message=error.message)
            for item in items
        ]


def _try_decoding(probed: Mapping[FileJob, Sequence[ProbedItem]], decoder: Any) -> _Trial:
    """Decode a few files of about median size."""
    weight = {job: max(item.native_frames * item.pixels for item in found) for job, found in probed.items()}
    good = sorted((job for job in weight if weight[job] > 0), key=weight.__getitem__)
    trial, seconds, work = _Trial(), 0.0, 0.0
    for job in good[len(good) // 2 :][:_CALIBRATION_FILES]:
        try:
            found = _decoded(job, decoder)
        except RayError:
            break
        if isinstance(found, VideoError):
            trial.failed[job] = found
        elif found is not None:
            trial.decoded += 1
            seconds, work = seconds + found.decode_seconds + found.transform_seconds, work + weight[job]
    total = sum(weight[job] for job in weight if job not in trial.failed)
    if not total:
        trial.seconds = 0.0  # there is nothing to decode
    elif work:
        trial.seconds = seconds * total / work
    return trial


def _decoded(job: FileJob, decoder: Any) -> Decoded | VideoError | None:
    """How decoding a file ended. Raises RayError if the decoder dies or takes too long."""
    files = [(job, "")]
    while True:
        events = ray.get(decoder.next.remote(files), timeout=_CALIBRATION_SECONDS)
        files = []
        if not events:
            return None
        if isinstance(events[-1], Decoded | VideoError):
            return events[-1]


def _timed(resolved: ResolvedRequest, workers: Workers) -> float:
    """Seconds that the network takes per frame, where an extractor would run: a cluster's head may have no GPU."""
    options = {"num_cpus": workers.cores_each, "num_gpus": workers.gpus, "max_retries": 0}
    timing: Any = ray.remote(_seconds_a_frame).options(**options)
    try:
        return float(ray.get(timing.remote(resolved, workers)))
    except RayTaskError as error:
        if isinstance(error.cause, MSNetError):  # such as a checkpoint that a node does not see
            raise error.cause from None
        reason = in_a_line(error.cause or error)
        advice = what_to_mend(reason, "Try a smaller --batch-frames or --model")
        raise ResourceError(f"expected the network to compute a batch; got {reason}. {advice}") from error
    except RayError as error:
        reason = in_a_line(error)
        raise ResourceError(
            f"expected the network to compute a batch; its process died ({reason}). {what_to_mend(reason)}"
        ) from error


def _seconds_a_frame(resolved: ResolvedRequest, workers: Workers) -> float:
    """Seconds that the network takes per frame, on one extractor's device."""
    config = resolved.config
    torch.set_num_threads(workers.threads)
    device = torch_device(workers.gpu)
    network = load_network(config, resolved.weights, device)
    feeder = Feeder(network, config, (), device_of(device), lambda rows: None, batch_frames=workers.batch_frames)
    frames = np.random.default_rng(0).integers(0, 255, (feeder.batch_frames, config.size, config.size, 3), np.uint8)
    lengths = [len(frames)] if config.sampling.is_continuous else list(member_frames(config))
    seconds, count = 0.0, 0
    for repetition in range(3):
        started, count = time.perf_counter(), 0
        for member, length in enumerate(lengths):
            for _ in range(max(1, len(frames) // length)):  # a full batch of each member
                feeder.push(
                    feeder.open(0, 0, member, WHOLE), [np.resize(frames, (length, *frames.shape[1:]))], last=True
                )
                count += length
        feeder.flush()
        seconds = time.perf_counter() - started if repetition else seconds  # the first one warms up
    return seconds / count


def _duplicates(jobs: Sequence[FileJob]) -> tuple[tuple[str, ...], ...]:
    """Groups of files with the same content. Reads only files whose size is not unique."""
    by_size: defaultdict[int, set[str]] = defaultdict(set)
    for job in jobs:
        if job.size_bytes and not is_address(job.path) and Path(job.path).is_file():
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
