"""What an extractor tells the driver while it works on a shard."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from extractor.pipeline.files import ItemDone
from schemas.records import Failure

__all__ = ["ShardCommitted", "ShardProgress", "StageSeconds"]


@dataclass(slots=True)
class StageSeconds:
    """Seconds by stage. `decode` and `transform` are spent in decoders, the others in extractors.

    waiting: the extractor had no frames to work on. write: everything of the extractor that is not the network.
    """

    decode: float = 0.0
    transform: float = 0.0
    network: float = 0.0
    write: float = 0.0
    waiting: float = 0.0

    def add(self, other: StageSeconds) -> None:
        """Add another's seconds to these."""
        for stage in fields(self):
            setattr(self, stage.name, getattr(self, stage.name) + getattr(other, stage.name))


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """What happened since the last event: files begun, items done or failed, seconds spent. All may be empty."""

    shard: str
    attempt: str
    started: tuple[str, ...] = ()  # paths of files whose decoding began
    finished: tuple[ItemDone | Failure, ...] = ()
    notes: tuple[str, ...] = ()  # lines for the log
    seconds: StageSeconds = field(default_factory=StageSeconds)


@dataclass(frozen=True, slots=True)
class ShardCommitted:
    """Last event of a shard that was finished. `won` is False where another attempt had committed it before."""

    shard: str
    won: bool
