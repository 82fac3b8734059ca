"""Records of a staging log: what an item's rows are and where they lie, or why it failed. One sealed line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from extractor.store.commits.item_rows import from_columns, levels_of
from extractor.store.commits.run import Run
from extractor.store.disk.append_only import decode_line, encode_line
from schemas.errors import StoreError
from schemas.layout import DatasetSpec
from schemas.records import Failure
from schemas.tensors import LEVELS

_MAX_MESSAGE = 4000
_MAX_OFFSET = 2**63 - 1
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError)  # what foreign JSON raises
_FAILURE = TypeAdapter(Failure)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one item that lie together in a log, from `offset` on: dataset after dataset, in the run's order.

    rows: number of rows by level, in the order of LEVELS. checksums: CRC-32 of the bytes of each dataset.
    """

    offset: int
    rows: tuple[int, ...]
    checksums: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StagedRecord:
    """Content of a record: a failure, or the manifest columns (whole, see `from_columns`) and parts of an item."""

    video_id: str
    failure: Failure | None
    columns: dict[str, list[Any]]
    parts: tuple[Part, ...]
    row_bytes: int
    """Of all parts together."""
    end: int
    """Where the last byte of its parts lies in the rows, plus one."""


class RecordFormat:
    """Writes and reads records of one run, and knows how its rows lie in a part."""

    def __init__(self, run: Run) -> None:
        self.datasets = run.datasets
        self._digest = run.digest
        self._levels = [LEVELS.index(spec.level) for spec in self.datasets]

    def item(self, video_id: str, columns: Mapping[str, Any], parts: Sequence[Part]) -> bytes:
        """Line of an item that is finished."""
        lists = [[part.offset, part.rows, part.checksums] for part in parts]
        return encode_line({"digest": self._digest, "video_id": video_id, "parts": lists, "columns": columns})

    def failure(self, failure: Failure) -> bytes:
        """Line of an item that failed."""
        message = failure.message.encode("utf-8", "replace").decode()[:_MAX_MESSAGE]
        return encode_line({"digest": self._digest, "failure": asdict(failure) | {"message": message}})

    def read(self, line: bytes) -> StagedRecord:
        """The record of a line; raises ValueError if it is damaged, not ours or of another configuration."""
        try:
            document = decode_line(line)
            if document["digest"] != self._digest:
                raise ValueError("it is of another configuration")
            if "failure" in document:
                failure = _FAILURE.validate_python(document["failure"])
                return StagedRecord(failure.video_id, failure, {}, (), 0, 0)
            return self._item_of(document)
        except _MALFORMED as error:
            raise ValueError(str(error) or type(error).__name__) from error

    def _item_of(self, document: Mapping[str, Any]) -> StagedRecord:
        video_id, columns = document["video_id"], from_columns(document["columns"])
        parts = tuple(self._part_of(*fields) for fields in document["parts"])
        wanted = levels_of(columns)
        given = dict(zip(LEVELS, map(sum, zip((0, 0, 0), *(part.rows for part in parts), strict=True)), strict=True))
        if not isinstance(video_id, str) or any(given[spec.level] != wanted[spec.level] for spec in self.datasets):
            raise ValueError("its rows are not those of its clips")
        sizes = [self.part_bytes(part.rows) for part in parts]
        end = max((part.offset + size for part, size in zip(parts, sizes, strict=True)), default=0)
        if end > _MAX_OFFSET:
            raise ValueError("its rows lie beyond the end of any file")
        return StagedRecord(video_id, None, columns, parts, sum(sizes), end)

    def _part_of(self, offset: int, rows: list[int], checksums: list[int]) -> Part:
        numbers = (offset, *rows, *checksums)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("expected whole numbers")
        if len(rows) != len(LEVELS) or len(checksums) != len(self.datasets):
            raise ValueError("expected a number of rows for each level and a checksum for each dataset")
        return Part(offset, tuple(rows), tuple(checksums))

    def part_bytes(self, rows: Sequence[int]) -> int:
        """Size of a part with these numbers of rows by level."""
        return sum(rows[level] * spec.row_bytes for level, spec in zip(self._levels, self.datasets, strict=True))

    def segments(self, part: Part) -> Iterator[tuple[DatasetSpec, int, int]]:
        """(dataset, offset of its rows in the log, their checksum) of a part."""
        offset = part.offset
        for level, spec, checksum in zip(self._levels, self.datasets, part.checksums, strict=True):
            yield spec, offset, checksum
            offset += part.rows[level] * spec.row_bytes
