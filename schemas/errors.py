"""Every exception the product raises on purpose.

MSNetError                      a short text for the user: what was expected, what came, what to do
 +-- UsageError                 a request that cannot be carried out; exit code 1
 |    +-- ConfigurationError    options that do not fit together, or a store of another configuration
 |    +-- InventoryError        the folder or table of videos cannot be used
 |    +-- WeightsError          a checkpoint cannot be read, or does not fit the network
 |    +-- ResourceError         fewer GPUs, cores or nodes than asked for
 |    +-- StorageError          the folder cannot hold a store: read-only, full, no atomic rename or link
 +-- StoreError                 a store, or one of its files, does not follow the format
 |    +-- NotFiniteError        a value to be stored is NaN, infinite, or too large for the store's number format
 |    +-- DamagedShardError     a shard's content differs from what its commit record promises
 +-- VideoError                 one video cannot be extracted; carries its FailureClass and never ends a run
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Any


class FailureClass(StrEnum):
    """Why a video could not be extracted; the column `failure` of failures.parquet."""

    CANNOT_OPEN = "cannot_open"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_SHORT = "too_short"
    TOO_LARGE = "too_large"
    DECODER_CRASHED = "decoder_crashed"
    EXTRACTOR_CRASHED = "extractor_crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_FINITE = "not_finite"
    CHANGED = "changed"
    MISSING = "missing"

    @property
    def lasting(self) -> bool:
        """Whether it follows from what the file holds, so that trying the same file again ends alike.

        Other failures depend on the machine, the network or the moment, too, and `--retry-failed` may help.
        """
        return self in _LASTING


_LASTING = frozenset(
    {
        FailureClass.NO_VIDEO_STREAM,
        FailureClass.TRUNCATED,
        FailureClass.CORRUPT,
        FailureClass.TOO_SHORT,
        FailureClass.TOO_LARGE,
        FailureClass.NOT_FINITE,
    }
)


class MSNetError(Exception):
    """Base of all errors that are raised on purpose. Its text can be shown to the user as it is."""


class UsageError(MSNetError):
    """The caller made a request that cannot be carried out."""


class ConfigurationError(UsageError):
    """Options that do not fit together, or a store that was made with another configuration."""


class InventoryError(UsageError):
    """The folder or the table of videos cannot be used."""


class WeightsError(UsageError):
    """A checkpoint cannot be read, or does not fit the network it is meant for."""


class ResourceError(UsageError):
    """The machine or cluster has less than was asked for."""


class StorageError(UsageError):
    """The folder cannot hold a store: not writable, full, or without atomic rename and link."""


class StoreError(MSNetError):
    """A store, or one of its files, does not follow the format."""


class NotFiniteError(StoreError):
    """A value to be stored is NaN, infinite, or too large for the store's number format."""


class DamagedShardError(StoreError):
    """A shard's content differs from what its commit record promises.

    shard: its name. dataset: path of the damaged dataset, None if the damage is in no dataset.
    """

    def __init__(self, message: str, *, shard: str, dataset: str | None = None) -> None:
        super().__init__(message)
        self.shard = shard
        self.dataset = dataset

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the names too, so that the error survives pickling between processes."""
        return partial(type(self), shard=self.shard, dataset=self.dataset), self.args, vars(self)


class VideoError(MSNetError):
    """One video cannot be extracted. `failure` is its class."""

    def __init__(self, failure: FailureClass, message: str) -> None:
        super().__init__(failure, message)  # both in args, so that it survives pickling between processes
        self.failure = failure
        self.message = message

    def __str__(self) -> str:
        return self.message
