"""`status` and `show`: how far a store is, and what it holds of one video."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from extractor.store.lease import Holder, holders
from extractor.store.reader import FeatureStore
from extractor.store.records import committed, committed_names
from extractor.store.run import Run, read_run
from extractor.store.staging import staged_items
from extractor.store.tables import merge_failures, read_inventory
from schemas.errors import StorageError, StoreError
from schemas.escaping import escaped
from schemas.layout import StorePaths

__all__ = ["Status", "TensorSummary", "VideoSummary", "show", "status"]

_SUGGESTED = 3
_COMPARED = 20_000  # ids that are held against a misspelt one, which takes about a second


@dataclass(frozen=True, slots=True)
class Status:
    """How far a store is. Videos are in exactly one of done, failed, staged and left.

    shards_committed of shards. staged: finished in shards that are not committed. by_class: failed ones.
    """

    run: Run
    shards: int
    shards_committed: int
    videos: int
    done: int
    failed: int
    staged: int
    clips: int
    bytes: int
    by_class: Mapping[str, int]
    at_work: tuple[Holder, ...]

    @property
    def left(self) -> int:
        """Videos that are neither committed nor staged."""
        return self.videos - self.done - self.failed - self.staged


def status(store: Path | str) -> Status:
    """Say how far a store is. Raises StoreError where it is none or was never planned."""
    paths = StorePaths(Path(store))
    run = read_run(paths)
    inventory = read_inventory(paths)
    records = committed(paths)
    done = {video_id for record in records.values() for video_id in record.video_ids}
    left = inventory[~inventory["shard"].isin(set(committed_names(paths)))]
    pending = set(left["video_id"]) - done
    failures = merge_failures(records)
    failures = failures[~failures["video_id"].isin(pending)]  # those are tried again
    staged = {video_id for shard in left["shard"].unique() for video_id in staged_items(paths, run, str(shard))}
    return Status(
        run=run,
        shards=inventory["shard"].nunique(),
        shards_committed=len(records),
        videos=inventory["video_id"].nunique(),
        done=len(done),
        failed=len(failures),
        staged=len(staged & pending),
        clips=sum(record.rows["clips"] for record in records.values()),
        bytes=sum(record.data.bytes + record.fragment.bytes for record in records.values()),
        by_class=Counter(failures["failure"]),
        at_work=_at_work(paths),
    )


def _at_work(paths: StorePaths) -> tuple[Holder, ...]:
    """Who holds the store; nobody where it is read-only, as a lease needs a place that can be written."""
    try:
        return tuple(holders(paths))
    except StorageError:
        return ()


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor of a video: shape, number format, smallest, mean and largest value."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    smallest: float
    mean: float
    largest: float


@dataclass(frozen=True, slots=True)
class VideoSummary:
    """What a store holds of a video: its manifest rows and its tensors, or why it failed."""

    video_id: str
    clips: pd.DataFrame
    tensors: tuple[TensorSummary, ...]
    failure: str = ""


def show(store: Path | str, video_id: str) -> VideoSummary:
    """Say what a store holds of a video. Raises StoreError for a video that it does not know."""
    features = FeatureStore(Path(store))
    video_id = _meant(video_id, [*features.video_ids, *features.failures["video_id"]])
    failed = features.failures[features.failures["video_id"] == video_id]
    if len(failed):
        row = failed.iloc[0]
        return VideoSummary(video_id, features.manifest.iloc[:0], (), f"{row['failure']}: {row['message']}")
    if video_id not in features.video_ids:
        known = list(read_inventory(features.paths)["video_id"])
        if video_id in known:
            raise StoreError(f"{video_id} is not extracted yet: run `msnet resume {store}`")
        meant = _near(video_id, known)
        advice = f"did you mean {' or '.join(map(repr, meant))}?" if meant else "the manifest lists those it has"
        raise StoreError(f"an id of a video in {store} was expected, it has no {video_id!r}: {advice}")
    clips = features.manifest[features.manifest["video_id"] == video_id]
    tensors = []
    for name, values in features.video(video_id).items():
        numbers = np.asarray(values, np.float64)
        low, mean, high = (float(f(numbers)) if numbers.size else np.nan for f in (np.min, np.mean, np.max))
        tensors.append(TensorSummary(name, values.shape, str(values.dtype), low, mean, high))
    features.close()
    return VideoSummary(video_id, clips, tuple(tensors))


def _meant(video_id: str, known: Sequence[str]) -> str:
    """The id itself, or the one that is shown like it: what was copied from a terminal has escapes for letters."""
    return video_id if video_id in known else next((name for name in known if escaped(name) == video_id), video_id)


def _near(video_id: str, known: Sequence[str]) -> list[str]:
    """Ids that this one may be meant for: those it is a part of, or else the most alike."""
    part = video_id.lower()
    holding = [name for name in known if part in name.lower()] if part else []
    return holding[:_SUGGESTED] or difflib.get_close_matches(video_id, known[:_COMPARED], n=_SUGGESTED)
