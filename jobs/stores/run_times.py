"""Where the time of runs went: a small file beside the log of every run, that reports read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from extractor.store.disk.atomic import entries, read_bounded, write_bytes
from extractor.store.disk.sealed import Kind, decode_json, encode_json
from schemas.errors import StoreError
from schemas.layout import StorePaths

_MAX_BYTES = 64 * 1024
_MOST_RUNS = 10_000  # of which times are read: an array of many jobs leaves one file a job
_ENDING = ".times.json"


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds of one run by stage, summed over its workers, and what it did in them.

    decode, transform: in decoders. network: on devices. write: in writers. waiting: devices without frames.
    """

    began_utc: str
    wall_seconds: float
    decode: float
    transform: float
    network: float
    write: float
    waiting: float
    done: int
    failed: int
    frames: int


_ADAPTER = TypeAdapter(RunTimes)


def write_run_times(log: Path, times: RunTimes) -> None:
    """Write the times of a run beside its log."""
    write_bytes(log.with_suffix(_ENDING), encode_json(asdict(times), Kind.TIMES))


def read_run_times(paths: StorePaths) -> list[RunTimes]:
    """Times of the runs of a store, the oldest first. Files that are damaged or not ours are left out."""
    found = []
    names = sorted(path for path in entries(paths.logs) if path.name.endswith(_ENDING))
    for path in names[-_MOST_RUNS:]:
        try:
            content: dict[str, Any] = decode_json(read_bounded(path, _MAX_BYTES), Kind.TIMES)
            content.pop("seal", None)
            found.append(_ADAPTER.validate_python(content))
        except (OSError, StoreError, ValueError):
            continue
    return found
