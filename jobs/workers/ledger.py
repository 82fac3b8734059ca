"""Crashes of extractors by shard, kept in the store so that they survive the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from extractor.store.disk.atomic import read_bounded, write_bytes
from extractor.store.disk.sealed import Kind, decode_json, encode_json
from schemas.errors import FailureClass, StoreError, VideoError
from schemas.layout import StorePaths

_BEFORE_ONE_BY_ONE = 3
_BEFORE_VERDICT = 2  # crashes at one file while no other was in progress; one may be bad luck
_MOST_CRASHES = 10  # of a shard, without a file to blame, before it is given up
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Suspect:
    """A file that was alone in progress when its extractor died: how often, and how the extractor died last."""

    path: str
    failure: FailureClass
    message: str
    crashes: int = 1


@dataclass(slots=True)
class ShardHistory:
    """Crashes of a shard's extractors: how many in all, and the files suspected of them."""

    crashes: int = 0
    suspects: list[Suspect] = field(default_factory=list)

    @property
    def one_by_one(self) -> bool:
        """Whether to run its files one at a time, to find the one that kills."""
        return self.crashes >= _BEFORE_ONE_BY_ONE

    @property
    def hopeless(self) -> bool:
        """Whether to give the shard up: it keeps crashing, and no file is to blame."""
        return self.crashes - sum(suspect.crashes for suspect in self._guilty()) >= _MOST_CRASHES

    def poisonous(self) -> tuple[tuple[str, VideoError], ...]:
        """Files that are not tried any more, each with the error that it fails with."""
        return tuple((suspect.path, VideoError(suspect.failure, suspect.message)) for suspect in self._guilty())

    def _guilty(self) -> list[Suspect]:
        return [suspect for suspect in self.suspects if suspect.crashes >= _BEFORE_VERDICT]


_ADAPTER = TypeAdapter(ShardHistory)


class Ledger:
    """The history of every shard that ever crashed, one small file each."""

    def __init__(self, paths: StorePaths) -> None:
        self._folder = paths.ledger

    def history(self, shard: str) -> ShardHistory:
        """The history of a shard; an empty one if its file is missing or damaged."""
        try:
            return _ADAPTER.validate_python(decode_json(read_bounded(self._file(shard), _MAX_BYTES), Kind.CRASHES))
        except (OSError, StoreError, ValueError):
            return ShardHistory()

    def crashed(self, shard: str, at_hand: str | None, failure: FailureClass, message: str) -> ShardHistory:
        """Add a crash. at_hand: the file that was started and not finished; suspected only if files run one by one."""
        history = self.history(shard)
        if history.one_by_one and at_hand is not None:
            known = next((suspect for suspect in history.suspects if suspect.path == at_hand), None)
            if known is None:
                history.suspects.append(Suspect(at_hand, failure, message))
            else:
                known.failure, known.message, known.crashes = failure, message, known.crashes + 1
        history.crashes += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._file(shard), encode_json(asdict(history), Kind.CRASHES))
        return history

    def _file(self, shard: str) -> Path:
        return self._folder / f"{shard}.json"
