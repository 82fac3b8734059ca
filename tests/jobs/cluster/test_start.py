"""What Ray needs is tested before it starts."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import socket
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs.cluster.start import (
    _longest_socket_path,
    init,
    prepare_environment,
    require_loopback,
    temporary_folder,
    without_ray_output,
)
from schemas.errors import ResourceError


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path: pytest's are too long for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is restored, however the test leaves it
        monkeypatch.delenv(name)
    return monkeypatch


def folder_of_length(place: Path, length: int) -> Path:
    """A folder below `place` in which the longest path of Ray's sockets has `length` bytes."""
    rest = len(f"/ray/session_{'0' * 26}_{os.getpid()}/sockets/plasma_store")
    room = length - rest - len(os.fsencode(place)) - 1
    (place / ("x" * room)).mkdir()
    return place / ("x" * room)


def test_tmpdir_is_taken_and_rays_own_variable_before_it(place: Path, unset: pytest.MonkeyPatch) -> None:
    assert temporary_folder() == (Path("/tmp/ray"), None)
    for name in ("TMPDIR", "RAY_TMPDIR"):
        (place / name).mkdir()
        unset.setenv(name, str(place / name))
        assert temporary_folder() == (place / name / "ray", None)
        assert list((place / name / "ray").iterdir()) == []


def test_the_longest_path_that_a_socket_takes_is_taken(place: Path, unset: pytest.MonkeyPatch) -> None:
    folder = folder_of_length(place, _longest_socket_path())
    unset.setenv("TMPDIR", str(folder))
    assert temporary_folder() == (folder / "ray", None)


def test_a_tmpdir_with_a_longer_path_gives_way_to_tmp(place: Path, unset: pytest.MonkeyPatch) -> None:
    folder = folder_of_length(place, _longest_socket_path() + 1)
    unset.setenv("TMPDIR", str(folder))
    found, note = temporary_folder()
    assert found == Path("/tmp/ray")
    assert note is not None and note.startswith(f"TMPDIR ({folder}) cannot hold Ray's sockets: its path is 1 bytes too")
    assert list(folder.iterdir()) == []


def test_a_folder_that_the_user_chose_for_ray_is_refused(place: Path, unset: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    unset.setenv("RAY_TMPDIR", str(place / "file"))
    with pytest.raises(
        ResourceError, match=r"RAY_TMPDIR \(.*file\) cannot hold .*: Not a directory. Set RAY_TMPDIR to"
    ):
        temporary_folder()


def test_a_machine_that_cannot_connect_to_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_loopback()

    def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(
        ResourceError, match=r"reach itself at 127.0.0.1; it cannot \(Network is unreachable\). Bring the loopback"
    ):
        require_loopback()


def test_a_local_ray_has_a_token_of_its_own(unset: pytest.MonkeyPatch) -> None:
    prepare_environment(local=False)
    assert "RAY_AUTH_TOKEN" not in os.environ
    prepare_environment(local=True)
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    prepare_environment(local=True)
    assert os.environ["RAY_AUTH_TOKEN"] == token  # in one process, Ray keeps the first


def test_the_users_token_is_left_alone(unset: pytest.MonkeyPatch) -> None:
    unset.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere/else")
    prepare_environment(local=True)
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_what_ray_prints_in_this_process_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    told = {"lines": ["Raylet is terminated. [state-dump] ..."], "pid": "raylet", "is_err": False}
    with without_ray_output():
        ray._private.worker.print_to_stdstream(told, ignore_prefix=False)
        logging.getLogger("ray").error("listen_error_messages: gone")
    assert capfd.readouterr() == ("", "")
    told["lines"] = ["[state-dump] of another"]  # the same text is not printed twice
    ray._private.worker.print_to_stdstream(told, ignore_prefix=False)
    assert "state-dump" in capfd.readouterr().out


def test_rays_colours_leave_no_code_behind_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Callable[[], None]] = []
    module = types.SimpleNamespace(reset_all=lambda: None)
    monkeypatch.setattr(ray, "init", lambda **_: monkeypatch.setitem(sys.modules, "colorama.initialise", module))
    monkeypatch.setattr(atexit, "unregister", left.append)
    init()
    assert left == [module.reset_all]


def test_a_local_ray_does_without_services_that_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter, services = ray._private.parameter, ray._private.services
    before = parameter.RayParams, services.start_api_server
    made = []

    def start(**_: object) -> None:
        asked = parameter.RayParams(num_cpus=2)
        made.append((asked.no_monitor, asked.include_log_monitor, asked.num_cpus))
        made.append(services.start_api_server(False, False, host="127.0.0.1"))

    monkeypatch.setattr(ray, "init", start)
    init()
    assert made == [(True, False, 2), ("", None)]
    assert (parameter.RayParams, services.start_api_server) == before


@dataclass
class _Gcs:
    """A control service that knows the node from the third look on; `broken` ones cannot be asked."""

    broken: bool = False
    looks: int = 0

    def get_all_node_info(self, timeout: float) -> list[Any]:
        self.looks += 1
        if self.broken:
            raise RuntimeError("another Ray")
        return [types.SimpleNamespace(hex=lambda: "theirs" if self.looks < 3 else "ours")]


@pytest.mark.parametrize(("broken", "looks"), [(False, 3), (True, 1)])
def test_a_node_is_noticed_when_it_has_started_and_then_asked_for_as_ray_does(
    monkeypatch: pytest.MonkeyPatch, broken: bool, looks: int
) -> None:
    services, gcs = ray._private.services, _Gcs(broken)
    asked = []
    monkeypatch.setattr(ray._raylet, "GcsClient", lambda address: gcs)
    monkeypatch.setattr(services, "get_node", lambda *where: asked.append((*where, gcs.looks)))
    monkeypatch.setattr(ray, "init", lambda **_: services.get_node("here:1", "ours"))
    before = services.get_node
    init()
    assert asked == [("here:1", "ours", looks)]
    assert services.get_node is before


def test_a_ray_that_knows_no_such_services_starts_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.parameter.RayParams", lambda num_cpus=None: num_cpus)
    monkeypatch.delattr("ray._private.services.start_api_server")
    monkeypatch.delattr("ray._private.services.get_node")
    monkeypatch.setattr(ray, "init", lambda **_: ray._private.parameter.RayParams(num_cpus=3))
    assert init() == 3
    assert not hasattr(ray._private.services, "start_api_server")
