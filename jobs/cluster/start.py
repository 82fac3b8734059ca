"""How Ray comes up: what it needs is tried before, so that what is lacking is said at once and in a sentence."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import ray

from jobs.run.signals import keeping_handlers
from schemas.errors import ResourceError

__all__ = ["init", "prepare_environment", "require_loopback", "temporary_folder", "without_ray_output"]

_HOME = Path(__file__).resolve().parents[2]
_CONNECT_SECONDS = 5.0
_SMALL_BYTES = 65536
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing about a user's machine leaves it
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # on top of the command's; Ray's own is 15
}
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare_environment(*, local: bool) -> None:
    """Set the variables by which Ray and its processes do as we like, where the user has not set them.

    A local Ray gets a token of its own. Without it Ray writes one to ~/.ray/auth_token, and every `ray start --head`
    of this user makes a cluster that asks for it from then on.
    """
    values = dict(_ENVIRONMENT)
    if local and not any(name in os.environ for name in _TOKEN_VARIABLES):
        values["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})


def temporary_folder() -> tuple[Path, str | None]:
    """Folder for Ray's sockets and logs, and what to tell the user where it is not the first choice.

    That is RAY_TMPDIR, or else TMPDIR, or else /tmp. Raises ResourceError where none of them will do.
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
            return folder, f"{'; '.join(refused)}: Ray's files lie in {folder}" if refused else None
        refused.append(f"{name if name == text else f'{name} ({text})'} cannot hold Ray's sockets: {reason}")
    raise ResourceError(
        f"expected a folder for Ray's sockets and logs; {'; '.join(refused)}. Set RAY_TMPDIR to a writable folder of a "
        "local disk with a short path"
    )


def _unfit(folder: Path) -> str | None:
    """Why Ray cannot work in a folder, found by doing what it does there; None where it can."""
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
    """Raise ResourceError where this machine cannot connect to itself: Ray would try for ten minutes."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), _CONNECT_SECONDS),
        ):
            pass
    except OSError as error:
        raise ResourceError(
            f"expected that this machine can connect to itself at 127.0.0.1; it cannot ({error.strerror or error}). "
            "Bring the loopback interface up (`ip link set lo up`), or allow it in the sandbox"
        ) from error


def init(**options: Any) -> Any:
    """`ray.init`, from the folder of our own packages.

    Ray puts the folder where it is started in front of its workers' module path; the user's own may have a folder
    that is called like one of our packages.
    """
    with chdir(_HOME), keeping_handlers():
        return ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


@contextmanager
def without_ray_output() -> Iterator[None]:
    """Keep what Ray's Python prints and logs in this process off the user's terminal for the time of the block.

    `log_to_driver=False` leaves a thread that prints, in yellow and to the standard output, what Ray's processes tell
    of their ends, the raylet's whole state included. They have it in their own logs.
    """
    logger = logging.getLogger("ray")
    terminal = [handler for handler in logger.handlers if type(handler).__module__.startswith("ray.")]
    quiet = logging.NullHandler()  # without any handler logging would write to the standard error itself
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
