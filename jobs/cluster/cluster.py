"""Ray, started for one machine or joined where a cluster runs: what it has, and whether its nodes see the store."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.cluster.devices import Workers, count_gpus, plan_cluster_workers, plan_workers
from jobs.cluster.guard import RayGuard
from jobs.cluster.machine import available_cores, shared_memory_bytes
from jobs.cluster.start import init, prepare_environment, require_loopback, temporary_folder, without_ray_output
from jobs.cluster.watch import RayWatch, own_peers
from jobs.run.logs import native_errors_to
from jobs.run.options import Options
from jobs.run.signals import interruptible_from_threads
from schemas.errors import ConfigurationError, ResourceError, StorageError
from schemas.wording import counted

__all__ = ["Cluster", "cluster"]

_LOG = logging.getLogger(__name__)
_SEEN_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_CHUNKS_AHEAD_BYTES = 3 * 8 * 1024 * 1024  # that a decoder may have in shared memory
_LEAST_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_LOOPBACK = "127.0.0.1"  # of a local Ray: the address of a network may change while it runs
_HEAD_PATIENCE_SECONDS = 12.0  # a cluster's head may be started anew by whoever runs it; Ray gives up after 60
_NOT_OUR_TOKEN = b"InvalidAuthToken"  # only Ray's C++ says so


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running Ray and the workers laid over it. notes: what the user should know about it.

    require_alive: raises ResourceError once Ray's own processes are gone; all else that fails then has no other
    reason. session: folder of a local Ray's own logs and sockets, None for a cluster's.
    """

    workers: Workers
    require_alive: Callable[[], None]
    notes: tuple[str, ...] = ()
    session: Path | None = None


@contextmanager
def cluster(
    options: Options, *, store: Path | None = None, dataset: Path | None = None, log: Path | None = None
) -> Iterator[Cluster]:
    """Ray for the time of the block: a local one that is stopped at the end, or the cluster that `options` names.

    The files of a local one in Ray's temporary folder go with it, unless an error ended the block or a worker had
    something to tell there. log: file for what Ray's C++ writes to the standard error.

    Raises ResourceError where there is less than was asked for, no cluster at the address, or no Ray any more;
    ConfigurationError for what is no address, StorageError where a node of the cluster does not see the store or the
    dataset.
    """
    if ray.is_initialized():
        raise ResourceError("this program runs Ray already, and msnet starts its own: call it from a process without")
    address = options.ray_address
    prepare_environment(local=address is None)
    then = "run the command again" if store is None else f"run `msnet resume {store}`, what is finished is kept"
    with (
        native_errors_to(log),
        without_ray_output(),
        interruptible_from_threads() as leave,
        RayWatch(leave, "Ray" if address is None else f"the Ray cluster at {address}", then) as watch,
        _started(options, watch) if address is None else _joined(address, store, dataset, options, watch) as machines,
    ):
        try:
            yield machines
        except BaseException:
            watch.require_alive()
            raise


@contextmanager
def _started(options: Options, watch: RayWatch) -> Iterator[Cluster]:
    """A local Ray; nothing of it is left at the end, however it ends."""
    require_loopback()
    temporary, note = temporary_folder()
    workers = plan_workers(
        options.device,
        cores=available_cores(),
        gpus=count_gpus(),
        extractors=options.extractors,
        decoders=options.decoders,
        threads=options.threads,
    )
    wanted = workers.extractors * workers.decoders * _CHUNKS_AHEAD_BYTES + _LEAST_OBJECT_STORE_BYTES
    guard = RayGuard(temporary)
    session = None
    try:
        context = _start(workers, wanted, temporary, watch)
        session = Path(context.address_info["session_dir"])
        guard.watch(session)
        watch.came_up(own_peers())
        notes = tuple(line for line in (note, _lacks_shared_memory(wanted)) if line)
        yield Cluster(workers, watch.require_alive, notes, session)
    except Exception:  # an interruption is none: nobody will look for its reason
        session = None
        raise
    finally:
        watch.rest()
        ray.shutdown()
        guard.end()
        if session is not None:
            _remove_session(session)


def _start(workers: Workers, object_store_bytes: int, temporary: Path, watch: RayWatch) -> Any:
    try:
        return _init(
            watch,
            address="local",  # never a cluster that happens to run on this machine
            num_cpus=workers.extractors * workers.cores_each,
            num_gpus=workers.extractors if workers.gpu else 0,
            object_store_memory=object_store_bytes,
            include_dashboard=False,
            _temp_dir=str(temporary),
            _node_ip_address=_LOOPBACK,
        )
    except ResourceError:
        raise
    except Exception as error:  # of any kind: Ray raises what it meets
        raise ResourceError(
            f"expected Ray to start on this machine; it says: {_first_sentence(error)}. Is there memory "
            f"and room for processes? Its logs are in the newest folder of {temporary}"
        ) from error


def _init(watch: RayWatch, **options: Any) -> Any:
    """Start Ray or join it. Raises ResourceError where it does not come up in time."""
    try:
        return init(**options)
    except BaseException:
        watch.require_alive()
        raise


def _lacks_shared_memory(wanted: int) -> str | None:
    shared = shared_memory_bytes()
    if shared is None or shared >= wanted:
        return None
    return (
        f"/dev/shm holds {shared / 1e6:.0f} MB where {wanted / 1e6:.0f} MB would be used: "
        "frames travel over the disk, which is slower; give the container a larger --shm-size"
    )


def _remove_session(folder: Path) -> None:
    """Remove what a local Ray leaves behind, half a megabyte a run, but keep what may tell why a worker died."""
    told = (line for file in folder.glob("logs/worker-*.err") for line in file.read_bytes().splitlines())
    if all(line.startswith(b":") for line in told):  # Ray's own marks: which job, which actor
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(
    address: str, store: Path | None, dataset: Path | None, options: Options, watch: RayWatch
) -> Iterator[Cluster]:
    """The cluster at an address."""
    _require_answer(address)
    try:
        _connect(address, watch)
        watch.came_up(own_peers(patience_seconds=_HEAD_PATIENCE_SECONDS))
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        workers = plan_cluster_workers(
            options.device,
            [(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))) for node in alive],
            extractors=options.extractors,
            decoders=options.decoders,
            threads=options.threads,
        )
        _require_shared(store, dataset, [node["NodeID"] for node in alive])
        nodes = counted(len(alive), "node")
        note = f"joined a cluster of {nodes}; the store must lie on storage that all of them share"
        yield Cluster(workers, watch.require_alive, (note,))
    finally:
        watch.rest()
        ray.shutdown()


def _connect(address: str, watch: RayWatch) -> None:
    with (
        tempfile.NamedTemporaryFile() as told,
        _environment(RAY_gcs_server_port_wait_time_s="1"),  # else a port of something else is tried for many minutes
    ):
        try:
            with native_errors_to(Path(told.name)):
                _init(watch, address=address)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            native = told.read()
            _LOG.info("joining %s: %s", address, native.decode(errors="replace"))
            if isinstance(error, AuthenticationError) or _NOT_OUR_TOKEN in native:
                none = isinstance(error, AuthenticationError) or os.environ.get("RAY_AUTH_MODE") != "token"
                raise _wrong_token(address, "none came" if none else "another one came") from error
            raise _no_cluster(address, _first_sentence(error)) from error


def _require_shared(store: Path | None, dataset: Path | None, nodes: list[str]) -> None:
    """Raise where a node does not see the dataset, or a file that is written to the store."""
    if dataset is not None:
        _require_seen(dataset, nodes, "the dataset")
    if store is not None:
        token = store / f".seen.{secrets.token_hex(6)}.tmp"
        token.touch()
        try:
            _require_seen(token, nodes, "the store")
        finally:
            token.unlink(missing_ok=True)


def _require_answer(address: str) -> None:
    """Raise where nobody listens at an address: Ray itself would try for minutes."""
    target = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if target == "auto":
        return  # Ray looks for a cluster on this machine, and says at once where it finds none
    match = _ADDRESS.fullmatch(target)
    if match is None:
        raise ConfigurationError(f"`auto` or host:port was expected for --ray-address, not {target!r}")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), _ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(target, getattr(error, "strerror", None) or str(error)) from error


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that are set during the block, where the user has not set them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _no_cluster(address: str, reason: str) -> ResourceError:
    return ResourceError(
        f"no Ray cluster answers at {address} ({reason}): start one with `ray start --head`, or leave --ray-address out"
    )


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0].rstrip(".")


def _wrong_token(address: str, came: str) -> ResourceError:
    return ResourceError(
        f"expected the token of the Ray cluster at {address}; {came}: set RAY_AUTH_MODE=token, and have the head's "
        "~/.ray/auth_token in yours or in RAY_AUTH_TOKEN"
    )


def _require_seen(path: Path, nodes: list[str], what: str) -> None:
    """Raise StorageError where a node does not see a path, ResourceError where it does not answer."""
    check = ray.remote(num_cpus=0, max_retries=0)(_sees)
    answers = [
        check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(path))
        for node in nodes
    ]
    try:
        blind = sum(not seen for seen in ray.get(answers, timeout=_SEEN_SECONDS))
    except RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise ResourceError(
            f"an answer of each of the cluster's {counted(len(nodes), 'node')} was expected, one gave none ({reason}): "
            "is msnet-features installed on every node, in the same version?"
        ) from error
    if blind:
        raise StorageError(
            f"{what} ({path.parent if what == 'the store' else path}) is not seen by {blind} of the cluster's "
            f"{counted(len(nodes), 'node')}: put it on storage that all nodes share, under the same path"
        )


def _sees(path: str) -> bool:
    return Path(path).exists()
