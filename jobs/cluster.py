"""Ray, started for one machine or joined where a cluster runs: what it has, and whether its nodes see the store."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.devices import Workers, count_gpus, plan_cluster_workers, plan_workers
from jobs.machine import available_cores, shared_memory_bytes
from jobs.options import Options
from jobs.signals import keeping_handlers
from schemas.errors import ConfigurationError, ResourceError, StorageError
from schemas.wording import counted

__all__ = ["Cluster", "cluster"]

_HOME = Path(__file__).resolve().parents[1]
_SEEN_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_CHUNKS_AHEAD_BYTES = 3 * 8 * 1024 * 1024  # that a decoder may have in shared memory
_LEAST_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing about a user's machine leaves it
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running Ray and the workers laid over it. notes: what the user should know about it.

    session: folder of a local Ray's own logs and sockets, None for a cluster's.
    """

    workers: Workers
    notes: tuple[str, ...] = ()
    session: Path | None = None


@contextmanager
def cluster(options: Options, *, store: Path | None = None, dataset: Path | None = None) -> Iterator[Cluster]:
    """Ray for the time of the block: a local one that is stopped at the end, or the cluster that `options` names.

    The files of a local one in Ray's temporary folder go with it, unless an error ended the block or a worker had
    something to tell there.

    Raises ResourceError where there is less than was asked for or no cluster at the address, ConfigurationError for
    what is no address, StorageError where a node of the cluster does not see the store or the dataset.
    """
    if ray.is_initialized():
        raise ResourceError("this program runs Ray already, and msnet starts its own: call it from a process without")
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    session = None
    try:
        if options.ray_address is None:
            machines = _start(options)
        else:
            machines = _join(options.ray_address, store, dataset, options)
        session = machines.session
        yield machines
    except Exception:  # an interruption is none: nobody will look for its reason
        session = None
        raise
    finally:
        with _silence():
            ray.shutdown()
        if session is not None:
            _remove_session(session)


def _remove_session(folder: Path) -> None:
    """Remove what a local Ray leaves behind, half a megabyte a run, but keep what may tell why a worker died."""
    told = (line for file in folder.glob("logs/worker-*.err") for line in file.read_bytes().splitlines())
    if all(line.startswith(b":") for line in told):  # Ray's own marks: which job, which actor
        shutil.rmtree(folder, ignore_errors=True)


def _start(options: Options) -> Cluster:
    workers = plan_workers(
        options.device,
        cores=available_cores(),
        gpus=count_gpus(),
        extractors=options.extractors,
        decoders=options.decoders,
        threads=options.threads,
    )
    notes = []
    wanted = workers.extractors * workers.decoders * _CHUNKS_AHEAD_BYTES + _LEAST_OBJECT_STORE_BYTES
    shared = shared_memory_bytes()
    if shared is not None and shared < wanted:
        notes.append(
            f"/dev/shm holds {shared / 1e6:.0f} MB where {wanted / 1e6:.0f} MB would be used: "
            "frames travel over the disk, which is slower; give the container a larger --shm-size"
        )
    context = _init(
        address="local",  # never a cluster that happens to run on this machine
        num_cpus=workers.extractors * workers.cores_each,
        num_gpus=workers.extractors if workers.gpu else 0,
        object_store_memory=wanted,
        include_dashboard=False,
    )
    return Cluster(workers, tuple(notes), Path(context.address_info["session_dir"]))


def _join(address: str, store: Path | None, dataset: Path | None, options: Options) -> Cluster:
    _require_answer(address)
    with _environment(RAY_gcs_server_port_wait_time_s="1"):  # else a port of something else is tried for many minutes
        try:
            _init(address=address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(address, str(error).splitlines()[0].partition(". ")[0].rstrip(".")) from error
    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    workers = plan_cluster_workers(
        options.device,
        [(int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0))) for node in alive],
        extractors=options.extractors,
        decoders=options.decoders,
        threads=options.threads,
    )
    nodes = [node["NodeID"] for node in alive]
    if dataset is not None:
        _require_seen(dataset, nodes, "the dataset")
    if store is not None:
        token = store / f".seen.{secrets.token_hex(6)}.tmp"
        token.touch()
        try:
            _require_seen(token, nodes, "the store")
        finally:
            token.unlink(missing_ok=True)
    note = f"joined a cluster of {counted(len(alive), 'node')}; the store must lie on storage that all of them share"
    return Cluster(workers, (note,))


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


def _init(**options: Any) -> Any:
    """`ray.init`, from the folder of our own packages.

    Ray puts the folder where it is started in front of its workers' module path; the user's own may have a folder
    that is called like one of our packages.
    """
    with chdir(_HOME), _silence(), keeping_handlers():
        return ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing reaches the standard error: Ray's parts in C++ write there, past all logging. It raises what matters."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


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
