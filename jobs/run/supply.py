"""The shards that the driver is to run, of which more may come while it works."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from jobs.workers.driver import PlannedShard

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
