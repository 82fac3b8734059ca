"""Starting Ray: what it needs is tested first, so that a lack is reported at once and in a sentence."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir, contextmanager, suppress
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import ray

from jobs.cluster.signals import keeping_handlers
from schemas.errors import ResourceError

_HOME = Path(__file__).resolve().parents[2]
_CONNECT_SECONDS = 5.0
_NODE_SECONDS = 10.0  # to look for a new node often; then Ray's own way remains
_LOOK_SECONDS = 0.03
_SMALL_BYTES = 65536
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # send nothing about the user's machine
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # added to the command's; Ray's default is 15
    # Ray starts with a process a core, and by default ends those that nothing uses for a second. Decoders come a little
    # later, and would wait for others.
    "RAY_idle_worker_killing_time_threshold_ms": "15000",
}
_WITHOUT = {"no_monitor": True, "include_log_monitor": False}
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare_environment(*, local: bool) -> None:
    """Set the environment variables that configure Ray, except those that the user has set.

    A local Ray gets a token of its own. Otherwise Ray would write one to ~/.ray/auth_token, and from then on every
    cluster that this user starts with `ray start --head` would ask for it.
    """
    values = dict(_ENVIRONMENT)
    if local and not any(name in os.environ for name in _TOKEN_VARIABLES):
        values["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})


def temporary_folder() -> tuple[Path, str | None]:
    """Folder for Ray's sockets and logs, and a note for the user if it is not the first choice.

    The choices are RAY_TMPDIR alone if it is set, else TMPDIR and /tmp. Raises ResourceError if none is usable.
    """
    if chosen := os.environ.get("RAY_TMPDIR"):
        candidates = [("RAY_TMPDIR", chosen)]
    else:
        candidates = [("TMPDIR", os.environ.get("TMPDIR", "")), ("/tmp", "/tmp")]
    refused: list[str] = []
    for name, text in candidates:
        if not text:
            continue
        folder = Path(text).absolute() / "ray"
        reason = _unfit(folder)
        if reason is None:
            return folder, f"{'; '.join(refused)}: Ray's files are in {folder}" if refused else None
        refused.append(f"{name if name == text else f'{name} ({text})'} cannot hold Ray's sockets: {reason}")
    raise ResourceError(
        f"expected a folder for Ray's sockets and logs; {'; '.join(refused)}. Set RAY_TMPDIR to a writable folder of a "
        "local disk with a short path"
    )


def _unfit(folder: Path) -> str | None:
    """Why Ray cannot work in a folder, found by doing there what Ray does; None if it can."""
    session = folder / f"session_{'0' * 26}_{os.getpid()}"  # as long as Ray's own names
    path = session / "sockets" / "plasma_store"
    if len(os.fsencode(path)) > _longest_socket_path():
        return f"its path is {len(os.fsencode(path)) - _longest_socket_path()} bytes too long for one"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (session / "written").write_bytes(bytes(_SMALL_BYTES))
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    except OSError as error:
        return error.strerror or str(error)
    finally:
        shutil.rmtree(session, ignore_errors=True)
    return None


def _longest_socket_path() -> int:
    return 103 if os.uname().sysname == "Darwin" else 107


def require_loopback() -> None:
    """Raise ResourceError if this machine cannot connect to itself: Ray would try for ten minutes."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), _CONNECT_SECONDS),
        ):
            pass
    except OSError as error:
        raise ResourceError(
            f"expected this machine to reach itself at 127.0.0.1; it cannot ({error.strerror or error}). "
            "Bring the loopback interface up (`ip link set lo up`), or allow it in the sandbox"
        ) from error


def init(**options: Any) -> Any:
    """`ray.init`, called from the folder of our own packages.

    Ray puts the working directory first on its workers' module path, and the user's may have a folder named like one of
    our packages.
    """
    with chdir(_HOME), keeping_handlers(), _apart(), _without_services(), _looking_often():
        started = ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    # Ray has imported its command line, whose colorama would print a colour code when this process ends.
    if (colorama := sys.modules.get("colorama.initialise")) is not None:
        atexit.unregister(colorama.reset_all)
    return started


@contextmanager
def _replaced(module: Any, name: str, replacement: Callable[[Any], Any]) -> Iterator[None]:
    """In the block, what a module of Ray has under a name is what `replacement` makes of it; not where it has none."""
    found = getattr(module, name, None)
    if found is None:
        yield
        return
    setattr(module, name, replacement(found))
    try:
        yield
    finally:
        setattr(module, name, found)


def _apart() -> AbstractContextManager[None]:
    """Give processes that Ray starts in the block a session of their own.

    So a signal to the command's process group, such as GNU `timeout` sends, reaches the command alone: it ends Ray once
    the videos in progress are finished. With the command, however it ends, Linux ends them.
    """
    return _replaced(ray._private.services, "ConsolePopen", lambda popen: partial(popen, start_new_session=True))


@contextmanager
def _without_services() -> Iterator[None]:
    """Start a local Ray in the block without Python processes that serve nothing here, each a second of a core.

    They are the monitor (of an autoscaler), the log monitor (prints what workers print) and the dashboard's server,
    which runs even where there is to be no dashboard, and which Ray waits for. A Ray that calls them by other names
    starts them.
    """

    def without(make: Any) -> Any:
        known = signature(make).parameters
        return partial(make, **{name: value for name, value in _WITHOUT.items() if name in known})

    with (
        _replaced(ray._private.parameter, "RayParams", without),
        _replaced(ray._private.services, "start_api_server", lambda _: _no_api_server),
    ):
        yield


def _looking_often() -> AbstractContextManager[None]:
    """Notice a node that has started in the block when it has; Ray itself looks once a second."""
    return _replaced(ray._private.services, "get_node", lambda get_node: partial(_get_node_soon, get_node))


def _get_node_soon(get_node: Callable[..., Any], gcs_address: str, node_id: str) -> Any:
    with suppress(Exception):  # whatever is other than expected, Ray's own way remains
        raylet: Any = ray._raylet
        client = raylet.GcsClient(address=gcs_address)
        deadline = time.monotonic() + _NODE_SECONDS
        while time.monotonic() < deadline:
            if any(found.hex() == node_id for found in client.get_all_node_info(timeout=_CONNECT_SECONDS)):
                break
            time.sleep(_LOOK_SECONDS)
    return get_node(gcs_address, node_id)


def _no_api_server(*_: Any, **__: Any) -> tuple[str, None]:
    """The address of the dashboard and its process, as Ray has them when it could not be started."""
    return "", None


@contextmanager
def without_ray_output() -> Iterator[None]:
    """During the block, keep what Ray's Python prints and logs in this process off the user's terminal.

    Even with `log_to_driver=False` a thread prints, in yellow and to standard output, what Ray's processes report when
    they end, including the raylet's whole state. Their own logs have it, too.
    """
    logger = logging.getLogger("ray")
    terminal = [handler for handler in logger.handlers if type(handler).__module__.startswith("ray.")]
    quiet = logging.NullHandler()  # without a handler, logging itself would write to standard error
    for handler in terminal:
        logger.removeHandler(handler)
    logger.addHandler(quiet)
    printing = getattr(ray._private.worker, "_worker_logs_enabled", True)
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        ray._private.worker._worker_logs_enabled = printing
        logger.removeHandler(quiet)
        for handler in terminal:
            logger.addHandler(handler)
