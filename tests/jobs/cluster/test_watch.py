"""A thread notices that Ray is gone or does not come up, and interrupts the main thread, whatever it waits for."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from jobs.cluster import watch as ray_watch
from jobs.cluster.signals import interruptible_from_threads
from jobs.cluster.watch import Peer, RayWatch
from schemas.errors import ResourceError


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "_LOOK_SECONDS", 0.05)


def peer(server: socket.socket, patience_seconds: float = 0.0) -> Peer:
    return Peer("raylet", *server.getsockname(), patience_seconds)


def test_peer_is_gone_once_nobody_listens(server: socket.socket) -> None:
    watched = peer(server)
    assert not watched.is_gone()
    server.close()
    assert watched.is_gone()


def test_peer_is_waited_for(server: socket.socket) -> None:
    watched = peer(server, patience_seconds=0.3)
    server.close()
    assert not watched.is_gone()
    time.sleep(0.4)
    assert watched.is_gone()


def test_peer_that_came_back_is_waited_for_anew(server: socket.socket) -> None:
    watched = peer(server, patience_seconds=60.0)
    address = server.getsockname()
    server.close()
    assert not watched.is_gone()
    with socket.create_server(address):
        assert not watched.is_gone()
    assert watched.silent_since is None


def test_main_thread_leaves_where_ray_is_gone(server: socket.socket) -> None:
    said = "expected Ray to run until the end; its process raylet no longer answers: .*, run it again"
    with interruptible_from_threads() as leave, RayWatch(leave, "Ray", "run it again") as watch:
        watch.came_up([peer(server)])
        watch.require_alive()
        server.close()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)
        with pytest.raises(ResourceError, match=said):
            watch.require_alive()
        time.sleep(0.3)  # it is not interrupted a second time


def test_main_thread_leaves_where_ray_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "_START_SECONDS", 0.1)
    with interruptible_from_threads() as leave, RayWatch(leave, "Ray", "") as watch:
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)
        with pytest.raises(ResourceError, match="expected Ray to come up within 0 s; it did not"):
            watch.require_alive()


def test_end_on_purpose_is_no_trouble(server: socket.socket) -> None:
    with interruptible_from_threads() as leave, RayWatch(leave, "Ray", "") as watch:
        watch.came_up([peer(server)])
        watch.rest()
        server.close()
        time.sleep(0.3)


STUCK = """
import socket, time
from jobs.cluster import watch as ray_watch
from jobs.cluster.signals import interruptible_from_threads
ray_watch._LOOK_SECONDS, ray_watch._LEAVE_SECONDS, ray_watch._ASK_SECONDS = 0.05, 0.5, 0.1
with interruptible_from_threads() as leave, ray_watch.RayWatch(leave, "Ray", "run it again") as watch:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch.came_up([ray_watch.Peer("raylet", *server.getsockname())])
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


def test_process_ends_where_the_main_thread_does_not_hear() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("msnet: expected Ray to run until the end") and line.endswith("run it again")
