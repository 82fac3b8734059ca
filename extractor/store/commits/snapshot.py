"""All commit records of a store at one moment, as columns, and the cache that spares reading them one by one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extractor.store.commits.records import COMMITTED, decode_record, in_order, read_record_bytes
from extractor.store.disk.atomic import write_bytes
from extractor.store.disk.sealed import Kind, is_sound, read_whole
from schemas.errors import FailureClass, MSNetError, StoreError
from schemas.layout import StorePaths
from schemas.records import CommitRecord, Failure, StoredFile
from schemas.seals import sealed

_VERSION_KEY = b"msnet_commits_version"
_VERSION = b"1"
_SETTLED_NS = 2 * 10**9  # file systems tell times that differ by less apart no better than this
_ROWS_AT_ONCE = 256
_WORTH_WRITING = 100  # records, which take some 30 ms to read
_TEXTS, _TEXT = pa.large_list(pa.large_string()), pa.large_string()
_FAILURE = pa.struct(
    [
        ("video_id", _TEXT),
        ("failure", _TEXT),
        ("message", _TEXT),
        ("attempts", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("attempt", pa.string()),
        ("generation", pa.int64()),
        ("digest", pa.string()),
        ("data_bytes", pa.int64()),
        ("data_sha256", pa.string()),
        ("fragment_bytes", pa.int64()),
        ("fragment_sha256", pa.string()),
        ("clips", pa.int64()),
        ("counts", _TEXT),  # JSON: rows and checksums
        ("video_ids", _TEXTS),
        ("failures", pa.large_list(_FAILURE)),
        # of the record's own file: while size and time are these, its content is known
        ("record_bytes", pa.int64()),
        ("record_mtime_ns", pa.int64()),
        ("record_sha256", pa.string()),
    ]
)


class Commits(Mapping[str, CommitRecord]):
    """Commit records by shard name, in the order of shards, as they were at one moment.

    A record is made when it is asked for. What concerns all shards is there as columns: a large store names millions
    of videos. An item may be in several shards, because it failed, was tried again in a new one, and its old shard was
    extracted again: only its rows in the last shard count.
    """

    def __init__(self, table: pa.Table, unknown: int = 0) -> None:
        self._table = table
        self.unknown = unknown  # number of records that were read, as the cache did not have them

    @classmethod
    def of(cls, records: Iterable[CommitRecord]) -> Commits:
        """Commits of these records, whose files are not known."""
        return cls(_in_order(_table([(record, -1, -1, "") for record in records])))

    def only(self, shards: Iterable[str]) -> Commits:
        """Those of some of the shards."""
        return Commits(self._table.filter(pc.is_in(self._table["shard"], pa.array(list(shards), pa.string()))))

    def __getitem__(self, shard: str) -> CommitRecord:
        return _record(self._table.slice(self._rows[shard], 1).to_pylist()[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, shard: object) -> bool:
        return shard in self._rows

    def records(self) -> Iterator[CommitRecord]:
        """All records in order, faster than one by one."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from map(_record, self._table.slice(start, _ROWS_AT_ONCE).to_pylist())

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {shard: row for row, shard in enumerate(self._table["shard"].to_pylist())}

    @property
    def attempts(self) -> dict[str, str]:
        """The winning attempt of every shard."""
        return dict(zip(self._rows, self._table["attempt"].to_pylist(), strict=True))

    @cached_property
    def state(self) -> bytes:
        """Digest of the attempts that make up the store: caches name the one that they were made from."""
        columns = (self._table[name].to_pylist() for name in ("shard", "attempt", "fragment_sha256"))
        lines = sorted(f"{shard} {attempt} {sha256}" for shard, attempt, sha256 in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest().encode()

    @property
    def clips(self) -> npt.NDArray[np.int64]:
        """Number of clips of every shard (S,)."""
        return np.asarray(self._table["clips"].to_numpy(), np.int64)

    @property
    def most_rows(self) -> int:
        """The largest number of rows of any level in any shard."""
        counts = (json.loads(text)["rows"].values() for text in self._table["counts"].to_pylist())
        return max((int(most) for rows in counts for most in rows), default=0)

    @property
    def bytes(self) -> int:
        """Size of all files of the shards."""
        return sum(int(size) for name in ("data_bytes", "fragment_bytes") for size in self._table[name].to_pylist())

    @cached_property
    def done(self) -> pa.Table:
        """`video_id` and `shard` (its number among these shards) of every item with rows, shard by shard."""
        shards, video_ids = self._items("video_ids", _TEXT)
        return pa.table({"video_id": video_ids, "shard": shards})

    @cached_property
    def failed(self) -> pa.Table:
        """`video_id` and `shard` (as in `done`) of every item that failed, and the fields of its failure."""
        shards, failures = self._items("failures", _FAILURE)
        return pa.Table.from_struct_array(failures).append_column("shard", shards)

    def _items(self, column: str, kind: pa.DataType) -> tuple[pa.Array, pa.ChunkedArray]:
        """The shards' numbers and the items of a column of lists, one by one."""
        lists = self._table[column]
        counts = pc.list_value_length(lists).to_numpy()
        shards = pa.array(np.repeat(np.arange(len(counts)), counts), pa.int64())
        return shards, pa.chunked_array([chunk.flatten() for chunk in lists.chunks], kind)

    @cached_property
    def counts(self) -> npt.NDArray[np.bool_]:
        """Whether the rows of each item of `done` count: none of a later shard do."""
        codes = self.done["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        last = np.zeros(codes.max(initial=-1) + 1, np.int64)
        last[codes] = np.arange(len(codes))
        return np.asarray(last[codes] == np.arange(len(codes)))

    def moved(self) -> dict[str, frozenset[str]]:
        """Items of each shard that a later shard has again, for shards with such items."""
        names, found = list(self), dict[str, set[str]]()
        for row in self.done.filter(pa.array(~self.counts)).to_pylist():
            found.setdefault(names[row["shard"]], set()).add(row["video_id"])
        return {shard: frozenset(ids) for shard, ids in found.items()}


def is_among(ids: Any, others: Any) -> npt.NDArray[np.bool_]:
    """Which of the texts `ids` (k,) are among others; both as a column of pandas or Arrow, or as a list.

    Like pandas' `isin`, which takes twenty times longer.
    """
    mine, theirs = (
        one if isinstance(one, pa.ChunkedArray) else pa.array(one, _TEXT, from_pandas=True) for one in (ids, others)
    )
    return np.asarray(pc.is_in(mine, value_set=theirs).to_numpy(zero_copy_only=False))


def _table(found: list[tuple[CommitRecord, int, int, str]]) -> pa.Table:
    """Records, each with the size, time and SHA-256 of its file."""
    records = [record for record, *_ in found]
    columns: dict[str, list[Any]] = {
        "data_bytes": [record.data.bytes for record in records],
        "data_sha256": [record.data.sha256 for record in records],
        "fragment_bytes": [record.fragment.bytes for record in records],
        "fragment_sha256": [record.fragment.sha256 for record in records],
        "clips": [record.rows.get("clips", 0) for record in records],
        "counts": [json.dumps({"rows": record.rows, "checksums": record.checksums}) for record in records],
        "failures": [[_fields(failure) for failure in record.failures] for record in records],
        "record_bytes": [size for _, size, _, _ in found],
        "record_mtime_ns": [mtime_ns for _, _, mtime_ns, _ in found],
        "record_sha256": [sha256 for *_, sha256 in found],
    }
    own = ("shard", "attempt", "generation", "digest", "video_ids")
    columns |= {name: [getattr(record, name) for record in records] for name in own}
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in _SCHEMA}, _SCHEMA)


def _fields(failure: Failure) -> dict[str, Any]:
    return {name: getattr(failure, name) for name in _FAILURE.names} | {"failure": failure.failure.value}


def _record(row: dict[str, Any]) -> CommitRecord:
    store = StorePaths(Path())
    shard, attempt = row["shard"], row["attempt"]
    data, fragment = store.shard_data(shard, attempt).as_posix(), store.shard_rows(shard, attempt).as_posix()
    return CommitRecord(
        shard=shard,
        attempt=attempt,
        generation=row["generation"],
        digest=row["digest"],
        data=StoredFile(data, row["data_bytes"], row["data_sha256"]),
        fragment=StoredFile(fragment, row["fragment_bytes"], row["fragment_sha256"]),
        **json.loads(row["counts"]),
        video_ids=tuple(row["video_ids"]),
        failures=tuple(Failure(**one | {"failure": FailureClass(one["failure"])}) for one in row["failures"]),
    )


def committed(paths: StorePaths) -> Commits:
    """All commit records of a store; raises DamagedShardError for a damaged record.

    Records whose files have the size and time that commits.parquet names are taken from there; so are those of the
    same bytes, which a copy of a store may have with other times. All others are read. A record that is only a moment
    old counts as not known by its time: another could get the same time.
    """
    settled = time.time_ns() - _SETTLED_NS  # before it is read: caches may be written minutes later
    listed = _listed(paths)
    cached = _cached(paths) if listed else _SCHEMA.empty_table()
    names = ("shard", "record_bytes", "record_mtime_ns", "record_sha256")
    columns = (cached[name].to_pylist() for name in names)
    known = {shard: (row, *file) for row, (shard, *file) in enumerate(zip(*columns, strict=True))}
    kept: list[int] = []
    read: list[tuple[CommitRecord, int, int, str]] = []
    unknown = 0
    for shard, (size, mtime_ns) in listed.items():
        row, known_size, known_mtime_ns, known_sha256 = known.get(shard, (-1, -1, -1, ""))
        if (size, mtime_ns) == (known_size, known_mtime_ns):
            kept.append(row)
            continue
        data = read_record_bytes(paths, shard)
        if data is None:  # retired since it was listed
            continue
        unknown += 1
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == known_sha256:
            kept.append(row)
        else:
            read.append((decode_record(data, shard), size, mtime_ns, sha256))
    if kept != list(range(len(cached))):
        cached = cached.take(pa.array(kept, pa.int64()))
    table = _in_order(pa.concat_tables([cached, _table(read)])) if read else cached
    times = [listed[shard][1] for shard in table["shard"].to_pylist()]
    return Commits(_with_times(table, [mtime_ns if mtime_ns < settled else -1 for mtime_ns in times]), unknown)


def _listed(paths: StorePaths) -> dict[str, tuple[int, int]]:
    """Size and time of every record's file, in the order of shards."""
    found = {}
    try:
        with os.scandir(paths.commits) as entries:
            for entry in entries:
                if match := COMMITTED.fullmatch(entry.name):
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    found[match[1]] = (status.st_size, status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {shard: found[shard] for shard in sorted(found, key=in_order)}


def _in_order(table: pa.Table) -> pa.Table:
    names = table["shard"].to_pylist()
    order = sorted(range(len(names)), key=lambda row: in_order(names[row]))
    return table if order == list(range(len(names))) else table.take(pa.array(order, pa.int64()))


def _cached(paths: StorePaths) -> pa.Table:
    """What commits.parquet holds; nothing if it is damaged, absent, or of another version."""
    try:
        data = read_whole(paths.commits_cache)
        if not is_sound(data, Kind.COMMITS):
            return _SCHEMA.empty_table()
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            table = file.read()
    except (OSError, ValueError, StoreError, pa.ArrowException):
        return _SCHEMA.empty_table()
    metadata = table.schema.metadata or {}
    fits = metadata.get(_VERSION_KEY) == _VERSION and table.schema.remove_metadata() == _SCHEMA
    whole = fits and not any(column.null_count for column in table.columns)
    return table.replace_schema_metadata(None) if whole else _SCHEMA.empty_table()


def refresh_commits_cache(paths: StorePaths) -> None:
    """Write commits.parquet if it lacks many records, as in the midst of a run. Only time is lost if that fails."""
    with suppress(MSNetError, OSError):
        commits = committed(paths)
        if commits.unknown >= _WORTH_WRITING:
            write_commits_cache(paths, commits)


def write_commits_cache(paths: StorePaths, commits: Commits) -> None:
    """Write commits.parquet."""
    table = commits._table.replace_schema_metadata({_VERSION_KEY: _VERSION})
    write_bytes(paths.commits_cache, _encoded(table))


def _encoded(table: pa.Table) -> bytes:
    data = pa.BufferOutputStream()
    pq.write_table(table, data, compression="zstd")
    return sealed(data.getvalue().to_pybytes(), Kind.COMMITS)


def _with_times(table: pa.Table, mtimes_ns: list[int]) -> pa.Table:
    place = _SCHEMA.get_field_index("record_mtime_ns")
    return table.set_column(place, _SCHEMA.field(place), pa.array(mtimes_ns, pa.int64()))
