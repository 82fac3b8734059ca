"""How far a store is (`msnet status`), and what it holds of one video (`msnet show`)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from extractor.store.commits.lease import Holder, holders
from extractor.store.commits.run import Run, read_run
from extractor.store.commits.snapshot import committed
from extractor.store.reader import FeatureStore
from extractor.store.tables import is_planned, read_inventory, read_planned
from jobs.stores.standing import Standing, standing
from schemas.errors import FailureClass, StorageError, StoreError
from schemas.escaping import escaped, in_command
from schemas.layout import StorePaths
from schemas.records import Failure

_SUGGESTED = 3
_COMPARED = 20_000  # ids to compare with a misspelt one, which takes about a second


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How far a store is: its videos and shards.

    planned: whether planning is through, so that all videos are known. at_work: processes that are extracting into it.
    """

    run: Run
    standing: Standing
    shards: int
    shards_committed: int
    bytes: int
    at_work: tuple[Holder, ...]
    planned: bool = True


def store_status(store: Path | str) -> StoreStatus:
    """How far a store is. Raises StoreError if `store` is none or was never planned."""
    paths = StorePaths(Path(store))
    run = read_run(paths)
    inventory, unplanned = read_planned(paths)
    commits = committed(paths)
    return StoreStatus(
        run=run,
        standing=replace(standing(paths, run, inventory, commits), unplanned=unplanned),
        shards=inventory["shard"].nunique(),
        shards_committed=len(commits),
        bytes=commits.bytes,
        at_work=_at_work(paths),
        planned=is_planned(paths),
    )


def _at_work(paths: StorePaths) -> tuple[Holder, ...]:
    """Holders of the store's leases. Nobody if it is read-only: a lease needs a writable store."""
    try:
        return tuple(holders(paths))
    except StorageError:
        return ()


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """One tensor of a video: shape, dtype, smallest, mean and largest value."""

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
    failure: Failure | None = None


def video_summary(store: Path | str, video_id: str) -> VideoSummary:
    """What a store holds of a video. Raises StoreError for a video that it does not know."""
    features = FeatureStore(Path(store))
    if video_id not in features:
        video_id = _meant(video_id, [*features.video_ids, *features.failures["video_id"]])
    failed = features.failures[features.failures["video_id"] == video_id]
    if len(failed):
        row = failed.iloc[0]
        nothing = features.manifest_rows(range(0))
        failure = Failure(video_id, FailureClass(row["failure"]), row["message"])
        return VideoSummary(video_id, nothing, (), failure)
    if video_id not in features:
        known = list(read_inventory(features.paths)["video_id"])
        if video_id in known:
            raise StoreError(f"{video_id} is not extracted yet: run `{features.run.continuing(Path(store))}`")
        meant = _near(video_id, known)
        advice = (
            f"Did you mean {' or '.join(map(repr, meant))}?"
            if meant
            else f"See them by `msnet show {in_command(store)}`"
        )
        raise StoreError(f"expected the id of a video in {store}; got {video_id!r}. {advice}")
    clips = features.manifest_rows(features.video_clips(video_id))
    tensors = []
    for name, values in features.video(video_id).items():
        numbers = np.asarray(values, np.float64)
        low, mean, high = (float(f(numbers)) if numbers.size else np.nan for f in (np.min, np.mean, np.max))
        tensors.append(TensorSummary(name, values.shape, str(values.dtype), low, mean, high))
    features.close()
    return VideoSummary(video_id, clips, tuple(tensors))


def _meant(video_id: str, known: Sequence[str]) -> str:
    """The id itself, or the one that is displayed like it: text copied from a terminal has escapes for letters."""
    if video_id in known:
        return video_id
    return next((name for name in known if _in_ascii(name) == _in_ascii(video_id)), video_id)


def _in_ascii(text: str) -> str:
    return escaped(text).encode("ascii", "backslashreplace").decode()


def _near(video_id: str, known: Sequence[str]) -> list[str]:
    """Ids that may be meant: those that contain `video_id`, or else the most similar ones."""
    part = video_id.lower()
    holding = [name for name in known if part in name.lower()] if part else []
    return holding[:_SUGGESTED] or difflib.get_close_matches(video_id, known[:_COMPARED], n=_SUGGESTED)
