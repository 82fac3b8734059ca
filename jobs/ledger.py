"""How often each shard's extractor crashed, kept in the store so that it survives the run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from extractor.store.atomic import write_bytes
from schemas.errors import FailureClass, VideoError
from schemas.layout import StorePaths

__all__ = ["CRASHES_BEFORE_ONE_BY_ONE", "Ledger", "Poison", "ShardHistory"]

CRASHES_BEFORE_ONE_BY_ONE = 3
_MOST_CRASHES = 10  # that no file is to blame for, before a shard is given up


@dataclass(frozen=True, slots=True)
class Poison:
    """A file that killed its extractor while nothing else was at hand."""

    path: str
    failure: FailureClass
    message: str


@dataclass(slots=True)
class ShardHistory:
    """What went wrong with a shard so far. crashes: of its extractor, files that are to blame not counted."""

    crashes: int = 0
    poisonous: list[Poison] = field(default_factory=list)

    @property
    def one_by_one(self) -> bool:
        """Whether its files are to be run alone, to find the one that kills."""
        return self.crashes >= CRASHES_BEFORE_ONE_BY_ONE

    @property
    def hopeless(self) -> bool:
        """Whether to leave it: it crashes, and no file is to blame."""
        return self.crashes >= _MOST_CRASHES

    def errors(self) -> tuple[tuple[str, VideoError], ...]:
        """Files that are not tried any more, and why."""
        return tuple((poison.path, VideoError(poison.failure, poison.message)) for poison in self.poisonous)


_ADAPTER = TypeAdapter(ShardHistory)


class Ledger:
    """History of every shard that ever crashed, one small file each."""

    def __init__(self, paths: StorePaths) -> None:
        self._folder = paths.ledger

    def history(self, shard: str) -> ShardHistory:
        """What is known of a shard; nothing where its file is missing or unreadable."""
        try:
            return _ADAPTER.validate_json(self._file(shard).read_bytes())
        except (FileNotFoundError, ValueError):
            return ShardHistory()

    def crashed(self, shard: str, suspect: str | None, failure: FailureClass, message: str) -> ShardHistory:
        """Note a crash; `suspect` is the one file that was at hand in a shard that runs one by one."""
        history = self.history(shard)
        if history.one_by_one and suspect is not None:
            history.poisonous.append(Poison(suspect, failure, message))
        else:
            history.crashes += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._file(shard), json.dumps(asdict(history), indent=1).encode())
        return history

    def _file(self, shard: str) -> Path:
        return self._folder / f"{shard}.json"
