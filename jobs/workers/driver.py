"""The loop that keeps extractors busy with shards, and replaces those that die."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.devices import Workers
from jobs.cluster.nodes import Nodes, Say
from jobs.cluster.placement import Placement
from jobs.workers.events import ShardCommitted, ShardProgress, ShardTask
from jobs.workers.extractor import Extractor, ExtractorSettings
from jobs.workers.ledger import Ledger
from schemas.errors import FailureClass, MSNetError, ResourceError
from schemas.records import FileJob
from schemas.wording import in_a_line, what_to_mend

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_IDLE_SECONDS = 0.05  # between two looks for a shard while no extractor has one
_LONGEST_TURN_SECONDS = 5.0  # most that one turn of the loop adds to a worker's silence: the loop itself may be held up
_STALL_SECONDS = 1800.0  # of silence, after which an extractor counts as dead; a commit on slow storage is silent
_LOAD_SECONDS = 600.0  # for an extractor to start and load its network
_LOAD_ATTEMPTS = 3  # of a place: its device may be broken, while others are not
_LATE_SECONDS = 120.0  # of an extractor that has not loaded, before the user is told
_SHARDS_AT_ONCE = 3  # of an extractor: one that is committed, one at its last files, one that begins

Event = ShardProgress | ShardCommitted


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard that is not committed, and its estimated size."""

    name: str
    jobs: tuple[FileJob, ...]
    estimated_bytes: int


class Supply(Protocol):
    """Where the driver takes shards from, in the order in which they are to run."""

    def __len__(self) -> int:
        """How many shards there are now."""

    def take(self) -> PlannedShard | None:
        """The next shard; None if there is none, perhaps not yet."""

    @property
    def ended(self) -> bool:
        """Whether there will never be another one."""

    def close(self) -> None:
        """No more are wanted."""


@dataclass(eq=False, slots=True)
class _Awaited:
    """What an extractor was asked for. reference: to the result of `load`, or generator of a shard's events.

    silent_seconds: since its last event. last_started: the file that it started last and has not finished. last_files:
    it has begun its last files, so that the extractor can take another shard.
    """

    reference: Any
    shard: PlannedShard | None = None
    silent_seconds: float = 0.0
    last_started: str | None = None
    last_files: bool = False


@dataclass(eq=False, slots=True)
class _Place:
    """Where an extractor runs and what it has. failures: to load a network, in a row."""

    workers: Workers
    failures: int = 0

    def __str__(self) -> str:
        return f" on {self.workers.node.name}" if self.workers.node.id else ""


@dataclass(eq=False, slots=True)
class _Worker:
    """An extractor, and what is awaited of it: its network, or the shards in progress. decoders: that it has now."""

    actor: Any
    place: _Place
    awaited: list[_Awaited]
    decoders: int = 0
    late: bool = False

    @property
    def takes_a_shard(self) -> bool:
        """Whether it has nothing to do, or soon will not have enough."""
        return len(self.awaited) < _SHARDS_AT_ONCE and all(one.last_files for one in self.awaited)


class Driver:
    """Runs shards on extractors until none is left.

    `run` yields every event. An extractor that dies, or is silent too long, is replaced, and its shard is queued again:
    what it staged stays. Results are correct even if a worker taken for dead lives on (docs/format.md, commit).
    Extractors on a node that is gone are not replaced; nodes that join get theirs while shards wait.

    placement: of the extractors at the start. say: takes sentences for the user. require_alive: raises if Ray itself
    is gone, for which no shard is to blame.
    """

    def __init__(
        self,
        settings: ExtractorSettings,
        placement: Placement,
        nodes: Nodes,
        ledger: Ledger,
        token: str,
        say: Say = lambda message: None,
        require_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._placement = placement
        self._nodes = nodes
        self._say = say
        self._ledger = ledger
        self._token = token
        self._require_alive = require_alive
        self._workers: list[_Worker] = []
        self._waiting: list[PlannedShard] = []  # begun before, and to be run again
        self._load_failures = 0
        self._loaded_once = False
        self._draining = False
        self._looked = time.monotonic()
        self.given_up: list[str] = []
        self.notes: tuple[str, ...] = ()  # on the weights, for the user, once a network is loaded

    def start(self) -> None:
        """Start the extractors; returns when the first has loaded its network. Raises what loading raises."""
        self._workers = [self._spawn(_Place(workers)) for workers in self._placement.each()]
        self._looked = time.monotonic()
        while not self._loaded_once:
            for _ in self._turn():
                raise AssertionError("an extractor reported a shard that it was not given")

    @property
    def placement(self) -> Placement:
        """Where extractors are now."""
        return Placement(tuple(worker.place.workers for worker in self._workers))

    @property
    def decoders(self) -> int:
        """Decoders that all extractors have now, as far as these have said it."""
        return sum(worker.decoders or worker.place.workers.decoders for worker in self._workers)

    def run(self, shards: Supply, draining: Callable[[], bool]) -> Iterator[Event]:
        """Run all shards of a supply, which may still grow.

        draining: called between events. Once it returns True, extractors finish the videos in progress and start no
        more. It may raise to end the run.
        """
        while True:
            if draining() and not self._draining:
                self._draining = True
                self._waiting.clear()
                shards.close()
                for worker in self._workers:
                    worker.actor.drain.remote()
            for worker in sorted(self._workers, key=lambda worker: len(worker.awaited)):
                if worker.takes_a_shard and (shard := self._waiting.pop() if self._waiting else shards.take()):
                    self._assign(worker, shard)
            in_progress = any(one.shard for worker in self._workers for one in worker.awaited)
            if not in_progress and not self._waiting and shards.ended:
                return
            yield from self._turn(len(shards))

    def close(self) -> None:
        """Kill the extractors, and with them their decoders."""
        for worker in self._workers:
            with suppress(
                RayError, RuntimeError
            ):  # if the cluster's head is gone, this must not hide the error that says so
                ray.kill(worker.actor)
        self._workers = []
        with suppress(RayError, RuntimeError):
            self._nodes.close()

    def _turn(self, supplied: int = 0) -> Iterator[Event]:
        """Wait a moment, take the events that are ready, and replace extractors that are silent too long.

        supplied: number of shards that wait for an extractor, besides those that are to be run again.
        """
        self._use_new_nodes(supplied)
        awaited = {one.reference: (worker, one) for worker in self._workers for one in worker.awaited}
        if not awaited:  # more shards will come, or all nodes are gone
            time.sleep(_IDLE_SECONDS)
            return
        ray.wait(list(awaited), num_returns=1, timeout=_POLL_SECONDS)
        ready = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)[0]
        now = time.monotonic()
        turn, self._looked = min(now - self._looked, _LONGEST_TURN_SECONDS), now
        for reference, (worker, one) in awaited.items():
            if worker not in self._workers:  # it was replaced in this turn
                continue
            if reference in ready:
                one.silent_seconds = 0.0
                yield from self._take(worker, one) if one.shard is not None else self._loaded(worker, one)
                continue
            one.silent_seconds += turn
            if one.shard is not None and one.silent_seconds > _STALL_SECONDS:
                self._crashed(worker, FailureClass.TIMED_OUT, "the extractor showed no sign of life")
            elif one.shard is None and one.silent_seconds > _LOAD_SECONDS:
                self._not_loaded(worker, f"none was ready within {_LOAD_SECONDS:.0f} s")
            elif one.shard is None and one.silent_seconds > _LATE_SECONDS and not worker.late:
                worker.late = True
                self._say(
                    f"an extractor{worker.place} has not loaded its network after {_LATE_SECONDS:.0f} s: does other "
                    "work have its cores or its GPU?"
                )

    def _use_new_nodes(self, supplied: int) -> None:
        """Place extractors on nodes that have joined, as long as there is work for them."""
        if not self._draining:
            missing = len(self._waiting) + supplied if self._loaded_once else int(not self._workers)
            for workers in self._nodes.newcomers(len(self._workers), missing):
                self._workers.append(self._spawn(_Place(workers)))

    def _spawn(self, place: _Place) -> _Worker:
        workers = place.workers
        where = NodeAffinitySchedulingStrategy(workers.node.id, soft=False) if workers.node.id else "DEFAULT"
        actor: Any = (
            ray.remote(Extractor)
            .options(
                num_cpus=workers.cores_each,
                num_gpus=workers.gpus,
                max_restarts=0,
                max_concurrency=_SHARDS_AT_ONCE + 1,
                scheduling_strategy=where,
            )
            .remote(self._settings, workers)
        )
        return _Worker(actor, place, [_Awaited(actor.load.remote())])

    def _respawn(self, worker: _Worker) -> None:
        """Start another extractor at the place of one that has ended, unless its node has ended with it."""
        if self._nodes.lives(worker.place.workers.node):
            self._workers.append(self._spawn(worker.place))

    def _loaded(self, worker: _Worker, one: _Awaited) -> Iterator[Event]:
        try:
            self.notes = ray.get(one.reference)
        except RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, MSNetError):
                raise cause from None
            _LOG.error("an extractor failed to load the network: %s", error)
            self._not_loaded(worker, in_a_line(cause))
        except RayError as error:
            self._not_loaded(worker, in_a_line(error))
        else:
            worker.awaited.remove(one)
            worker.place.failures = 0
            self._loaded_once = True
        yield from ()

    def _not_loaded(self, worker: _Worker, reason: str) -> None:
        """Start another worker; after several failures continue without it while there are others, and say so."""
        self._require_alive()
        _LOG.warning("an extractor%s did not load its network: %s", worker.place, reason)
        ray.kill(worker.actor)
        self._workers.remove(worker)
        self._load_failures += 1
        worker.place.failures += 1
        if worker.place.failures < _LOAD_ATTEMPTS:
            self._respawn(worker)
        elif not self._workers:
            lack = "Is there enough memory on the device, and is it free? Try fewer --extractors or a smaller --model"
            raise ResourceError(
                f"expected an extractor to load its network; {self._load_failures} failed ({reason}). "
                f"{what_to_mend(reason, lack)}"
            )
        else:
            self._say(
                f"an extractor{worker.place} could not load its network and is left out; "
                f"{len(self._workers)} go on ({reason})"
            )

    def _assign(self, worker: _Worker, shard: PlannedShard) -> None:
        history = self._ledger.history(shard.name)
        task = ShardTask(shard.name, self._token, shard.jobs, history.one_by_one, history.poisonous())
        worker.awaited.append(_Awaited(worker.actor.run_shard.options(num_returns="streaming").remote(task), shard))
        _LOG.info("%s begins%s", shard.name, ", one video at a time" if history.one_by_one else "")

    def _take(self, worker: _Worker, one: _Awaited) -> Iterator[Event]:
        assert one.shard is not None
        try:
            event = ray.get(next(one.reference))
        except StopIteration:
            worker.awaited.remove(one)
            return
        except RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, MSNetError):  # such as a full disk or an altered store: a restart would not help
                raise cause from None
            _LOG.error("%s: the extractor failed: %s", one.shard.name, error)
            self._crashed(worker, FailureClass.EXTRACTOR_CRASHED, f"the extractor failed: {in_a_line(cause)}")
            return
        except OutOfMemoryError as error:
            message = f"the extractor ran out of memory: {in_a_line(error)}"
            self._crashed(worker, FailureClass.OUT_OF_MEMORY, message)
            return
        except RayError as error:
            message = f"the extractor's process died: {in_a_line(error)}"
            self._crashed(worker, FailureClass.EXTRACTOR_CRASHED, message)
            return
        if isinstance(event, ShardProgress):
            worker.decoders = event.decoders or worker.decoders
            one.last_files = event.last_files
            if event.finished:
                one.last_started = None
            if event.started:
                one.last_started = event.started[-1]
        yield event

    def _crashed(self, worker: _Worker, failure: FailureClass, message: str) -> None:
        """Replace a worker and queue its shards again, or give up those without a file to blame."""
        self._require_alive()
        ray.kill(worker.actor)
        self._workers.remove(worker)
        for one in worker.awaited:
            assert one.shard is not None
            history = self._ledger.crashed(one.shard.name, one.last_started, failure, message)
            _LOG.warning("%s: %s (crash %d)", one.shard.name, message, history.crashes)
            if self._draining:
                continue
            if history.hopeless:
                self.given_up.append(one.shard.name)
            else:
                self._waiting.append(one.shard)
        if not self._draining:
            self._respawn(worker)


def _cause(error: RayTaskError) -> Exception:
    """The exception that was raised inside a remote call."""
    return error.cause if isinstance(error.cause, Exception) else error
