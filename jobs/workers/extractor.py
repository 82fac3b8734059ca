"""One device at work: frames from its decoders, through the network, into the store, a shard at a time."""

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
from extractor.store.commits.staging import Attempt, StagedItemWriter, new_attempt, stage_failure, staged_items
from jobs.cluster.devices import Workers, torch_device
from jobs.workers.decoder import Decoder
from jobs.workers.decoder_pool import DecoderLimits, DecoderPool, FileEvent
from jobs.workers.events import ShardCommitted, ShardProgress, StageSeconds
from schemas.errors import StorageError, VideoError, WeightsError
from schemas.layout import StorePaths
from schemas.records import Decoded, Failure, FileJob, Header, Restart

__all__ = ["Extractor", "ExtractorSettings", "ShardTask"]

_REPORT_SECONDS = 1.0
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class ExtractorSettings:
    """What an extractor needs to know. `weights` is as `extractor.load_model` takes it."""

    paths: StorePaths
    run: Run
    weights: str
    workers: Workers
    limits: DecoderLimits


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to finish: all of its files. lease_token: of the driver's lease on the store.

    one_by_one: begin a file only when the one before is finished, so that a crash tells which file it was.
    poisonous: files that are not tried any more, with the error they fail with.
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
    """Runs shards on one device. Plain Python; `ray.remote` makes an actor of it.

    Two calls at a time: `run_shard`, and `drain` beside it.
    """

    def __init__(self, settings: ExtractorSettings) -> None:
        self._settings = settings
        self._paths = settings.paths
        self._config = settings.run.config
        self._draining = threading.Event()
        self._pool: DecoderPool | None = None

    def load(self) -> tuple[str, ...]:
        """Load the network and start the decoders; gives what the user should know about the weights.

        Not done on construction: what a constructor raises reaches the caller as the death of the actor.
        """
        torch.set_num_threads(self._settings.workers.threads)
        self._network = load_network(self._config, self._settings.weights, torch_device(self._settings.workers.gpu))
        self._require_same_weights()
        self._pool = DecoderPool(self._spawn_decoder, self._settings.workers.decoders, self._settings.limits)
        return tuple(self._network.notes)

    def _require_same_weights(self) -> None:
        """The file was read anew, here: it may have been overwritten since, or be another one on this node."""
        found = self._network.spec.weights_sha256
        if self._settings.weights != RANDOM_WEIGHTS and found != self._config.weights:
            raise WeightsError(
                f"the weights that the store was made with were expected (SHA-256 {self._config.weights}), "
                f"{self._settings.weights} has {found} on {platform.node()}: was it overwritten?"
            )

    def drain(self) -> None:
        """Finish the files at hand, begin no other."""
        self._draining.set()
        if self._pool is not None:  # None while the network is being loaded
            self._pool.drain()

    def run_shard(self, task: ShardTask) -> Iterator[ShardProgress | ShardCommitted]:
        """Extract what is not staged yet, then commit; events as it goes."""
        torch.set_num_threads(self._settings.workers.threads)  # calls may come on another thread than the constructor's
        attempt = new_attempt(self._paths, self._settings.run, task.shard, task.lease_token)
        shard = _ShardRun(task, attempt, self._settings, self._network)
        yield from shard.fail_poisonous()
        for _ in range(_ROUNDS):  # more than one where a staged file turns out damaged
            yield from self._extract(shard, task.one_by_one)
            if self._draining.is_set():
                return
            status = shard.commit()
            yield from shard.report()
            if status is not CommitStatus.INCOMPLETE:
                yield ShardCommitted(task.shard, status is CommitStatus.WON)
                return
        raise StorageError(
            f"what is staged of {task.shard} was expected to read as it was written, it was damaged {_ROUNDS} times: "
            "the storage is not reliable"
        )

    def _extract(self, shard: _ShardRun, one_by_one: bool) -> Iterator[ShardProgress]:
        """Extract what is left of a shard; ends early where another attempt commits it meanwhile."""
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
        # The extractor reserved the decoders' cores with its own, all or nothing: decoders that asked for theirs
        # one by one could wait for ever on a node that has an extractor's core left but none for its decoders.
        actor = ray.remote(Decoder).options(
            num_cpus=0, max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        )
        return actor.remote(self._config)


class _ShardRun:
    """One attempt at one shard."""

    def __init__(self, task: ShardTask, attempt: Attempt, settings: ExtractorSettings, network: Any) -> None:
        self.task = task
        self.seconds = StageSeconds()
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
        """Whether an attempt has committed the shard; the store is asked once a second at most."""
        now = time.monotonic()
        if now - self._looked > _REPORT_SECONDS:
            self._looked, self._committed = now, self._paths.commit(self.task.shard).exists()
        return self._committed

    def remaining(self) -> list[FileJob]:
        """Files with the items of theirs that no attempt has staged."""
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
        """Take an event of a decoder; in a shard that runs one by one, report that a file is begun."""
        began, network = time.perf_counter(), self._runner.network_seconds
        file = self._files.get(event.job)
        if file is None:
            file = self._files[event.job] = FileAssembly(event.job, self._runner, self._open_writer, self._finish)
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
        """A report where the last one is a while ago, also of nothing: it is a sign of life."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            yield from self.report()

    def flush(self) -> None:
        """Run what waits for a batch, and stage it."""
        began, network = time.perf_counter(), self._runner.network_seconds
        self._runner.flush()
        self._settle()
        self._count(began, network)

    def cancel(self) -> None:
        """Leave no unfinished file behind."""
        for file in self._files.values():
            file.cancel()
        self._files.clear()

    def commit(self) -> CommitStatus:
        """Write the shard from staging and publish it."""
        began = time.perf_counter()
        result = commit_shard(self._attempt, self.task.video_ids)
        self.seconds.write += time.perf_counter() - began
        return result.status

    def report(self) -> Iterator[ShardProgress]:
        """What happened since the last report."""
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
        """Lines for the log."""
        self._notes += lines

    def _open_writer(self, video_id: str) -> StagedItemWriter:
        return StagedItemWriter(self._attempt, video_id)

    def _finish(self, result: ItemDone | Failure) -> None:
        if isinstance(result, Failure):
            stage_failure(self._attempt, result)
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
                self._notes.append(f"{event.job.path}: not trusted to decord ({', '.join(info.flags)})")
            case Restart(reason=reason):
                self._notes.append(f"{event.job.path}: begun again: {reason}")
            case Decoded() as decoded:
                self.seconds.decode += decoded.decode_seconds
                self.seconds.transform += decoded.transform_seconds
