"""A thread that notices if Ray does not come up, or is gone, while the main thread waits for it.

Ray itself takes a minute and then ends the process from C++, or is silent for ten and then reports dead workers.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from schemas.errors import ResourceError

_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 3.0
_START_SECONDS = 45.0  # it usually takes 3 to 6, on a machine at five times its capacity 30
_LEAVE_SECONDS = 15.0  # for the main thread to return from Ray's C++ and clean up
_ASK_SECONDS = 5.0  # between requests to leave, so that cleaning up is not interrupted all the time
_REFUSALS = 2  # in a row: one may come from an overloaded kernel

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Peer:
    """A process of Ray that must live, and the address that it listens at."""

    name: str
    host: str
    port: int
    patience_seconds: float = 0.0
    refusals: int = 0
    silent_since: float | None = None

    def is_gone(self) -> bool:
        """Try to connect; whether it has refused often and long enough to count as gone."""
        self._try()
        if 0 < self.refusals < _REFUSALS:
            self._try()
        silent_seconds = 0.0 if self.silent_since is None else time.monotonic() - self.silent_since
        return self.refusals >= _REFUSALS and silent_seconds >= self.patience_seconds

    def _try(self) -> None:
        try:
            socket.create_connection((self.host, self.port), _CONNECT_SECONDS).close()
        except OSError:
            self.refusals += 1
            self.silent_since = self.silent_since or time.monotonic()
        else:
            self.refusals, self.silent_since = 0, None


def own_peers(*, patience_seconds: float = 0.0) -> list[Peer]:
    """The control service of the running Ray (a cluster's head) and the raylet of this process.

    patience_seconds: how long the control service may be silent.
    """
    context: Any = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    peers = [Peer("gcs_server", host.strip("[]"), int(port), patience_seconds)]
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == context.get_node_id():
            peers.append(Peer("raylet", node["NodeManagerAddress"], int(node["NodeManagerPort"])))
    return peers


class RayWatch:
    """While entered, a thread of its own checks first that Ray comes up, then that it lives.

    If not, it calls `leave` to interrupt the main thread; `require_alive` then raises the error that says why. If the
    main thread does not return from Ray's C++, the error is printed here and the process ends. leave: None if the main
    thread cannot be interrupted; those who wait must then call `require_alive`. what, advice: parts of the message.
    """

    def __init__(self, leave: Callable[[], None] | None, what: str, advice: str) -> None:
        self._leave = leave
        self._what = what
        self._advice = advice
        self._began = time.monotonic()
        self._peers: list[Peer] | None = None
        self._trouble: str | None = None
        self._lock = threading.Lock()
        self._heard = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-watch", daemon=True)

    def __enter__(self) -> RayWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def came_up(self, peers: list[Peer]) -> None:
        """Ray runs: from now on check that these peers live."""
        self._peers = peers

    def rest(self) -> None:
        """Ray's processes end on purpose from now on. If they were gone before, cleaning up keeps its time limit."""
        self._heard.set()
        with self._lock:
            if self._trouble is None:
                self._ended.set()

    def require_alive(self) -> None:
        """Raise ResourceError if Ray did not come up or is gone."""
        if self._look() is not None:
            self._heard.set()
            raise ResourceError(self._look())

    def _look(self) -> str | None:
        with self._lock:
            if self._trouble is None:
                self._trouble = self._starting() if self._peers is None else self._running(self._peers)
                if self._trouble is not None:
                    _LOG.info("%s", self._trouble)  # the user sees the error that is raised
            return self._trouble

    def _starting(self) -> str | None:
        if time.monotonic() - self._began < _START_SECONDS:
            return None
        return (
            f"expected {self._what} to come up within {_START_SECONDS:.0f} s; it did not. Is the machine overloaded, "
            "or does a firewall or a sandbox block its processes from each other?"
        )

    def _running(self, peers: list[Peer]) -> str | None:
        for peer in peers:
            if peer.is_gone():
                return (
                    f"expected {self._what} to run until the end; its process {peer.name} no longer answers: it was "
                    f"killed, or memory ran out. To continue, {self._advice}"
                )
        return None

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if self._look() is not None and self._leave is not None:
                self._insist(self._leave)
                return

    def _insist(self, leave: Callable[[], None]) -> None:
        began, asked = time.monotonic(), -math.inf
        while (now := time.monotonic()) - began < _LEAVE_SECONDS:
            if now - asked > _ASK_SECONDS and not self._heard.is_set():
                asked = now
                leave()
            if self._ended.wait(_LOOK_SECONDS):
                return
        sys.stderr.write(f"msnet: {self._trouble}\n")  # the main thread is stuck and cannot
        sys.stderr.flush()
        os._exit(1)
