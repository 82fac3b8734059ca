"""Commit records on disk: read, checked, listed by shard, and counted by generation; the outcomes of a commit."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from extractor.store.disk.atomic import entries, read_bounded
from schemas.errors import DamagedShardError, StoreError
from schemas.layout import StorePaths
from schemas.records import CommitRecord
from schemas.wording import HOW_TO_MEND

_MAX_BYTES = 256 * 1024 * 1024
COMMITTED = re.compile(r"(shard-\d{5,})\.json")
_RETIRED = re.compile(r"(shard-\d{5,})\.g(\d{6,})\..+\.json")
_ADAPTER = TypeAdapter(CommitRecord)


class CommitStatus(StrEnum):
    """Outcome of committing a shard: by this attempt (WON), by another (LOST), or not, as items lack or are damaged.

    LOST is also the outcome for an attempt whose generation has passed. After INCOMPLETE the missing items have to be
    staged first.
    """

    WON = "won"
    LOST = "lost"
    INCOMPLETE = "incomplete"


def encode_record(record: CommitRecord) -> bytes:
    """The record as JSON, with a SHA-256 over itself, so that any changed bit is detected."""
    fields = asdict(record)
    return json.dumps({"record": fields, "record_sha256": _digest(fields)}, indent=1).encode() + b"\n"


def decode_record(data: bytes, shard: str) -> CommitRecord:
    """Inverse of `encode_record`; raises DamagedShardError if the bytes are not as written.

    A record may name only its attempt's own files in shards/, so its paths are safe to follow.
    """
    try:
        document = json.loads(data)
        fields = document["record"]
        record = _ADAPTER.validate_python(fields)
        store = StorePaths(Path())
        own = (store.shard_data(record.shard, record.attempt), store.shard_rows(record.shard, record.attempt))
        names_its_own = (record.data.path, record.fragment.path) == tuple(path.as_posix() for path in own)
        fits = _fits(record, fields) and record.shard == shard and names_its_own
        sound = fits and document["record_sha256"] == _digest(fields)
    except (ValueError, KeyError, TypeError, RecursionError, StoreError):
        sound = False
    # The digest does not cover white space between values, so the text itself is compared with what we would write.
    if not sound or encode_record(record) != data:
        raise DamagedShardError(f"the commit record of {shard} is not as written{HOW_TO_MEND}", shard=shard)
    return record


def _fits(record: CommitRecord, fields: dict[str, Any]) -> bool:
    """Whether a table can hold the record; raises UnicodeEncodeError for text that is none."""
    numbers = (record.generation, record.data.bytes, record.fragment.bytes, *record.rows.values())
    json.dumps(fields, ensure_ascii=False).encode()
    return all(0 <= n < 2**63 for n in (*numbers, *(failure.attempts for failure in record.failures)))


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_record(paths: StorePaths, shard: str) -> CommitRecord | None:
    """The shard's commit record, None if it is not committed; raises DamagedShardError for a damaged record."""
    data = read_record_bytes(paths, shard)
    return None if data is None else decode_record(data, shard)


def read_record_bytes(paths: StorePaths, shard: str) -> bytes | None:
    """What the shard's commit record is decoded from, None if it is not committed."""
    try:
        return read_bounded(paths.commit(shard), _MAX_BYTES)
    except FileNotFoundError:
        return None


def committed_names(paths: StorePaths) -> list[str]:
    """Names of the shards that have a commit record, damaged or not, in order."""
    matches = [COMMITTED.fullmatch(path.name) for path in entries(paths.commits)]
    return sorted((match[1] for match in matches if match), key=in_order)


def in_order(shard: str) -> tuple[int, str]:
    """Key that sorts names of shards by number."""
    return len(shard), shard


def retired_path(paths: StorePaths, shard: str, generation: int, attempt: str) -> Path:
    """Where a retired record is kept. Its name holds the generation, as its content may be unreadable."""
    return paths.retired / f"{shard}.g{generation:06d}.{attempt}.json"


def next_generation(paths: StorePaths, shard: str) -> int:
    """Generation of a new attempt at the shard: one more than the highest retired one, 1 at first."""
    matches = [_RETIRED.fullmatch(path.name) for path in entries(paths.retired)]
    return 1 + max((int(match[2]) for match in matches if match and match[1] == shard), default=0)
