"""Processes that decode clips: results in order, whatever a file does to the process that decodes it."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from schemas.errors import FailureClass, ResourceError
from schemas.records import Failure
from training.clips.records import Example

_LOG = logging.getLogger(__name__)
_AHEAD = 2  # results that a worker prepares
_DEADLINE_SECONDS = 120.0  # of one video; a slow one takes a second
_MOST_RESTARTS = 3  # without a result between them
_SHARED_MEMORY = Path("/dev/shm")

Key = TypeVar("Key")
Result = TypeVar("Result")


class Source(Protocol[Key, Result]):
    """What workers run. broken: videos by id that are not to be tried. It is pickled to each of them."""

    examples: Any
    broken: dict[str, Failure]
    result_bytes: int
    watch: Watch

    def load(self, key: Key) -> Result:
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
        waited = time.monotonic() - self._since
        return [
            int(at) for at, taken in zip(self._at.tolist(), waited.tolist(), strict=True) if at >= 0 and taken > seconds
        ]


class ClipWorkers(Generic[Key, Result]):
    """Runs a source in `workers` processes, or in this one with 0. Results come in the order of their keys.

    A video that kills its worker (decoder_crashed), or keeps it for two minutes (timed_out), is added to the source's
    broken ones; the workers are started anew, and the keys whose results have not come are given out again.
    """

    def __init__(self, source: Source[Key, Result], workers: int) -> None:
        self._source, self._workers = source, workers
        self._loader: DataLoader[Any] | None = None
        self._running: Any = None
        if workers:
            _require_shared_memory(source.result_bytes * (_AHEAD + 1) * workers)

    def results(self, keys: Iterable[Key]) -> Iterator[Result]:
        """Results of all keys, prepared ahead by the workers. Only the newest call may be asked for more."""
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
            except RuntimeError as error:
                restarts += 1
                found = self._blame(error)
                if not found or restarts > _MOST_RESTARTS:
                    raise ResourceError(
                        f"expected the processes that decode clips to keep running; got: {str(error).splitlines()[0]}."
                        " Use fewer --loader-workers, or give them more memory"
                    ) from error
                remaining = waiting.rest

    def close(self) -> None:
        """End the workers."""
        running, self._running, self._loader = self._running, None, None
        if running is not None:
            with suppress(RuntimeError):
                running._shutdown_workers()

    def _iterate(self, keys: _Keys[Key]) -> Iterator[Result]:
        if self._loader is None:
            self._loader = DataLoader(
                _Loaded(self._source),
                batch_size=None,
                sampler=keys,
                num_workers=self._workers,
                collate_fn=_same,
                worker_init_fn=_begin_worker,
                prefetch_factor=_AHEAD,
                persistent_workers=True,
                timeout=_DEADLINE_SECONDS,
                multiprocessing_context="spawn",
                generator=torch.Generator(),  # else it draws from the one that dropout draws from
            )
        sampler: Any = self._loader.sampler
        sampler.take(keys)
        self._running = iter(self._loader)
        yield from self._running

    def _blame(self, error: RuntimeError) -> list[str]:
        """Add the videos that have killed or kept a worker to the broken ones, end all workers; return the ids."""
        processes = [] if self._running is None else self._running._workers
        dead = [self._source.watch.of(n) for n, process in enumerate(processes) if not process.is_alive()]
        late = self._source.watch.late(_DEADLINE_SECONDS * 0.9)
        names = []
        for failure, examples in ((FailureClass.DECODER_CRASHED, dead), (FailureClass.TIMED_OUT, late)):
            for number in examples:
                if number < 0:
                    continue
                example: Example = self._source.examples[number]
                what = "ended its process" if failure is FailureClass.DECODER_CRASHED else "took more than two minutes"
                self._source.broken[example.video_id] = Failure(
                    example.video_id, failure, f"{example.path} {what}. Leave it out, or encode it again"
                )
                names.append(example.video_id)
        for process in processes:
            process.kill()
        self.close()
        self._source.watch = Watch(self._workers)
        _LOG.warning("clip workers are started again (%s): %s", error, names)
        return names


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
    torch.set_num_threads(1)


def _require_shared_memory(needed: int) -> None:
    """Raise ResourceError where results of workers would not fit: a worker that writes beyond it dies without a word."""
    with suppress(OSError):
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if free < needed:
            raise ResourceError(
                f"expected {needed / 2**20:.0f} MiB of shared memory for decoded clips; got {free / 2**20:.0f}. Enlarge"
                " /dev/shm (docker run --shm-size), or use fewer --loader-workers or smaller shares"
            )
