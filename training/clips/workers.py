"""Processes that decode clips: results in order, whatever a file does to the process that decodes it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from multiprocessing import connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from schemas.errors import FailureClass, ResourceError
from schemas.escaping import escaped
from schemas.records import Failure
from training.clips.records import Example

_LOG = logging.getLogger(__name__)
_AHEAD = 2  # results that a worker prepares
_DEADLINE_SECONDS = 120.0  # of one video; a slow one takes a second
_POLL_SECONDS = 5  # how long a death may go unnoticed while nothing comes
_MOST_RESTARTS = 8  # without a result between them
_UNEXPLAINED = 4  # restarts that one counts for which no video can be blamed for
_SHARED_MEMORY = Path("/dev/shm")
_LOST = (RuntimeError, EOFError, OSError)  # from torch; the latter where a worker dies before its result is fetched
_TIMED_OUT, _RAISED_BY_SOURCE = "DataLoader timed out", "in DataLoader worker process"  # in torch's messages

Key = TypeVar("Key")
Result = TypeVar("Result")
Taken = TypeVar("Taken", contravariant=True)
Made = TypeVar("Made", covariant=True)


class Source(Protocol[Taken, Made]):
    """What workers run. broken: videos by id that are not to be tried. It is pickled to each of them."""

    broken: dict[str, Failure]
    watch: Watch

    @property
    def examples(self) -> Sequence[Example]:
        """What `watch` tells the numbers of."""

    @property
    def result_bytes(self) -> int:
        """Bytes of a result."""

    def load(self, key: Taken) -> Made:
        """The result for a key, the same in every process."""


class Watch:
    """Which example each worker is decoding, and since when, in memory that outlives the worker."""

    def __init__(self, workers: int) -> None:
        self._at = torch.full((max(1, workers),), -1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._since = torch.zeros(max(1, workers), dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]

    def note(self, example: int) -> None:
        """This worker begins an example; -1: it has none."""
        info = get_worker_info()
        worker = 0 if info is None else info.id
        self._since[worker] = time.monotonic()
        self._at[worker] = example

    def of(self, worker: int) -> int:
        """The example that a worker is decoding, or was when it died; -1 for none."""
        return int(self._at[worker])

    def late(self, seconds: float) -> list[int]:
        """The examples that have taken more than `seconds`."""
        taken = time.monotonic() - self._since
        return [int(example) for example in self._at[taken > seconds] if example >= 0]


class ClipWorkers(Generic[Key, Result]):
    """Runs a source in `workers` processes, or in this one with 0. Results come in the order of their keys.

    A video that kills its worker (decoder_crashed), or keeps it for two minutes (timed_out), is added to the source's
    broken ones; the workers are started anew, and the keys whose results have not come are given out again.
    """

    def __init__(self, source: Source[Key, Result], workers: int) -> None:
        self._source, self._workers = source, workers
        source.watch = Watch(workers)
        self._loader: DataLoader[Any] | None = None
        self._running: Any = None
        if workers:
            _require_shared_memory(source.result_bytes * (_AHEAD + 1) * workers)

    def results(self, keys: Iterable[Key]) -> Iterator[Result]:
        """Results of all keys, prepared ahead by the workers. Only the newest call may be asked for more.

        Raises ResourceError where workers keep dying, or die while they decode nothing.
        """
        if not self._workers:
            yield from map(self._source.load, keys)
            return
        remaining, outstanding = iter(keys), list[Key]()
        restarts = 0
        while True:
            waiting = _Keys(chain(outstanding, remaining))
            outstanding = waiting.given
            try:
                for result in self._iterate(waiting):
                    outstanding.pop(0)
                    restarts = 0
                    yield result
                return
            except _WorkersFailed as failed:
                names = self._restart()
                restarts += 1 if names else _UNEXPLAINED
                if restarts > _MOST_RESTARTS:
                    raise ResourceError(
                        f"expected the processes that decode clips to keep running; got: {str(failed).splitlines()[0]}."
                        " Use fewer --loader-workers, or give them more memory"
                    ) from failed
                _LOG.warning("clip workers are started again: %s", escaped(", ".join(names) or failed))
                remaining = waiting.rest

    def close(self) -> None:
        """End the workers."""
        running, self._running, self._loader = self._running, None, None
        if running is not None:
            with suppress(RuntimeError):
                running._shutdown_workers()

    def _iterate(self, keys: _Keys[Key]) -> Iterator[Result]:
        try:
            self._begin(keys)
        except _LOST as error:  # a worker that has died since, or that does not finish what nobody wants now
            raise _WorkersFailed(str(error)) from error
        while True:
            try:
                result = next(self._running)
            except StopIteration:
                return
            except _LOST as error:
                if _RAISED_BY_SOURCE in str(error):
                    raise
                if str(error).startswith(_TIMED_OUT) and not self._source.watch.late(_DEADLINE_SECONDS):
                    continue
                raise _WorkersFailed(str(error) or type(error).__name__) from error
            yield result

    def _begin(self, keys: _Keys[Key]) -> None:
        """Let the workers, started if there are none, turn to these keys."""
        if self._loader is None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores: the user's choice
                self._loader = DataLoader(
                    _Loaded(self._source),
                    batch_size=None,
                    sampler=keys,
                    num_workers=self._workers,
                    collate_fn=_same,
                    worker_init_fn=_begin_worker,
                    prefetch_factor=_AHEAD,
                    persistent_workers=True,
                    timeout=_POLL_SECONDS,
                    multiprocessing_context=_forking_server(),
                    generator=torch.Generator(),  # else it draws from the one that dropout draws from
                )
                with _signals_kept():
                    self._running = iter(self._loader)
            return
        sampler: Any = self._loader.sampler
        sampler.take(keys)
        self._running = iter(self._loader)

    def _restart(self) -> list[str]:
        """End all workers, and add the videos that killed or kept one to the broken ones; returns these."""
        processes: list[BaseProcess] = [] if self._running is None else self._running._workers
        late = self._source.watch.late(_DEADLINE_SECONDS)
        connection.wait([process.sentinel for process in processes], 0 if late else 1)  # for what a lost result told
        dead = {n: process.exitcode for n, process in enumerate(processes) if not process.is_alive()}
        crashed = [self._source.watch.of(n) for n in dead]
        for process in processes:
            process.kill()
        self.close()
        self._source.watch = Watch(self._workers)
        if -signal.SIGBUS in dead.values():
            raise ResourceError(
                "expected room in shared memory for decoded clips; got a bus error. Enlarge /dev/shm"
                " (docker run --shm-size), or use fewer --loader-workers or smaller shares"
            )
        return [
            self._blame(number, failure)
            for failure, numbers in ((FailureClass.DECODER_CRASHED, crashed), (FailureClass.TIMED_OUT, late))
            for number in numbers
            if number >= 0
        ]

    def _blame(self, number: int, failure: FailureClass) -> str:
        """Add an example to the broken ones; return its id."""
        example = self._source.examples[number]
        what = "ended its process" if failure is FailureClass.DECODER_CRASHED else "took more than two minutes"
        message = f"{example.path} {what}. Leave it out, or encode it again"
        self._source.broken[example.video_id] = Failure(example.video_id, failure, message)
        return f"{example.video_id} ({failure.value})"


class _WorkersFailed(Exception):  # noqa: N818 (what has happened, not yet an error)
    """A worker has died, or does not finish a video."""


class _Keys(Generic[Key]):
    """Keys for a loader, which notes those that it has given out."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.rest = iter(keys)
        self.given: list[Key] = []

    def take(self, other: _Keys[Key]) -> None:
        """Give out the keys of another one from now on."""
        self.rest, self.given = other.rest, other.given

    def __iter__(self) -> Iterator[Key]:
        given = self.given
        for key in self.rest:
            given.append(key)
            yield key


class _Loaded(Dataset[Any]):
    """A source as torch's loader asks for it."""

    def __init__(self, source: Source[Any, Any]) -> None:
        self._source = source

    def __getitem__(self, key: Any) -> Any:
        return self._source.load(key)


def _same(result: Any) -> Any:
    return result


def _begin_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains, which ends the workers
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that trains is gone, even if a video keeps it.

    torch looks whether the process is gone that has forked this one, which is the server, and lives as long as this.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _forking_server() -> BaseContext:
    """Starts processes from one that has imported torch and nothing else has happened in: in 0.1 s instead of 1.5."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.clips.sources"])
    return context


@contextmanager
def _signals_kept() -> Iterator[None]:
    """While workers are started: they inherit that Ctrl-C waits, and torch's handler for their deaths is taken back.

    That handler would raise in the midst of a step of training. A death is noticed when a result is asked for.
    """
    mine = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD) if mine else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _require_shared_memory(needed: int) -> None:
    """Raise ResourceError where results of workers would not fit: a worker that writes beyond it dies."""
    with suppress(OSError):
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if free < needed:
            raise ResourceError(
                f"expected {needed / 2**20:.0f} MiB of shared memory for decoded clips; got {free / 2**20:.0f}. Enlarge"
                " /dev/shm (docker run --shm-size), or use fewer --loader-workers or smaller shares"
            )
