"""Leases: one driver at a time on a store, or on its part of the shards; another can take over when it dies.

A lease is a file leases/<name>.<number>.json, created by link, so that exactly one of several takers of a number gets
it. The highest number of a name counts, and is never removed: no number is used twice, and a taker that was suspended
sees that it was overtaken. The modification time is the heartbeat. It is 0 once the lease is released, because that
can be set on a full disk too.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from extractor.store.commits.process import has_ended, machine, process_start
from extractor.store.disk.atomic import entries, publish, read_bounded, remove_files, storage_errors, temporary_beside
from extractor.store.disk.sealed import Kind, decode_json, encode_json
from schemas.errors import StorageError
from schemas.layout import StorePaths

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 180.0
"""A holder on another machine counts as dead when its heartbeat is older than this."""
_AHEAD_SECONDS = 2 * HEARTBEAT_SECONDS
"""A heartbeat further ahead dates from before the clock was set back: a living holder would have renewed it since."""

_NAME = re.compile(r"(store|part-\d+-of-\d+)\.(\d{6,})\.json")
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: the content of its file.

    machine: identity of the host's boot and process namespace, within which `pid` is valid. started: start time of the
    process as the kernel counts it, so that a reused pid is not mistaken for it. part: (index, count), the shards whose
    number is index modulo count; (0, 1) is the whole store.
    """

    host: str
    machine: str
    pid: int
    started: str
    token: str
    part: tuple[int, int]
    acquired_utc: str

    def covers(self, shard_index: int) -> bool:
        """Whether the lease covers the shard with this number."""
        index, count = self.part
        return shard_index % count == index

    def overlaps(self, part: tuple[int, int]) -> bool:
        """Whether any shard number belongs to both parts."""
        common = math.gcd(self.part[1], part[1])
        return self.part[0] % common == part[0] % common


class Lease:
    """Context manager: holds the store, or part (index, count) of its shards, from entry to exit.

    Entering raises StorageError, naming the holder, if another process holds an overlapping part. A dead holder is
    replaced: at once if it ran on this machine, else when its heartbeat is `stale_seconds` old.
    """

    def __init__(
        self,
        paths: StorePaths,
        part: tuple[int, int] = (0, 1),
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        index, count = part
        if not 0 <= index < count:
            raise StorageError(f"expected a part (index, count) with 0 <= index < count; got {part}")
        self.token = secrets.token_hex(8)
        self.part = part
        self._paths = paths
        self._name = "store" if count == 1 else f"part-{index}-of-{count}"
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_seconds = stale_seconds
        self._file: Path | None = None
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether another process took over because this one was suspended for too long. Then stop writing."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        with storage_errors(self._paths.leases):
            self._paths.leases.mkdir(parents=True, exist_ok=True)
        self._file = self._acquire()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None and not self.lost:
            _release(self._file)

    def _acquire(self) -> Path:
        mine = Holder(
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            started=process_start(os.getpid()),
            token=self.token,
            part=self.part,
            acquired_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # Choose the number before checking for holders: if another process takes it in between, our link fails.
        number = 1 + max(_numbers(self._paths, self._name), default=0)
        self._refuse_if_held()
        file = self._paths.leases / f"{self._name}.{number:06d}.json"
        won = publish(file, encode_json(asdict(mine), Kind.LEASE))
        newer = [other for other in _numbers(self._paths, self._name) if other > number]
        try:
            self._refuse_if_held()
            if not won or newer:
                raise StorageError(f"{self._paths.root} was taken by another process just now: try again in a moment")
        except StorageError:
            if won:
                _release(file)  # not removed: its number must not be reused
            raise
        older = [self._paths.leases / f"{self._name}.{n:06d}.json" for n in _numbers(self._paths, self._name)]
        remove_files(path for path in older if path < file)
        return file

    def _refuse_if_held(self) -> None:
        for holder in holders(self._paths, self._stale_seconds):
            if holder.token != self.token and holder.overlaps(self.part):
                raise StorageError(
                    f"{self._paths.root} is in use by process {holder.pid} on {holder.host} since "
                    f"{holder.acquired_utc}: wait for it or stop it. If it is dead, the store is free "
                    f"{self._stale_seconds:.0f} seconds after its last heartbeat"
                )

    def _beat(self) -> None:
        assert self._file is not None
        number = int(self._file.name.split(".")[1])
        while not self._stop.wait(self._heartbeat_seconds):
            with suppress(OSError):  # storage that is away for a while does not lose the lease
                if any(other > number for other in _numbers(self._paths, self._name)) or not self._file.exists():
                    self._lost.set()
                    return
                os.utime(self._file)


def other_holders(paths: StorePaths, token: str) -> list[Holder]:
    """Living processes with another token that hold the store or part of it."""
    return [holder for holder in holders(paths) if holder.token != token]


def _release(file: Path) -> None:
    with suppress(OSError):
        os.utime(file, (0, 0))


def _numbers(paths: StorePaths, name: str) -> list[int]:
    matches = [_NAME.fullmatch(path.name) for path in paths.leases.iterdir()]
    return [int(match[2]) for match in matches if match and match[1] == name]


def holders(paths: StorePaths, stale_seconds: float = STALE_SECONDS) -> list[Holder]:
    """Holders of the newest lease of every name that are, or may be, alive."""
    newest: dict[str, Path] = {}
    for path in sorted(entries(paths.leases), key=lambda path: (len(path.name), path.name)):
        if match := _NAME.fullmatch(path.name):
            newest[match[1]] = path
    if not newest:
        return []
    with storage_errors(paths.leases):
        now = _storage_now(paths.leases)
    found = [_holder_if_alive(path, now, stale_seconds) for path in newest.values()]
    return [holder for holder in found if holder is not None]


def _holder_if_alive(path: Path, now: float, stale_seconds: float) -> Holder | None:
    try:
        beat = path.stat().st_mtime
        data = read_bounded(path, _MAX_BYTES)
    except FileNotFoundError:  # removed by the holder of a higher number
        return None
    if beat == 0:
        return None
    try:
        holder = TypeAdapter(Holder).validate_python(decode_json(data, Kind.LEASE))
    except ValueError:
        holder = Holder("an unknown host", "", 0, "", "", (0, 1), "an unknown time")
    if holder.machine and holder.machine == machine():
        return None if has_ended(holder.pid, holder.started) else holder
    return holder if -_AHEAD_SECONDS < now - beat < stale_seconds else None


def _storage_now(folder: Path) -> float:
    """The time of the storage's own clock, which stamps its files and may differ from this machine's."""
    probe = temporary_beside(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        with suppress(OSError):
            probe.unlink()
