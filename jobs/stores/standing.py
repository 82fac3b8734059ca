"""Where the videos of a store stand: the one count that the bar, the closing table, `status` and `report` tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from extractor.store.commits.records import committed, committed_names
from extractor.store.commits.run import Run
from extractor.store.commits.staging import StagedItem, staged_items
from extractor.store.tables import merge_failures, read_fragment, read_inventory
from schemas.layout import StorePaths
from schemas.records import CommitRecord
from schemas.wording import counted

__all__ = ["Standing", "of_part", "standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Ids of videos, each in exactly one of done, failed, staged and left.

    done: with features in a committed shard, which readers see. failed: the class and the message of each, also where
    its shard is not committed yet. staged: with features that wait for the rest of their shard. left: neither finished
    nor failed, or to be tried again. clips: of what is done. shards_left: not committed.
    """

    done: frozenset[str] = frozenset()
    failed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    staged: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    clips: int = 0
    shards_left: int = 0

    @property
    def videos(self) -> int:
        """All of them."""
        return self.settled + len(self.left)

    @property
    def settled(self) -> int:
        """Those that are not decoded again."""
        return len(self.done) + len(self.failed) + len(self.staged)

    @property
    def by_class(self) -> Counter[str]:
        """How many failed, by class."""
        return Counter(failure for failure, _ in self.failed.values())

    def is_settled(self, video_id: str) -> bool:
        """Whether a video is not to be decoded again."""
        return video_id in self.done or video_id in self.failed or video_id in self.staged

    def __str__(self) -> str:
        told = [f"{len(self.done)} done", f"{len(self.failed)} failed"]
        told += [f"{len(found)} {name}" for name, found in (("staged", self.staged), ("left", self.left)) if found]
        return f"{', '.join(told)}, of {counted(self.videos, 'video')}"


def of_part(inventory: pd.DataFrame, part: tuple[int, int]) -> pd.DataFrame:
    """Rows of an inventory that belong to the part with this number, from 0, of so many."""
    index, count = part
    if count == 1:
        return inventory
    return inventory[inventory["shard"].map(lambda name: int(name.rpartition("-")[2]) % count == index).astype(bool)]


def standing(paths: StorePaths, run: Run, inventory: pd.DataFrame | None = None) -> Standing:
    """Where the videos stand now of an inventory, or of some of its shards; without one, of the whole store.

    A store that was copied without its inventory has what is committed.
    """
    names = set(committed_names(paths))
    records = committed(paths)
    if inventory is None:
        inventory = read_inventory(paths) if paths.inventory.exists() else _committed_inventory(records)
    ids = set(inventory["video_id"])
    waiting = inventory[~inventory["shard"].isin(names)]
    tried: dict[str, StagedItem] = {}
    for shard in waiting["shard"].unique():
        tried.update(staged_items(paths, run, str(shard)))
    homes = {video_id: shard for shard, record in records.items() for video_id in record.video_ids}
    done = frozenset(ids & homes.keys())
    open_ids = set(waiting["video_id"]) - done
    told = merge_failures(records)
    failed = {
        video_id: (failure, message)
        for video_id, failure, message in zip(told["video_id"], told["failure"], told["message"], strict=True)
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
    )


def _committed_inventory(records: Mapping[str, CommitRecord]) -> pd.DataFrame:
    rows = [
        (video_id, shard)
        for shard, record in records.items()
        for video_id in (*record.video_ids, *(failure.video_id for failure in record.failures))
    ]
    return pd.DataFrame(rows, columns=["video_id", "shard"])


def _clips(paths: StorePaths, record: CommitRecord, homes: Mapping[str, str]) -> int:
    """Clips of a shard's videos, without those that a later shard has anew."""
    moved = [video_id for video_id in record.video_ids if homes[video_id] != record.shard]
    return int((~read_fragment(paths, record)["video_id"].isin(moved)).sum()) if moved else record.rows["clips"]
