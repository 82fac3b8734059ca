"""The manifest with its fragments, the failures, and the caches of both, which are rebuilt from the commit records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extractor.store.commits.snapshot import Commits, committed, write_commits_cache
from extractor.store.disk.atomic import read_bounded, replacing, write_bytes
from extractor.store.disk.sealed import Kind, is_sound_table, require_plain_file, seal_table
from extractor.store.index.blocks import BlockWriter
from extractor.store.index.clips import RANGES, TablesBuilder, runs_of, write_tables
from extractor.store.table_columns import joined
from extractor.store.tables import encode_table, read_table_columns
from schemas.errors import DamagedShardError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import (
    FAILURE_COLUMNS,
    MANIFEST_COLUMNS,
    empty_manifest,
    failures_frame,
    typed_columns,
    validate_manifest,
)
from schemas.records import CommitRecord
from schemas.seals import sealed
from schemas.wording import HOW_TO_MEND

_COMMITS_KEY = b"msnet_commits"
_GROUP_ROWS = 128 * 1024
_TRIES = 5


def read_fragment(paths: StorePaths, record: CommitRecord) -> pd.DataFrame:
    """Manifest rows of one shard; raises DamagedShardError if the file is not what the record promises."""
    path = paths.root / record.fragment.path
    try:
        size = path.stat().st_size
        if size != record.fragment.bytes:  # checked before reading: the file may be anything
            raise ValueError(f"it has {size} bytes, the record says {record.fragment.bytes}")
        data = read_bounded(path, record.fragment.bytes)
        if hashlib.sha256(data).hexdigest() != record.fragment.sha256:
            raise ValueError("its SHA-256 is not the recorded one")
        frame = typed_columns(pq.read_table(pa.BufferReader(data)).to_pandas(), MANIFEST_COLUMNS, "it")
        frame = validate_manifest(frame)
        if len(frame) != record.rows["clips"]:
            raise ValueError(f"it has {len(frame)} rows, the record says {record.rows['clips']}")
        if (frame["shard"] != record.shard).any() or (frame["file"] != record.data.path).any():
            raise ValueError("it has rows of another shard or file")
        if tuple(frame["video_id"].drop_duplicates()) != record.video_ids:
            raise ValueError("its items do not agree with the commit record")
    except (OSError, ValueError, KeyError, StoreError, pa.ArrowException) as error:
        raise DamagedShardError(
            f"the manifest fragment {path} is not as written ({error}){HOW_TO_MEND}",
            shard=record.shard,
        ) from error
    return frame


def merge_fragments(paths: StorePaths, commits: Commits) -> pd.DataFrame:
    """The manifest of all committed shards, in the order of shards and of rows in them.

    Of an item in several shards, only the rows in the last one count.
    """
    frames = list(_fragments(paths, commits.records(), commits.moved()))
    return pd.concat(frames, ignore_index=True) if frames else empty_manifest()


def _fragments(
    paths: StorePaths, records: Iterable[CommitRecord], moved: Mapping[str, AbstractSet[str]]
) -> Iterator[pd.DataFrame]:
    """Manifest rows shard by shard, without those of items that have `moved` to a later shard."""
    for record in records:
        if record.video_ids:
            frame = read_fragment(paths, record)
            gone = moved.get(record.shard)
            yield frame[~frame["video_id"].isin(gone)] if gone else frame


def _pieces(paths: StorePaths, commits: Commits) -> Iterator[pd.DataFrame]:
    """The manifest in pieces of whole shards, most of them from the manifest.parquet of an earlier run."""
    shards, moved = list(commits), commits.moved()
    numbers = {shard: number for number, shard in enumerate(shards)}
    at = 0

    def fragments(stop: int) -> Iterator[pd.DataFrame]:
        return _fragments(paths, (commits[shard] for shard in shards[at:stop]), moved)

    for frame in _known_pieces(paths, commits, numbers, moved):
        yield from fragments(numbers[frame["shard"].iloc[0]])
        yield frame
        at = numbers[frame["shard"].iloc[-1]] + 1
    yield from fragments(len(shards))


def _known_pieces(
    paths: StorePaths, commits: Commits, numbers: Mapping[str, int], moved: Mapping[str, AbstractSet[str]]
) -> Iterator[pd.DataFrame]:
    """Rows of neighbouring shards of which manifest.parquet has all rows as they are now, in order."""
    files = [StorePaths(Path()).shard_data(*one).as_posix() for one in commits.attempts.items()]
    clips, last = commits.clips, -1
    if not files:
        return
    try:
        require_plain_file(paths.manifest)
        with paths.manifest.open("rb") as data, pq.ParquetFile(data) as file:
            if not is_sound_table(data, Kind.MANIFEST):
                return
            for group in range(file.num_row_groups):
                frame = typed_columns(file.read_row_group(group).to_pandas(), MANIFEST_COLUMNS, "the manifest")
                edges, names = runs_of(frame["shard"])
                found = np.array([-1 if name in moved else numbers.get(name, -1) for name in names], np.int64)
                own = np.repeat(np.array([files[number] for number in found], dtype=object), np.diff(edges))
                same = np.add.reduceat((frame["file"] == own).to_numpy(), edges[:-1]) == np.diff(edges)
                known = (found >= 0) & same & (np.diff(edges) == clips[found])
                for first, stop in _stretches(np.where(known, found, -1)):
                    if found[first] <= last:  # it is not in the order of shards
                        return
                    last = int(found[stop - 1])
                    yield validate_manifest(frame.iloc[edges[first] : edges[stop]])
    except (OSError, ValueError, StoreError, pa.ArrowException):
        return


def _stretches(numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of places where each number is one more than the last; -1 belongs to none."""
    starts = [k for k, n in enumerate(numbers) if n >= 0 and (k == 0 or numbers[k - 1] != n - 1)]
    stops = [k + 1 for k, n in enumerate(numbers) if n >= 0 and (k + 1 == len(numbers) or numbers[k + 1] != n + 1)]
    return list(zip(starts, stops, strict=True))


def merge_failures(commits: Commits) -> pd.DataFrame:
    """One row for every item that failed and has no rows in any shard, from the last shard that names it."""
    failed = commits.failed
    if not len(failed):
        return failures_frame(())
    lost = failed.filter(pc.invert(pc.is_in(failed["video_id"], commits.done["video_id"])))
    shards = pa.array(list(commits), pa.string()).take(lost["shard"].combine_chunks())
    frame = lost.set_column(lost.schema.get_field_index("shard"), "shard", shards).to_pandas()
    frame = frame.drop_duplicates("video_id", keep="last")
    return typed_columns(frame, FAILURE_COLUMNS, "the failures")


def write_manifest_cache(paths: StorePaths) -> None:
    """Rebuild the caches from the commit records: manifest.parquet, clips.index, failures.parquet, commits.parquet.

    Writes all again if shards were committed meanwhile: if two parts of a store end together, the one that read fewer
    records may be the last to write.
    """
    commits = committed(paths)
    for _ in range(_TRIES):
        _write_manifest(paths, commits)
        failures = encode_table(merge_failures(commits), {_COMMITS_KEY: commits.state})
        write_bytes(paths.failures, sealed(failures, Kind.FAILURES))
        write_commits_cache(paths, commits)
        written, commits = commits.state, committed(paths)
        if commits.state == written:
            break


def _write_manifest(paths: StorePaths, commits: Commits) -> None:
    """Write manifest.parquet and clips.index some shards at a time, in little memory."""
    columns = read_table_columns(paths)
    schema = pa.Schema.from_pandas(joined(empty_manifest(), columns), preserve_index=False)
    schema = schema.with_metadata({**schema.metadata, _COMMITS_KEY: commits.state})
    waiting: list[pa.Table] = []
    rows = 0
    with replacing(paths.index) as index_file, replacing(paths.manifest) as temporary:
        index = BlockWriter(index_file)
        try:
            rows_dtype = np.int32 if commits.most_rows < 2**31 else np.int64
            index.write("clips", np.zeros((0, len(RANGES)), rows_dtype))
            builder = TablesBuilder(list(commits), lambda ranges: index.write("clips", ranges))
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for frame in _pieces(paths, commits):
                    builder.add(frame)
                    waiting.append(pa.Table.from_pandas(joined(frame, columns), schema=schema, preserve_index=False))
                    rows += len(frame)
                    if rows >= _GROUP_ROWS:  # one shard would make a tiny row group
                        writer.write_table(pa.concat_tables(waiting))
                        waiting, rows = [], 0
                if waiting:
                    writer.write_table(pa.concat_tables(waiting))
            seal_table(temporary, Kind.MANIFEST)
            write_tables(index, builder, commits.state)
        finally:
            index.discard()


def cached_manifest(paths: StorePaths, commits: Commits) -> pd.DataFrame | None:
    """manifest.parquet without the columns of the user's table, or None.

    None if the file was made from other records, is not as it was written, or names files other than the records'.
    """

    def read(file: pq.ParquetFile) -> pd.DataFrame | None:
        frame = validate_manifest(file.read(list(MANIFEST_COLUMNS)).to_pandas())
        return frame if _names_files(frame, commits) else None

    return _from_cache(paths, commits, read)


def cached_rows(
    paths: StorePaths, commits: Commits, rows: npt.NDArray[np.int64], columns: Sequence[str]
) -> pd.DataFrame | None:
    """Some columns of some rows of manifest.parquet, which ascend, a row group in memory at a time.

    None as for `cached_manifest`; what files the rows name is not looked at.
    """

    def read(file: pq.ParquetFile) -> pd.DataFrame | None:
        parts, first = [file.schema_arrow.empty_table().select(columns)], 0
        for group in range(file.num_row_groups):
            stop = first + file.metadata.row_group(group).num_rows
            here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, stop)] - first
            if len(here):
                parts.append(file.read_row_group(group, columns=list(columns)).take(pa.array(here)))
            first = stop
        frame = pa.concat_tables(parts).to_pandas()
        return typed_columns(frame, {name: MANIFEST_COLUMNS[name] for name in columns}, "the manifest")

    found = _from_cache(paths, commits, read)
    return found if found is not None and len(found) == len(rows) else None


def _from_cache(
    paths: StorePaths, commits: Commits, read: Callable[[pq.ParquetFile], pd.DataFrame | None]
) -> pd.DataFrame | None:
    """What `read` finds in manifest.parquet, if that is as it was written and was made from these commits."""
    try:
        require_plain_file(paths.manifest)
        with paths.manifest.open("rb") as data:
            if not is_sound_table(data, Kind.MANIFEST):
                return None
            with pq.ParquetFile(data) as file:
                made_from = (file.schema_arrow.metadata or {}).get(_COMMITS_KEY)
                return read(file) if made_from == commits.state else None
    except (OSError, ValueError, StoreError, pa.ArrowException):
        return None


def _names_files(frame: pd.DataFrame, commits: Commits) -> bool:
    """Whether rows follow the order of shards, and name the files of their shards' records."""
    codes, shards = pd.factorize(frame["shard"])
    file_codes, files = pd.factorize(frame["file"])
    numbers = {shard: number for number, shard in enumerate(commits)}
    attempts, store = commits.attempts, StorePaths(Path())
    if not numbers.keys() >= set(shards):
        return False
    own = pd.Index([store.shard_data(shard, attempts[shard]).as_posix() for shard in shards], dtype="str")
    order = np.array([numbers[shard] for shard in shards], np.int64)[codes]
    return bool((pd.Index(files).get_indexer(own)[codes] == file_codes).all() and (np.diff(order) >= 0).all())
