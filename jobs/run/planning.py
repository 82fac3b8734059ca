"""Planning: which video goes into which shard, by the headers of the files, while the first shards are extracted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from extractor.store.commits.run import Run
from extractor.store.planning import Decided, InventoryRows, PlannedSoFar, PlanningLog, remove_log
from extractor.store.table_columns import joined
from extractor.store.tables import write_inventory
from extractor.video.headers import LIKELY_BYTES_A_SECOND, Length, header_length
from extractor.video.listing import Listing
from jobs.run.inventory import rows_of_shard, split_jobs
from jobs.run.sharding import Estimator, ItemEstimate, ShardFill, shard_bound
from jobs.workers.driver import PlannedShard
from schemas.layout import StorePaths, shard_name
from schemas.records import FileJob

_READERS = 8  # threads: on remote storage each header waits for its turn
_FILES_TOGETHER = 64
_AHEAD = 2 * _READERS  # such groups
_SAMPLED = 256  # files, spread over the listing, by whose headers the whole is estimated

Lengths = Mapping[str, Length | None]
Tell = Callable[[int, int], None]

Maker = Callable[[], PlannedShard]
"""Makes a shard when its turn comes: the jobs of a million files at once would fill the memory."""


class ShardSupply:
    """Shards in the order in which they are to run. One thread may `put` and `end` while another one takes.

    open: more shards may come until `end` is called.
    """

    def __init__(self, shards: Iterable[Maker] = (), *, open: bool = False) -> None:
        self._waiting = deque(shards)
        self._open = open
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, shards: Iterable[Maker]) -> None:
        """Add shards."""
        with self._changed:
            self._waiting.extend(shards)

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more shards come, and why if that is an error."""
        with self._changed:
            self._open, self._error = False, error
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more shards."""
        with self._changed:
            self._closed = True
            self._waiting.clear()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until no more shards can come, but no longer than this; returns whether that is so.

        Raises the error that `end` was told.
        """
        with self._changed:
            ended = self._changed.wait_for(lambda: not self._open, seconds)
            self._raise()
            return ended

    def take(self) -> PlannedShard | None:
        """The next shard; None if there is none, perhaps not yet. Raises the error that `end` was told."""
        with self._changed:
            self._raise()
            make = self._waiting.popleft() if self._waiting and not self._closed else None
        return None if make is None else make()

    @property
    def ended(self) -> bool:
        """Whether `take` will never return a shard again. Raises the error that `end` was told."""
        with self._changed:
            self._raise()
            return self._closed or not (self._waiting or self._open)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def planned_inventory(
    listing: Listing, run: Run, *, min_shards: int = 1, first_shard: int = 0, tell: Tell = lambda done, total: None
) -> pd.DataFrame:
    """Inventory rows of all items of a listing; shards are numbered from `first_shard`.

    min_shards: how many shards keep all workers busy. tell: is called with the numbers of planned and of all items.
    """
    rows, total = InventoryRows(), listing.num_items
    decided, sampled = decide(listing.jobs, run, min_shards)
    for shard in plan_shards(listing, run, decided, first_shard, sampled):
        rows.add(shard.columns)
        tell(rows.count, total)
    return rows.frame()


@dataclass(frozen=True, slots=True)
class ShardRows:
    """A shard that is planned: the jobs of its files, and the inventory's rows of their items as whole columns."""

    name: str
    jobs: tuple[FileJob, ...]
    columns: dict[str, list[Any]]
    estimated_bytes: int


def decide(jobs: Sequence[FileJob], run: Run, min_shards: int) -> tuple[Decided, Lengths]:
    """What is decided once for all jobs, by the headers of some of them; also returns their lengths by path."""
    sample = jobs[:: max(1, len(jobs) // _SAMPLED)]
    lengths = {job.path: length for job, length in read_lengths(sample)}
    stated = [(job.size_bytes or 0, found.seconds) for job in sample if (found := lengths[job.path]) is not None]
    size, seconds = map(sum, zip(*stated, strict=True)) if stated else (0, 0.0)
    rate = size / seconds if size else LIKELY_BYTES_A_SECOND
    estimator = Estimator(run.config, run.datasets, rate)
    of_sample = sum(one.bytes for job in sample for one in estimator.items(job, lengths[job.path]))
    total = of_sample * len(jobs) // max(1, len(sample))
    bound = shard_bound(total, sum(1 for _ in split_jobs(jobs)), run.shard_bytes, min_shards)
    return Decided(bound, rate), lengths


def plan_shards(
    listing: Listing,
    run: Run,
    decided: Decided,
    first_shard: int,
    sampled: Lengths | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[ShardRows]:
    """Shards of the items of a listing, in its order, each as soon as it is full.

    stopped: asked for each file; once it returns True, no more shards come.
    """
    estimator = Estimator(run.config, run.datasets, decided.bytes_a_second)
    number, fill = first_shard, ShardFill(decided.shard_bytes)
    jobs: list[FileJob] = []
    estimates: list[ItemEstimate] = []

    def full() -> ShardRows:
        name = shard_name(number)
        return ShardRows(name, tuple(jobs), rows_of_shard(name, jobs, estimates, listing.root), fill.bytes)

    with closing(read_lengths(listing.jobs, sampled or {})) as lengths:
        for whole, length in lengths:
            if stopped():
                return
            for job in split_jobs([whole]):
                found = estimator.items(job, length)
                size = sum(one.bytes for one in found)
                if not fill.has_room(len(found), size):
                    yield full()
                    number, fill, jobs, estimates = number + 1, ShardFill(decided.shard_bytes), [], []
                fill.add(len(found), size)
                jobs.append(job)
                estimates += found
    if jobs:
        yield full()


def read_lengths(jobs: Sequence[FileJob], known: Lengths | None = None) -> Generator[tuple[FileJob, Length | None]]:
    """The length of every file by its header, in order; threads read a little ahead."""
    waiting: deque[Future[list[tuple[FileJob, Length | None]]]] = deque()
    with ThreadPoolExecutor(_READERS, "msnet-headers") as readers:
        try:
            for start in range(0, len(jobs), _FILES_TOGETHER):
                waiting.append(readers.submit(_read, jobs[start : start + _FILES_TOGETHER], known or {}))
                if len(waiting) > _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def _read(jobs: Sequence[FileJob], known: Lengths) -> list[tuple[FileJob, Length | None]]:
    return [(job, known[job.path] if job.path in known else header_length(job.path, job.fps)) for job in jobs]


class Planning:
    """Plans the videos of a store that has no inventory yet, and goes on where an earlier planning was interrupted.

    Call `run`, or enter it: a thread then plans while the block runs, and stops at its end. What is planned is saved in
    the store's log before `supply` hands it out, and becomes inventory.parquet in the end.

    listing: without the videos that the log has. so_far: what the log has. saves: whether to keep the log; one process
    at a time can. known: shards of the log that are not committed.
    """

    def __init__(
        self,
        paths: StorePaths,
        run: Run,
        listing: Listing,
        so_far: PlannedSoFar | None,
        *,
        min_shards: int,
        first_shard: int,
        saves: bool = True,
        known: Sequence[Maker] = (),
    ) -> None:
        self.supply = ShardSupply(known, open=True)
        self.total = listing.num_items + (0 if so_far is None else so_far.rows.count)
        self._paths, self._run, self._listing, self._so_far = paths, run, listing, so_far
        self._min_shards, self._first_shard, self._saves = min_shards, first_shard, saves
        self._rows = InventoryRows() if so_far is None else so_far.rows
        self.planned = self._rows.count
        """How many videos have a shard."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="msnet-planning", daemon=True)

    def run(self, tell: Tell = lambda done, total: None) -> pd.DataFrame | None:
        """Plan all videos; returns the inventory, None if it was stopped."""
        log = None
        try:
            decided, sampled = self._decided()
            if self._saves:
                log = PlanningLog(self._paths, self._run.digest, None if self._so_far is None else self._so_far.end)
                log.decide(decided, self.total - self.planned)
            if not self._plan(decided, sampled, log, tell):
                return None
        finally:
            if log is not None:
                log.close()
        rows, self._rows = self._rows, InventoryRows()  # a million take 200 MB
        inventory = write_inventory(self._paths, joined(rows.frame(), self._listing.columns.values))
        remove_log(self._paths)
        return inventory

    def _decided(self) -> tuple[Decided, Lengths]:
        if self._so_far is not None and self._so_far.decided is not None:
            return self._so_far.decided, {}
        return decide(self._listing.jobs, self._run, self._min_shards)

    def _plan(self, decided: Decided, sampled: Lengths, log: PlanningLog | None, tell: Tell) -> bool:
        """Plan shards until all are planned (True) or planning is stopped."""
        unsaved: list[Maker] = []
        stopped = self._stopped.is_set
        with closing(plan_shards(self._listing, self._run, decided, self._first_shard, sampled, stopped)) as shards:
            for shard in shards:
                self._rows.add(shard.columns)
                self.planned = self._rows.count
                if log is not None:
                    log.shard(shard.columns, self.total - self.planned)
                unsaved.append(partial(PlannedShard, shard.name, shard.jobs, shard.estimated_bytes))
                if log is None or log.sync():
                    self.supply.put(unsaved)
                    unsaved = []
                tell(self.planned, self.total)
        if stopped():
            return False
        if log is not None:
            log.sync(now=True)
        self.supply.put(unsaved)
        return True

    def _work(self) -> None:
        try:
            self.run()
        except BaseException as error:  # the driver raises it in the user's thread
            self.supply.end(error)
        else:
            self.supply.end()

    def __enter__(self) -> Planning:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop planning, and wait until what is planned is saved."""
        self._stopped.set()
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()
