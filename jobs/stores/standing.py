"""How far the videos of a store are: the counts that the progress bar, the final table, `status` and `report` show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from extractor.store.commits.records import committed, committed_names
from extractor.store.commits.run import Run
from extractor.store.commits.staging import StagedItem, staged_items
from extractor.store.tables import (
    is_planned,
    last_shards,
    merge_failures,
    read_fragment,
    read_inventory,
    unplanned_videos,
)
from schemas.layout import StorePaths
from schemas.records import CommitRecord
from schemas.wording import counted


@dataclass(frozen=True, slots=True)
class Standing:
    """Ids of videos, each in exactly one of done, failed, staged and left.

    done: with features in a committed shard, which readers see. failed: failure class and message by id, also if the
    shard is not committed yet. staged: with features that wait for the rest of their shard. left: neither finished nor
    failed, or to be tried again. clips: of `done`. shards_left: number of shards that are not committed. unplanned:
    number of videos that are listed and have no shard yet; they are in none of the four.
    """

    done: frozenset[str] = frozenset()
    failed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    staged: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    clips: int = 0
    shards_left: int = 0
    unplanned: int = 0

    @property
    def videos(self) -> int:
        """Number of all videos."""
        return self.settled + self.videos_left

    @property
    def videos_left(self) -> int:
        """Number of videos that are neither settled nor staged, planned or not."""
        return len(self.left) + self.unplanned

    @property
    def complete(self) -> bool:
        """Whether every video is planned and every shard committed."""
        return self.shards_left == 0 and not self.unplanned

    @property
    def settled(self) -> int:
        """Number of videos that are not decoded again."""
        return len(self.done) + len(self.failed) + len(self.staged)

    @property
    def by_class(self) -> Counter[str]:
        """Number of failed videos by class."""
        return Counter(failure for failure, _ in self.failed.values())

    def is_settled(self, video_id: str) -> bool:
        """Whether a video is not decoded again."""
        return video_id in self.done or video_id in self.failed or video_id in self.staged

    def __str__(self) -> str:
        parts = [f"{len(self.done)} done", f"{len(self.failed)} failed"]
        parts += [f"{n} {name}" for name, n in (("staged", len(self.staged)), ("left", self.videos_left)) if n]
        return f"{', '.join(parts)}, of {counted(self.videos, 'video')}"


def of_part(inventory: pd.DataFrame, part: tuple[int, int]) -> pd.DataFrame:
    """Rows of an inventory that belong to a part (index from 0, count)."""
    index, count = part
    if count == 1:
        return inventory
    return inventory[inventory["shard"].map(lambda name: int(name.rpartition("-")[2]) % count == index).astype(bool)]


def standing(paths: StorePaths, run: Run, inventory: pd.DataFrame | None = None) -> Standing:
    """The current standing of the videos of `inventory`, which may be some shards only (default: the whole store).

    In a store that was copied without its inventory, only committed videos count.
    """
    names = set(committed_names(paths))
    records = committed(paths)
    if inventory is None:
        known = is_planned(paths) or paths.planning.exists()
        inventory = read_inventory(paths) if known else _committed_inventory(records)
    ids = set(inventory["video_id"])
    waiting = inventory[~inventory["shard"].isin(names)]
    tried: dict[str, StagedItem] = {}
    for shard in waiting["shard"].unique():
        tried.update(staged_items(paths, run, str(shard)))
    homes = last_shards(records)
    done = frozenset(ids & homes.keys())
    open_ids = set(waiting["video_id"]) - done
    table = merge_failures(records)
    failed = {
        video_id: (failure, message)
        for video_id, failure, message in zip(table["video_id"], table["failure"], table["message"], strict=True)
        if video_id in ids and video_id not in open_ids
    }
    staged = set()
    for video_id in open_ids & tried.keys():
        failure = tried[video_id].failure
        if failure is None:
            staged.add(video_id)
        else:
            failed[video_id] = failure.failure.value, failure.message
    return Standing(
        done,
        failed,
        frozenset(staged),
        frozenset(ids - done - failed.keys() - staged),
        sum(_clips(paths, records[shard], homes) for shard in names & set(inventory["shard"])),
        shards_left=waiting["shard"].nunique(),
        unplanned=unplanned_videos(paths),
    )


def _committed_inventory(records: Mapping[str, CommitRecord]) -> pd.DataFrame:
    rows = [(video_id, shard) for shard, record in records.items() for video_id in record.all_video_ids]
    return pd.DataFrame(rows, columns=["video_id", "shard"])


def _clips(paths: StorePaths, record: CommitRecord, homes: Mapping[str, str]) -> int:
    """Number of clips of a shard, without videos that a later shard has again."""
    moved = [video_id for video_id in record.video_ids if homes[video_id] != record.shard]
    return int((~read_fragment(paths, record)["video_id"].isin(moved)).sum()) if moved else record.rows["clips"]
