"""An extractor: frames from its decoders, through the network on one device, into the store, shard by shard."""

from __future__ import annotations

import math
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from extractor.models.loading import RANDOM_WEIGHTS
from extractor.pipeline.files import FileAssembly, ItemDone
from extractor.pipeline.runner import NetworkRunner, load_network
from extractor.store.commits.commit import CommitStatus, commit_shard
from extractor.store.commits.run import Run
from extractor.store.commits.staging import Attempt, StagingLog, new_attempt, staged_items
from jobs.cluster.devices import Workers, torch_device
from jobs.cluster.options import DecoderLimits
from jobs.workers.decoder import Decoder
from jobs.workers.decoder_pool import DecoderPool, FileEvent
from jobs.workers.events import ShardCommitted, ShardProgress, StageSeconds
from schemas.errors import StorageError, VideoError, WeightsError
from schemas.layout import StorePaths
from schemas.records import Decoded, Failure, FileJob, Header, Restart

_REPORT_SECONDS = 1.0
_ROUNDS = 3  # of extracting and committing a shard


@dataclass(frozen=True, slots=True)
class ExtractorSettings:
    """What all extractors of a run share. weights: as `extractor.load_model` takes them."""

    paths: StorePaths
    run: Run
    weights: str
    workers: Workers
    limits: DecoderLimits


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to finish, with all of its files. lease_token: of the driver's lease on the store.

    one_by_one: start a file only when the previous one is finished, so that a crash shows which file caused it.
    poisonous: files that are not tried any more, each with the error that it fails with.
    """

    shard: str
    lease_token: str
    jobs: tuple[FileJob, ...]
    one_by_one: bool = False
    poisonous: tuple[tuple[str, VideoError], ...] = ()

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of all items, in the order of the inventory."""
        return tuple(item.video_id for job in self.jobs for item in job.items)


class Extractor:
    """Extracts shards on one device. A plain class; `ray.remote` makes an actor of it.

    Takes two calls at a time: `drain` while `run_shard` runs.
    """

    def __init__(self, settings: ExtractorSettings) -> None:
        self._settings = settings
        self._paths = settings.paths
        self._config = settings.run.config
        self._draining = threading.Event()
        self._pool: DecoderPool | None = None

    def load(self) -> tuple[str, ...]:
        """Load the network and start the decoders; returns notes on the weights, for the user.

        Not done by the constructor: if that raises, the caller only sees the actor die.
        """
        torch.set_num_threads(self._settings.workers.threads)
        self._network = load_network(self._config, self._settings.weights, torch_device(self._settings.workers.gpu))
        self._require_same_weights()
        self._pool = DecoderPool(self._spawn_decoder, self._settings.workers.decoders, self._settings.limits)
        return tuple(self._network.notes)

    def _require_same_weights(self) -> None:
        """Check what was loaded: the file may have been overwritten, or be another one on this node."""
        found = self._network.spec.weights_sha256
        if self._settings.weights != RANDOM_WEIGHTS and found != self._config.weights:
            raise WeightsError(
                f"expected the weights that the store was made with (SHA-256 {self._config.weights}); "
                f"{self._settings.weights} has {found} on {platform.node()}. Was it overwritten? Restore it, or give "
                "--weights with the path of the right ones"
            )

    def drain(self) -> None:
        """Finish the files in progress and start no more."""
        self._draining.set()
        if self._pool is not None:  # None while the network is being loaded
            self._pool.drain()

    def run_shard(self, task: ShardTask) -> Iterator[ShardProgress | ShardCommitted]:
        """Extract what is not staged yet, then commit the shard; yields events on the way."""
        torch.set_num_threads(self._settings.workers.threads)  # a call may run in another thread than `load`
        attempt = new_attempt(self._paths, self._settings.run, task.shard, task.lease_token)
        shard = _ShardAttempt(task, attempt, self._settings, self._network)
        with shard.log:
            yield from shard.fail_poisonous()
            for _ in range(_ROUNDS):  # another one if a staged item turns out to be damaged
                yield from self._extract(shard, task.one_by_one)
                if self._draining.is_set():
                    return
                status = shard.commit()
                yield from shard.report()
                if status is not CommitStatus.INCOMPLETE:
                    yield ShardCommitted(task.shard, status is CommitStatus.WON)
                    return
        raise StorageError(
            f"expected what is staged of {task.shard} to read as it was written; it was damaged {_ROUNDS} times. "
            "The storage is not reliable: check it, or use another"
        )

    def _extract(self, shard: _ShardAttempt, one_by_one: bool) -> Iterator[ShardProgress]:
        """Extract what is left of a shard; ends early if another attempt commits it meanwhile."""
        assert self._pool is not None
        if self._draining.is_set() or shard.is_committed():
            return
        jobs = shard.remaining()
        for batch in [[job] for job in jobs] if one_by_one else [jobs]:
            for event in self._pool.run(batch, shard.is_committed):
                if event is not None:
                    yield from shard.handle(event)
                yield from shard.report_now_and_then()
            shard.flush()
            shard.seconds.waiting += self._pool.waiting_seconds
            self._pool.waiting_seconds = 0.0
            shard.note(self._pool.notes)
            self._pool.notes = []
            yield from shard.report()
        shard.cancel()  # files that a drain left unfinished

    def _spawn_decoder(self) -> Any:
        node = ray.get_runtime_context().get_node_id()
        # The extractor reserves its decoders' cores with its own. If decoders asked for theirs one by one, they could
        # wait forever on a node that has a core left for an extractor but none for its decoders.
        actor = ray.remote(Decoder).options(
            num_cpus=0, max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )
        return actor.remote(self._config)


class _ShardAttempt:
    """One attempt at one shard."""

    def __init__(self, task: ShardTask, attempt: Attempt, settings: ExtractorSettings, network: Any) -> None:
        self.task = task
        self.seconds = StageSeconds()
        self.log = StagingLog(attempt)
        self._attempt = attempt
        self._settings = settings
        self._paths = settings.paths
        self._runner = NetworkRunner(network, settings.run.config, batch_frames=settings.workers.batch_frames)
        self._files: dict[FileJob, FileAssembly] = {}
        self._started: list[str] = []
        self._finished: list[ItemDone | Failure] = []
        self._notes: list[str] = []
        self._reported = time.monotonic()
        self._looked = -math.inf
        self._committed = False

    def is_committed(self) -> bool:
        """Whether any attempt has committed the shard; looks at the store once a second at most."""
        now = time.monotonic()
        if now - self._looked > _REPORT_SECONDS:
            self._looked, self._committed = now, self._paths.commit(self.task.shard).exists()
        return self._committed

    def remaining(self) -> list[FileJob]:
        """Files with items that no attempt has staged, and those items."""
        staged = staged_items(self._paths, self._settings.run, self.task.shard)
        jobs = []
        for job in self.task.jobs:
            items = tuple(item for item in job.items if item.video_id not in staged)
            if items:
                jobs.append(FileJob(job.path, items, job.size_bytes, job.mtime_ns, job.fps))
        return jobs

    def fail_poisonous(self) -> Iterator[ShardProgress]:
        """Stage the failures of files that killed their extractors."""
        poisonous = dict(self.task.poisonous)
        if not poisonous:
            return
        for job in self.remaining():
            if job.path in poisonous:
                error = poisonous[job.path]
                for item in job.items:
                    self._finish(Failure(item.video_id, error.failure, error.message, 3))
        yield from self.report()

    def handle(self, event: FileEvent) -> Iterator[ShardProgress]:
        """Handle an event of a decoder. A shard that runs one by one reports the start of each file."""
        began, network = time.perf_counter(), self._runner.network_seconds
        file = self._files.get(event.job)
        if file is None:
            file = self._files[event.job] = FileAssembly(event.job, self._runner, self.log.item, self._finish)
            self._started.append(event.job.path)
            if self.task.one_by_one:
                yield from self.report()
        match event.event:
            case VideoError():
                file.fail(event.event, event.attempts)
            case _:
                file.handle(event.event)
        self._note(event)
        self._settle()
        self._count(began, network)

    def report_now_and_then(self) -> Iterator[ShardProgress]:
        """Report if the last report is a second old, even if nothing happened: it is a sign of life."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            yield from self.report()

    def flush(self) -> None:
        """Compute the frames that wait for a full batch, and stage the results."""
        began, network = time.perf_counter(), self._runner.network_seconds
        self._runner.flush()
        self._settle()
        self._count(began, network)

    def cancel(self) -> None:
        """Discard unfinished files."""
        for file in self._files.values():
            file.cancel()
        self._files.clear()

    def commit(self) -> CommitStatus:
        """Write the shard from the staged items and publish it."""
        began = time.perf_counter()
        status = commit_shard(self._attempt, self.task.video_ids)
        self.seconds.write += time.perf_counter() - began
        return status

    def report(self) -> Iterator[ShardProgress]:
        """Report what happened since the last report, once it is durable."""
        self.log.sync()
        yield ShardProgress(
            self.task.shard,
            self._attempt.name,
            tuple(self._started),
            tuple(self._finished),
            tuple(self._notes),
            self.seconds,
        )
        self._started, self._finished, self._notes, self.seconds = [], [], [], StageSeconds()
        self._reported = time.monotonic()

    def note(self, lines: list[str]) -> None:
        """Add lines to the next report, for the log."""
        self._notes += lines

    def _finish(self, result: ItemDone | Failure) -> None:
        if isinstance(result, Failure):
            self.log.fail(result)
        self._finished.append(result)

    def _settle(self) -> None:
        for job, file in list(self._files.items()):
            file.settle()
            if file.done:
                del self._files[job]

    def _count(self, began: float, network: float) -> None:
        spent = self._runner.network_seconds - network
        self.seconds.network += spent
        self.seconds.write += time.perf_counter() - began - spent

    def _note(self, event: FileEvent) -> None:
        match event.event:
            case Header(info=info) if info.flags:
                self._notes.append(f"{event.job.path}: not decoded by decord ({', '.join(info.flags)})")
            case Restart(reason=reason):
                self._notes.append(f"{event.job.path}: restarted: {reason}")
            case Decoded() as decoded:
                self.seconds.decode += decoded.decode_seconds
                self.seconds.transform += decoded.transform_seconds
