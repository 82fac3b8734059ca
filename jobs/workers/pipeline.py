"""The loop of an extractor: files to decoders, frames to the device, rows to the writer, shards to their commits.

Shards overlap: the files of the next one begin while the last ones of this one are decoded, and while it is committed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Collection
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from extractor.models.msnet import MSNet, MSNetEnsemble
from extractor.pipeline.devices import Device
from extractor.pipeline.feeder import Feeder
from extractor.pipeline.messages import BatchRows, Message
from extractor.store.commits.records import CommitStatus
from extractor.store.commits.run import Run
from jobs.cluster.devices import Workers
from jobs.workers.attempt import ShardAttempt
from jobs.workers.decoder_pool import DecoderPool
from jobs.workers.events import ShardCommitted, ShardTask
from jobs.workers.pool.balance import Balance
from schemas.errors import MSNetError, StorageError
from schemas.layout import StorePaths

_WAIT_SECONDS = 0.2
_REPORT_SECONDS = 1.0
_ROUNDS = 3  # of extracting and committing a shard
_MOST_UNWRITTEN = 8  # calls of the writer that have not returned; their rows are in shared memory


_Reply = queue.SimpleQueue[ShardAttempt | Exception]


class Pipeline:
    """Runs the shards of one extractor in a thread of its own; `begin` hands it one more.

    Whatever goes wrong ends all shards in progress with the exception.
    """

    def __init__(
        self,
        paths: StorePaths,
        run: Run,
        network: MSNet | MSNetEnsemble,
        device: Device,
        pool: DecoderPool,
        writer: Any,
        workers: Workers,
    ) -> None:
        self._paths = paths
        self._run = run
        self._device = device
        self._pool = pool
        self._writer = writer
        self._threads = workers.threads
        self._balance = None if workers.decoders_fixed else Balance()
        self._messages: list[Message] = []
        self._feeder = Feeder(
            network, run.config, run.datasets, device, self._messages.append, batch_frames=workers.batch_frames
        )
        self._tasks: queue.SimpleQueue[tuple[ShardTask, _Reply]] = queue.SimpleQueue()
        self._shards: list[ShardAttempt] = []
        self._writing: deque[Any] = deque()
        self._committing: dict[Any, ShardAttempt] = {}
        self._draining = threading.Event()
        self._busy_before = 0.0
        self._sent = 0.0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._loop, name="pipeline", daemon=True).start()

    def begin(self, task: ShardTask) -> ShardAttempt:
        """Take a shard; returns its attempt, whose events follow."""
        reply: _Reply = queue.SimpleQueue()
        self._tasks.put((task, reply))
        attempt = reply.get()
        if isinstance(attempt, Exception):
            raise attempt
        return attempt

    def drain(self) -> None:
        """Finish the files in progress, start no more, and commit nothing that is not being committed."""
        self._draining.set()

    def _loop(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread
        while True:
            if not self._shards:
                self._accept(*self._tasks.get())
            try:
                self._turn()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End all shards with the exception, and refuse others."""
        for shard in self._shards:
            shard.events.put(error)
        while True:
            _, reply = self._tasks.get()
            reply.put(error)

    def _accept(self, task: ShardTask, reply: _Reply) -> None:
        shard = ShardAttempt(task, self._paths, self._run, self._feeder, self._messages.append)
        self._shards.append(shard)
        reply.put(shard)
        self._writer.begin.remote(shard.attempt)
        self._begin(shard)

    def _begin(self, shard: ShardAttempt) -> None:
        if not self._draining.is_set() and not shard.is_committed():
            shard.begin()

    def _turn(self) -> None:
        ready = self._wait()
        while not self._tasks.empty():
            self._accept(*self._tasks.get())
        if self._draining.is_set():
            self._pool.drain()
        for shard in self._startable():
            self._pool.add(shard.take_files())
        for event in self._pool.poll(ready):
            for shard in self._shards:
                shard.handle(event)
        if self._pool.idle:
            if self._draining.is_set():  # files that the drain left unfinished
                self._cancel_all()
            self._feeder.flush()
        else:
            self._feeder.poll()
        self._send()
        self._hear(ready)
        for shard in list(self._shards):
            self._go_on(shard)

    def _startable(self) -> list[ShardAttempt]:
        """Shards whose files may begin: one that runs file by file shares the extractor with no other."""
        startable: list[ShardAttempt] = []
        for shard in self._shards:
            if startable and (shard.task.one_by_one or startable[-1].task.one_by_one):
                break
            startable.append(shard)
        return [] if self._draining.is_set() else startable

    def _go_on(self, shard: ShardAttempt) -> None:
        """Commit a shard that is complete, leave one that another attempt has committed, and report now and then."""
        if shard in self._committing.values():
            return
        if not shard.done and shard.is_committed():
            self._pool.withdraw(shard.cancel())
        if shard.done and self._draining.is_set():
            self._end(shard)
        elif shard.done:
            reference = self._writer.commit.remote(shard.attempt, shard.task.video_ids)
            self._committing[reference] = shard
        elif time.monotonic() - shard.reported > _REPORT_SECONDS or self._on_last_files(shard):
            self._report(shard)

    def _on_last_files(self, shard: ShardAttempt) -> bool:
        """Whether there is no more to do in a shard than its last files, and the driver was not told."""
        if shard.told_last_files or shard.task.one_by_one:
            return False
        return not shard.waiting and self._pool.hungry

    def _report(self, shard: ShardAttempt) -> None:
        if shard is self._shards[0]:
            busy = self._device.busy_seconds
            shard.seconds.network += busy - self._busy_before
            self._busy_before = busy
            shard.note(self._pool.notes)
            self._pool.notes = []
        shard.report(self._pool.size, last_files=shard.told_last_files or self._on_last_files(shard))

    def _end(self, shard: ShardAttempt, *events: ShardCommitted) -> None:
        self._report(shard)
        for event in (*events, None):
            shard.events.put(event)
        self._shards.remove(shard)
        self._send_all()  # what was dropped of it, before its log is closed
        self._writer.end.remote(shard.task.shard)

    def _cancel_all(self) -> None:
        for shard in self._shards:
            shard.cancel()

    def _send(self) -> None:
        """Give the writer what there is to write, if it is worth a call; wait if it has enough."""
        rows = any(isinstance(message, BatchRows) for message in self._messages)
        if rows or self._pool.idle or time.monotonic() - self._sent > _REPORT_SECONDS:
            self._send_all()

    def _send_all(self) -> None:
        self._sent = time.monotonic()
        if not self._messages:
            return
        while len(self._writing) >= _MOST_UNWRITTEN:
            self._written(self._writing.popleft())
        # A list of its own: the feeder and the files hold on to theirs.
        self._writing.append(self._writer.write.remote(self._messages[:]))
        self._messages.clear()

    def _hear(self, ready: Collection[Any]) -> None:
        """Take what the writer has finished."""
        while self._writing and self._writing[0] in ready:
            self._written(self._writing.popleft())
        for reference in [one for one in self._committing if one in ready]:
            shard = self._committing.pop(reference)
            status, seconds = self._result(reference)
            shard.seconds.write += seconds
            if status is not CommitStatus.INCOMPLETE:
                self._end(shard, ShardCommitted(shard.task.shard, status is CommitStatus.WON))
            elif shard.rounds < _ROUNDS:
                self._begin(shard)
            else:
                raise StorageError(
                    f"expected staged rows of {shard.task.shard} to read as they were written; they were damaged "
                    f"{_ROUNDS} times. The storage is not reliable: check it, or use another"
                )

    def _written(self, reference: Any) -> None:
        written = self._result(reference)
        by_name = {shard.task.shard: shard for shard in self._shards}
        for name, result in written.reports:
            if name in by_name:  # else another attempt has committed it meanwhile
                by_name[name].wrote(result)
        if self._shards:
            self._shards[0].seconds.write += written.seconds

    def _result(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:  # such as a full disk
            raise error.cause if isinstance(error.cause, MSNetError) else error from None
        except RayActorError as error:
            raise RuntimeError("the writer's process died") from error

    def _wait(self) -> set[Any]:
        """Wait until there is something to do; returns what has come from decoders and the writer."""
        awaited = [*self._pool.awaited(), *self._committing, *self._writing]
        if not awaited:
            return set()
        waited = 0.0
        ready, _ = ray.wait(awaited, num_returns=len(awaited), timeout=0)  # all, so that none starves
        if not ready:
            began = time.monotonic()
            ready, _ = ray.wait(awaited, num_returns=1, timeout=_WAIT_SECONDS)
            if self._pool.warm and self._feeder.idle and not self._pool.idle:
                waited = time.monotonic() - began
                self._shards[0].seconds.waiting += waited
        found = set(ready)
        self._balance_decoders(waited, found)
        return found

    def _balance_decoders(self, waited: float, ready: Collection[Any]) -> None:
        if self._balance is None or not self._pool.warm:
            return
        self._balance.look(waited, self._pool.ahead(ready))
        before = self._pool.size
        change, reason = self._balance.change(before)
        if change > 0 and self._pool.hungry and not self._pool.shares:  # there is not enough to do for more
            return
        if change and (made := self._pool.resize(change)):
            what = f"{made} more" if made > 0 else f"giving up {-made}"
            self._shards[0].note([f"decoders: {before}, {what}: {reason}"])
