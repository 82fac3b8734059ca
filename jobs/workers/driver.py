"""The loop that keeps extractors busy with shards, and replaces those that die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from jobs.workers.events import ShardCommitted, ShardProgress
from jobs.workers.extractor import Extractor, ExtractorSettings, ShardTask
from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass, MSNetError, ResourceError
from schemas.records import FileJob

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_LONGEST_TURN_SECONDS = 5.0  # most that one turn of the loop adds to a worker's silence: the loop itself may be held up
_STALL_SECONDS = 1800.0  # of silence, after which an extractor counts as dead; a commit on slow storage is silent
_LOAD_SECONDS = 600.0  # for an extractor to start and load its network
_LOAD_ATTEMPTS = 3

Event = ShardProgress | ShardCommitted


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard that is not committed, and its estimated size."""

    name: str
    jobs: tuple[FileJob, ...]
    estimated_bytes: int


@dataclass(slots=True)
class _Worker:
    """An extractor. awaited: reference to the result of `load`, or generator of its shard's events; None when idle.

    silent_seconds: since its last event. last_started: the file that it started last and has not finished.
    """

    actor: Any
    awaited: Any
    shard: PlannedShard | None = None
    silent_seconds: float = 0.0
    last_started: str | None = None


class Driver:
    """Runs shards on extractors until none is left.

    `run` yields every event. An extractor that dies, or is silent too long, is replaced, and its shard is queued again:
    what it staged stays. Results are correct even if a worker taken for dead lives on (docs/format.md, commit).
    require_alive: raises if Ray itself is gone, for which no shard is to blame.
    """

    def __init__(
        self,
        settings: ExtractorSettings,
        count: int,
        ledger: Ledger,
        token: str,
        require_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._options = {
            "num_cpus": settings.workers.cores_each,
            "num_gpus": 1 if settings.workers.gpu else 0,
            "max_restarts": 0,
            "max_concurrency": 2,
        }
        self._count = count
        self._ledger = ledger
        self._token = token
        self._require_alive = require_alive
        self._workers: list[_Worker] = []
        self._waiting: list[PlannedShard] = []
        self._load_failures = 0
        self._draining = False
        self._looked = time.monotonic()
        self.given_up: list[str] = []
        self.notes: tuple[str, ...] = ()  # on the weights, for the user, once a network is loaded

    def start(self) -> None:
        """Start the extractors; returns when the first has loaded its network. Raises what loading raises."""
        self._workers = [self._spawn() for _ in range(self._count)]
        self._looked = time.monotonic()
        while all(worker.awaited is not None for worker in self._workers):
            for _ in self._turn():
                raise AssertionError("an extractor reported a shard that it was not given")

    def run(self, shards: Sequence[PlannedShard], draining: Callable[[], bool]) -> Iterator[Event]:
        """Run all shards, the largest first.

        draining: called between events. Once it returns True, extractors finish the videos in progress and start no
        more. It may raise to end the run.
        """
        self._waiting = sorted(shards, key=lambda shard: shard.estimated_bytes)
        while True:
            if draining() and not self._draining:
                self._draining = True
                self._waiting.clear()
                for worker in self._workers:
                    worker.actor.drain.remote()
            for worker in self._workers:
                if worker.awaited is None and self._waiting:
                    self._assign(worker, self._waiting.pop())
            if not self._waiting and all(worker.shard is None for worker in self._workers):
                return
            yield from self._turn()

    def close(self) -> None:
        """Kill the extractors, and with them their decoders."""
        for worker in self._workers:
            with suppress(
                RayError, RuntimeError
            ):  # if the cluster's head is gone, this must not hide the error that says so
                ray.kill(worker.actor)
        self._workers = []

    def _turn(self) -> Iterator[Event]:
        """Wait a moment, take the events that are ready, and replace extractors that are silent too long."""
        awaited = {worker.awaited: worker for worker in self._workers if worker.awaited is not None}
        ray.wait(list(awaited), num_returns=1, timeout=_POLL_SECONDS)
        ready = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)[0]
        now = time.monotonic()
        turn, self._looked = min(now - self._looked, _LONGEST_TURN_SECONDS), now
        for reference, worker in awaited.items():
            if reference in ready:
                worker.silent_seconds = 0.0
                yield from self._take(worker) if worker.shard is not None else self._loaded(worker)
                continue
            worker.silent_seconds += turn
            if worker.shard is not None and worker.silent_seconds > _STALL_SECONDS:
                self._crashed(worker, FailureClass.TIMED_OUT, "the extractor showed no sign of life")
            elif worker.shard is None and worker.silent_seconds > _LOAD_SECONDS:
                self._not_loaded(worker, f"none was ready within {_LOAD_SECONDS:.0f} s")

    def _spawn(self) -> _Worker:
        actor: Any = ray.remote(Extractor).options(**self._options).remote(self._settings)
        return _Worker(actor, actor.load.remote())

    def _loaded(self, worker: _Worker) -> Iterator[Event]:
        try:
            self.notes = ray.get(worker.awaited)
        except RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, MSNetError):
                raise cause from None
            _LOG.error("an extractor failed to load the network: %s", error)
            raise ResourceError(
                f"expected the network to load; it failed: {_first_line(cause)}. "
                "Is there enough memory on the device? Try fewer --extractors or a smaller --model"
            ) from None
        except RayError as error:
            self._not_loaded(worker, _first_line(error))
        else:
            worker.awaited = None
            self._load_failures = 0
        yield from ()

    def _not_loaded(self, worker: _Worker, reason: str) -> None:
        """Start another worker, or continue without it while there are others."""
        self._require_alive()
        _LOG.warning("an extractor died while loading the network: %s", reason)
        ray.kill(worker.actor)
        self._workers.remove(worker)
        self._load_failures += 1
        if self._load_failures < _LOAD_ATTEMPTS:
            self._workers.append(self._spawn())
        elif not self._workers:
            raise ResourceError(
                f"expected an extractor to load its network; {self._load_failures} failed "
                f"({reason}). Is there enough memory, and are the GPUs free? Try fewer --extractors"
            )

    def _assign(self, worker: _Worker, shard: PlannedShard) -> None:
        history = self._ledger.history(shard.name)
        task = ShardTask(shard.name, self._token, shard.jobs, history.one_by_one, history.poisonous())
        worker.shard, worker.silent_seconds, worker.last_started = shard, 0.0, None
        worker.awaited = worker.actor.run_shard.options(num_returns="streaming").remote(task)
        _LOG.info("%s begins%s", shard.name, ", one video at a time" if history.one_by_one else "")

    def _take(self, worker: _Worker) -> Iterator[Event]:
        assert worker.shard is not None
        try:
            event = ray.get(next(worker.awaited))
        except StopIteration:
            worker.shard, worker.awaited = None, None
            return
        except RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, MSNetError):  # such as a full disk or an altered store: a restart would not help
                raise cause from None
            _LOG.error("%s: the extractor failed: %s", worker.shard.name, error)
            self._crashed(worker, FailureClass.EXTRACTOR_CRASHED, f"the extractor failed: {_first_line(cause)}")
            return
        except OutOfMemoryError as error:
            message = f"the extractor ran out of memory: {_first_line(error)}"
            self._crashed(worker, FailureClass.OUT_OF_MEMORY, message)
            return
        except RayError as error:
            message = f"the extractor's process died: {_first_line(error)}"
            self._crashed(worker, FailureClass.EXTRACTOR_CRASHED, message)
            return
        if isinstance(event, ShardProgress):
            if event.finished:
                worker.last_started = None
            if event.started:
                worker.last_started = event.started[-1]
        yield event

    def _crashed(self, worker: _Worker, failure: FailureClass, message: str) -> None:
        """Replace a worker and queue its shard again, or give the shard up if no file is to blame."""
        self._require_alive()
        shard = worker.shard
        assert shard is not None
        history = self._ledger.crashed(shard.name, worker.last_started, failure, message)
        _LOG.warning("%s: %s (crash %d)", shard.name, message, history.crashes)
        ray.kill(worker.actor)
        self._workers.remove(worker)
        if self._draining:
            return
        if history.hopeless:
            self.given_up.append(shard.name)
        else:
            self._waiting.append(shard)
        self._workers.append(self._spawn())


def _cause(error: RayTaskError) -> Exception:
    """The exception that was raised inside a remote call."""
    return error.cause if isinstance(error.cause, Exception) else error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
