"""Notices that Ray does not come up, or is gone: a thread beside the one that waits for it.

Ray itself takes a minute and then ends the process from C++, or says nothing for ten and then that workers died.
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

__all__ = ["Peer", "RayWatch", "own_peers"]

_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 3.0
_START_SECONDS = 45.0  # usually it takes 3 to 6, on a machine with five times its load 30
_LEAVE_SECONDS = 15.0  # that the main thread may take to come out of Ray's C++ and clean up, once asked to
_ASK_SECONDS = 5.0  # between two requests: cleaning up should not be interrupted all the time
_REFUSALS = 2  # in a row: one may be the kernel's, with too much to do

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Peer:
    """A process of Ray's that must live, by the address it listens at."""

    name: str
    host: str
    port: int
    patience_seconds: float = 0.0
    refusals: int = 0
    silent_since: float | None = None

    def is_gone(self) -> bool:
        """Whether it was tried in vain often and long enough."""
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
    """The control service of the Ray that runs (its head, in a cluster) and the raylet that this process belongs to.

    patience_seconds: how long the first may be silent.
    """
    context: Any = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    peers = [Peer("gcs_server", host.strip("[]"), int(port), patience_seconds)]
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == context.get_node_id():
            peers.append(Peer("raylet", node["NodeManagerAddress"], int(node["NodeManagerPort"])))
    return peers


class RayWatch:
    """Watches from a thread of its own while entered: first that Ray comes up, then that it lives.

    Where it does not, the main thread is made to leave what it is in, by `leave`; the error that says why is raised by
    `require_alive`. Should it not get out of Ray's C++, the sentence is printed here and the process ends. leave: None
    where that cannot be done; then it is for those who wait to ask. what, advice: parts of that sentence.
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
        """Ray runs, and these must live from now on."""
        self._peers = peers

    def rest(self) -> None:
        """From now on Ray's processes end on purpose. Where they did before, cleaning up still has its limit."""
        self._heard.set()
        with self._lock:
            if self._trouble is None:
                self._ended.set()

    def require_alive(self) -> None:
        """Raise ResourceError where Ray did not come up or is gone."""
        if self._look() is not None:
            self._heard.set()
            raise ResourceError(self._look())

    def _look(self) -> str | None:
        with self._lock:
            if self._trouble is None:
                self._trouble = self._starting() if self._peers is None else self._running(self._peers)
                if self._trouble is not None:
                    _LOG.info("%s", self._trouble)  # the user hears it by the error that is raised
            return self._trouble

    def _starting(self) -> str | None:
        if time.monotonic() - self._began < _START_SECONDS:
            return None
        return (
            f"expected {self._what} to come up within {_START_SECONDS:.0f} s; it did not: is the machine overloaded, "
            "or does a firewall or a sandbox keep its processes from each other?"
        )

    def _running(self, peers: list[Peer]) -> str | None:
        for peer in peers:
            if peer.is_gone():
                return (
                    f"expected {self._what} to run until the end; its process {peer.name} no longer answers, killed or "
                    f"for want of memory: {self._advice}"
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
        sys.stderr.write(f"msnet: {self._trouble}\n")  # nobody else will
        sys.stderr.flush()
        os._exit(1)
