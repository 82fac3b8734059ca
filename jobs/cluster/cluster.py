"""Ray, started on this machine or joined as a running cluster, and the workers planned for it."""

from __future__ import annotations

import logging
import math
import os
import re
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

from jobs.cluster.devices import Node, count_gpus, use_gpu, wants_gpu
from jobs.cluster.guard import RayGuard
from jobs.cluster.machine import available_cores, shared_memory_bytes
from jobs.cluster.native_output import native_errors_to
from jobs.cluster.nodes import Nodes, Say, living_nodes, nodes_that_share, wait_for_gpu
from jobs.cluster.options import Options
from jobs.cluster.placement import Placement
from jobs.cluster.signals import interruptible_from_threads
from jobs.cluster.start import init, prepare_environment, require_loopback, temporary_folder, without_ray_output
from jobs.cluster.watch import RayWatch, own_peers
from schemas.errors import ConfigurationError, ResourceError
from schemas.wording import counted

_LOG = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0
_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_CHUNKS_AHEAD_BYTES = 3 * 16 * 1024 * 1024  # in shared memory, for each decoder
_LEAST_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_SHARE_OF_SHARED_MEMORY = 0.8
_LOOPBACK = "127.0.0.1"  # for a local Ray: a network address may change while it runs
_HEAD_PATIENCE_SECONDS = 12.0  # the head of a cluster may be restarted by its operator; Ray gives up after 60
_NOT_OUR_TOKEN = b"InvalidAuthToken"  # printed by Ray's C++; no exception says so


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running Ray, its nodes, and the workers planned for them. notes: what the user should know about it.

    require_alive: raises ResourceError once Ray's own processes are gone, the cause of any other error from then on.
    session: folder of a local Ray's own logs and sockets; None for a cluster.
    """

    nodes: Nodes
    workers: Placement
    require_alive: Callable[[], None]
    notes: tuple[str, ...] = ()
    session: Path | None = None


@contextmanager
def cluster(
    options: Options,
    *,
    store: Path | None = None,
    dataset: Path | None = None,
    log: Path | None = None,
    say: Say = lambda message: None,
    then: str = "run the command again",
) -> Iterator[Cluster]:
    """Ray during the block: a local one that is stopped at the end, or the cluster that `options` names.

    The files of a local Ray in its temporary folder are removed at the end, unless the block raised an error or a
    worker wrote to its error log. log: file for what Ray's C++ writes to standard error. say: tells the user what is
    waited for: with --device gpu, a cluster without a GPU is waited for until it has one. then: what the user is told
    to do if Ray ends before the block does.

    Raises ResourceError if there are fewer resources than asked for, no cluster at the address, or Ray is gone;
    ConfigurationError for a malformed address; StorageError if a node of the cluster does not see the store or the
    dataset.
    """
    if ray.is_initialized():
        raise ResourceError(
            "expected a process without Ray, as msnet starts its own; this one runs it already. Call msnet from "
            "another process"
        )
    address = options.ray_address
    prepare_environment(local=address is None)
    with (
        native_errors_to(log),
        without_ray_output(),
        interruptible_from_threads() as leave,
        RayWatch(leave, "Ray" if address is None else f"the Ray cluster at {address}", then) as watch,
        _started(options, watch)
        if address is None
        else _joined(address, store, dataset, options, watch, say) as machines,
    ):
        try:
            yield machines
        except BaseException:
            watch.require_alive()
            raise


@contextmanager
def _started(options: Options, watch: RayWatch) -> Iterator[Cluster]:
    """A local Ray, of which nothing is left at the end, however it ends."""
    require_loopback()
    temporary, note = temporary_folder()
    gpus = count_gpus()
    nodes = Nodes(use_gpu(options.device, gpus), [Node(cores=available_cores(), gpus=gpus)], options)
    workers = nodes.placement()
    wanted = _object_store_bytes(workers)
    guard = RayGuard(temporary)
    session = None
    try:
        context = _start(workers, wanted, temporary, watch)
        session = Path(context.address_info["session_dir"])
        guard.watch(session)
        watch.came_up(own_peers())
        notes = tuple(line for line in (note, _lacks_shared_memory(wanted)) if line)
        yield Cluster(nodes, workers, watch.require_alive, (*notes, *_chosen(options, workers)), session)
    except Exception:  # keep the logs of an error, but not of an interruption, whose reason is known
        session = None
        raise
    finally:
        watch.rest()
        ray.shutdown()
        guard.end()
        if session is not None:
            _remove_session(session)


def _start(workers: Placement, object_store_bytes: int, temporary: Path, watch: RayWatch) -> Any:
    try:
        return _init(
            watch,
            address="local",  # never join a cluster that happens to run on this machine
            num_cpus=max(available_cores(), sum(group.extractors * group.cores_each for group in workers.groups)),
            num_gpus=math.ceil(sum(group.extractors * group.gpus for group in workers.groups)),
            object_store_memory=object_store_bytes,
            include_dashboard=False,
            _temp_dir=str(temporary),
            _node_ip_address=_LOOPBACK,
        )
    except ResourceError:
        raise
    except Exception as error:  # Ray raises any kind of error
        raise ResourceError(
            f"expected Ray to start on this machine; got: {_first_sentence(error)}. Is there enough memory "
            f"and room for processes? Its logs are in the newest folder of {temporary}"
        ) from error


def _init(watch: RayWatch, **options: Any) -> Any:
    """Start Ray or join it. Raises ResourceError if it does not come up in time."""
    try:
        return init(**options)
    except BaseException:
        watch.require_alive()
        raise


def _object_store_bytes(workers: Placement) -> int:
    """For the decoders at the start, and for as many as there may be later if shared memory has room for them."""
    most = sum(group.extractors * group.most_decoders for group in workers.groups)
    first, later = (count * _CHUNKS_AHEAD_BYTES + _LEAST_OBJECT_STORE_BYTES for count in (workers.decoders, most))
    return max(first, min(later, int(_SHARE_OF_SHARED_MEMORY * (shared_memory_bytes() or 0))))


def _chosen(options: Options, workers: Placement) -> Iterator[str]:
    """What `auto` has chosen and why."""
    if wants_gpu(options.device) is None:
        why = "" if workers.gpu else "no GPU was found: "
        yield f"{why}the network runs on {'GPUs' if workers.gpu else 'CPUs'}, by {workers}"


def _lacks_shared_memory(wanted: int) -> str | None:
    shared = shared_memory_bytes()
    if shared is None or shared >= wanted:
        return None
    return (
        f"/dev/shm has {shared / 1e6:.0f} MB of the {wanted / 1e6:.0f} MB needed: frames pass through the disk, which "
        "is slower; give the container a larger --shm-size"
    )


def _remove_session(folder: Path) -> None:
    """Remove the folder of a local Ray, half a megabyte a run, unless it may tell why a worker died."""
    lines = (line for file in folder.glob("logs/worker-*.err") for line in file.read_bytes().splitlines())
    if all(line.startswith(b":") for line in lines):  # Ray's own marks of the job and the actor
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _joined(
    address: str, store: Path | None, dataset: Path | None, options: Options, watch: RayWatch, say: Say
) -> Iterator[Cluster]:
    """Join the cluster at an address."""
    _require_answer(address)
    try:
        _connect(address, watch)
        watch.came_up(own_peers(patience_seconds=_HEAD_PATIENCE_SECONDS))
        found = nodes_that_share(store, dataset, living_nodes())
        while wants_gpu(options.device) and not any(node.gpus for node in found):
            found = nodes_that_share(store, dataset, wait_for_gpu(options, say))
        gpu = use_gpu(options.device, sum(node.gpus for node in found))
        nodes = Nodes(gpu, found, options, say, store, dataset)
        workers = nodes.placement()
        note = f"joined a cluster of {counted(len(found), 'node')}; the store must be on storage that all of them share"
        bare = sum(not node.gpus for node in found) if gpu else 0
        left = (f"{counted(bare, 'node')} without a GPU {'is' if bare == 1 else 'are'} not used",) if bare else ()
        yield Cluster(nodes, workers, watch.require_alive, (note, *_chosen(options, workers), *left))
    finally:
        watch.rest()
        ray.shutdown()


def _connect(address: str, watch: RayWatch) -> None:
    with (
        tempfile.NamedTemporaryFile() as errors,
        _environment(RAY_gcs_server_port_wait_time_s="1"),  # else Ray tries the port of another service for minutes
    ):
        try:
            with native_errors_to(Path(errors.name)):
                _init(watch, address=address)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            native = errors.read()
            _LOG.info("joining %s: %s", address, native.decode(errors="replace"))
            if isinstance(error, AuthenticationError) or _NOT_OUR_TOKEN in native:
                none = isinstance(error, AuthenticationError) or os.environ.get("RAY_AUTH_MODE") != "token"
                raise ResourceError(
                    f"expected the token of the Ray cluster at {address}; got {'none' if none else 'another one'}. Set "
                    "RAY_AUTH_MODE=token, and have the head's ~/.ray/auth_token in yours or in RAY_AUTH_TOKEN"
                ) from error
            raise _no_cluster(address, _first_sentence(error)) from error


def _require_answer(address: str) -> None:
    """Raise if nothing listens at an address: Ray itself would try for minutes."""
    target = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if target == "auto":
        return  # Ray looks for a cluster on this machine, and fails at once if there is none
    match = _ADDRESS.fullmatch(target)
    if match is None:
        raise ConfigurationError(f"expected `auto` or host:port for --ray-address; got {target!r}. Correct the address")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), _ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(target, getattr(error, "strerror", None) or str(error)) from error


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables during the block, except those that the user has set."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _no_cluster(address: str, reason: str) -> ResourceError:
    return ResourceError(
        f"expected a Ray cluster at {address}; none answers ({reason}). Start one with `ray start --head`, or leave "
        "--ray-address out"
    )


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0].rstrip(".")
