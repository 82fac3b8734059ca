"""What the driver asks of an extractor, and what that reports while it works on a shard."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from extractor.pipeline.messages import ItemDone
from schemas.errors import VideoError
from schemas.records import Failure, FileJob


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to finish, with all of its files. lease_token: of the driver's lease on the store.

    one_by_one: start a file only when the previous one is finished, so that a crash shows which file caused it.
    poisonous: files that are not tried any more, each with the error that it fails with.
    """

    shard: str
    lease_token: str
    jobs: tuple[FileJob, ...]
    one_by_one: bool = False
    poisonous: tuple[tuple[str, VideoError], ...] = ()

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of all items, in the order of the inventory."""
        return tuple(item.video_id for job in self.jobs for item in job.items)


@dataclass(slots=True)
class StageSeconds:
    """Seconds by stage: `decode` and `transform` in decoders, `network` on the device, `write` in the writer.

    waiting: the device had nothing to compute, because no frames had come.
    """

    decode: float = 0.0
    transform: float = 0.0
    network: float = 0.0
    write: float = 0.0
    waiting: float = 0.0

    def add(self, other: StageSeconds) -> None:
        """Add the seconds of another record to these."""
        for stage in fields(self):
            setattr(self, stage.name, getattr(self, stage.name) + getattr(other, stage.name))


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """What happened since the last event: files started, items done or failed, seconds spent. All may be empty.

    decoders: that the extractor has now; 0 if it does not say. last_files: the extractor has begun the last files of
    this shard, and can take another one.
    """

    shard: str
    attempt: str
    started: tuple[str, ...] = ()  # paths of files whose decoding started
    finished: tuple[ItemDone | Failure, ...] = ()
    notes: tuple[str, ...] = ()  # lines for the log
    seconds: StageSeconds = field(default_factory=StageSeconds)
    decoders: int = 0
    last_files: bool = False


@dataclass(frozen=True, slots=True)
class ShardCommitted:
    """Last event of a finished shard. won: False if another attempt committed it first."""

    shard: str
    won: bool
