"""The loop that keeps extractors busy with shards and survives their deaths."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from jobs.events import ShardCommitted, ShardProgress
from jobs.extractor_actor import Extractor, ExtractorSettings, ShardTask
from jobs.ledger import Ledger
from schemas.errors import FailureClass, MSNetError, ResourceError
from schemas.records import FileJob

__all__ = ["Driver", "PlannedShard", "remote_error"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_STALL_SECONDS = 1800.0  # without a sign of life an extractor is taken for dead; a commit on slow storage gives none
_LOAD_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard that is not committed, and how much of it there is to do."""

    name: str
    jobs: tuple[FileJob, ...]
    estimated_bytes: int


@dataclass(slots=True)
class _Worker:
    """An extractor and what it is doing. at_hand: files begun and not finished, by what it told."""

    actor: Any
    shard: PlannedShard | None = None
    events: Any = None  # generator of references to its events
    heard: float = 0.0
    last_started: str | None = None


class Driver:
    """Runs shards on extractors until none is left.

    `run` yields every event. An extractor that dies, or is silent too long, is replaced and its shard put back: what
    it staged stays. Correctness never depends on a dead worker being dead (see docs/format.md, commit).
    """

    def __init__(
        self, settings: ExtractorSettings, workers: int, cpus: int, gpu: bool, ledger: Ledger, token: str
    ) -> None:
        self._settings = settings
        self._count = workers
        self._options = {
            "num_cpus": cpus,
            "num_gpus": 1 if gpu else 0,
            "max_restarts": 0,
            "max_concurrency": 2,
        }
        self._ledger = ledger
        self._token = token
        self._workers: list[_Worker] = []
        self._load_failures = 0
        self._draining = False
        self.given_up: list[str] = []

    def drain(self) -> None:
        """Let extractors finish the videos at hand and begin no other."""
        self._draining = True
        for worker in self._workers:
            worker.actor.drain.remote()

    def start(self) -> tuple[str, ...]:
        """Start the extractors; returns when the networks are loaded, with what the user should know of the weights.

        Raises what the network's loading raises.
        """
        self._workers = [_Worker(self._spawn()) for _ in range(self._count)]
        notes: tuple[str, ...] = ()
        for worker in self._workers:
            notes = self._load(worker)
        return notes

    def run(
        self, shards: Sequence[PlannedShard], check: Callable[[], None]
    ) -> Iterator[ShardProgress | ShardCommitted]:
        """Run all shards, the largest first; `check` is called between events and may raise."""
        waiting = sorted(shards, key=lambda shard: shard.estimated_bytes)
        while True:
            check()
            if self._draining:
                waiting.clear()
            for worker in self._workers:
                if worker.shard is None and waiting:
                    self._assign(worker, waiting.pop())
            busy = {worker.events: worker for worker in self._workers if worker.shard is not None}
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1, timeout=_POLL_SECONDS)
            for events in ready:
                yield from self._take(busy[events], waiting)
            for worker in busy.values():
                if worker.shard is not None and time.monotonic() - worker.heard > _STALL_SECONDS:
                    self._crashed(worker, waiting, FailureClass.TIMED_OUT, "the extractor gave no sign of life")

    def close(self) -> None:
        """End the extractors and, with them, their decoders."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers = []

    def _spawn(self) -> Any:
        return ray.remote(Extractor).options(**self._options).remote(self._settings)

    def _load(self, worker: _Worker) -> tuple[str, ...]:
        while True:
            try:
                notes: tuple[str, ...] = ray.get(worker.actor.load.remote())
            except RayTaskError as error:
                raise remote_error(error) from None
            except RayError as error:
                self._load_failures += 1
                _LOG.warning("an extractor died while it loaded the network: %s", error)
                if self._load_failures >= _LOAD_ATTEMPTS:
                    raise ResourceError(
                        f"an extractor with the network loaded was expected, {self._load_failures} died on the way "
                        f"({_first_line(error)}): is there enough memory? Try fewer --extractors"
                    ) from None
                worker.actor = self._spawn()
                continue
            self._load_failures = 0
            return notes

    def _assign(self, worker: _Worker, shard: PlannedShard) -> None:
        history = self._ledger.history(shard.name)
        task = ShardTask(shard.name, self._token, shard.jobs, history.one_by_one, history.errors())
        worker.shard, worker.heard, worker.last_started = shard, time.monotonic(), None
        worker.events = worker.actor.run_shard.options(num_returns="streaming").remote(task)
        _LOG.info("%s begins%s", shard.name, ", one video at a time" if history.one_by_one else "")

    def _take(self, worker: _Worker, waiting: list[PlannedShard]) -> Iterator[ShardProgress | ShardCommitted]:
        assert worker.shard is not None
        try:
            event = ray.get(next(worker.events))
        except StopIteration:
            worker.shard, worker.events = None, None
            return
        except RayTaskError as error:
            cause = remote_error(error)
            if isinstance(cause, MSNetError):  # a full disk, a store that was altered: no restart mends it
                raise cause from None
            _LOG.error("%s: the extractor failed: %s", worker.shard.name, error)
            self._crashed(
                worker, waiting, FailureClass.EXTRACTOR_CRASHED, f"the extractor failed: {_first_line(cause)}"
            )
            return
        except OutOfMemoryError as error:
            self._crashed(
                worker, waiting, FailureClass.OUT_OF_MEMORY, f"the extractor ran out of memory: {_first_line(error)}"
            )
            return
        except RayError as error:
            self._crashed(
                worker, waiting, FailureClass.EXTRACTOR_CRASHED, f"the extractor's process died: {_first_line(error)}"
            )
            return
        worker.heard = time.monotonic()
        if isinstance(event, ShardProgress) and event.started:
            worker.last_started = event.started[-1]
        yield event

    def _crashed(self, worker: _Worker, waiting: list[PlannedShard], failure: FailureClass, message: str) -> None:
        """Replace a worker and put its shard back, or give the shard up when no file is to blame."""
        shard = worker.shard
        assert shard is not None
        history = self._ledger.crashed(shard.name, worker.last_started, failure, message)
        _LOG.warning("%s: %s (crash %d)", shard.name, message, history.crashes + len(history.poisonous))
        if history.hopeless:
            self.given_up.append(shard.name)
        else:
            waiting.append(shard)
        ray.kill(worker.actor)
        worker.actor, worker.shard, worker.events = self._spawn(), None, None
        self._load(worker)


def remote_error(error: RayTaskError) -> Exception:
    """The exception that a remote call raised, as it was raised there."""
    return error.cause if isinstance(error.cause, Exception) else error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
