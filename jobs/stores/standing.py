"""How far the videos of a store are: the counts that the progress bar, the final table, `status` and `report` show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from extractor.store.commits.run import Run
from extractor.store.commits.snapshot import Commits, committed, is_among
from extractor.store.commits.staging import StagedItem, staged_items
from extractor.store.disk.atomic import entries
from extractor.store.manifest import merge_failures, read_fragment
from extractor.store.tables import is_planned, read_planned
from schemas.errors import FailureClass
from schemas.layout import StorePaths
from schemas.wording import counted


@dataclass(frozen=True, slots=True)
class Standing:
    """Videos of a store, each counted in exactly one of done, failed, staged and left.

    done: how many have features in a committed shard, which readers see. failed: failure class and message by id, also
    if the shard is not committed yet. staged: ids of those with features that wait for the rest of their shard. left:
    how many are neither finished nor failed, or are to be tried again. clips: of `done`. shards_left: number of shards
    that are not committed. again: of `done`, ids of those that such a shard has too. unplanned: how many are listed and
    have no shard yet; they are in none of the four.
    """

    done: int = 0
    failed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    staged: frozenset[str] = frozenset()
    left: int = 0
    clips: int = 0
    shards_left: int = 0
    again: frozenset[str] = frozenset()
    unplanned: int = 0

    @property
    def videos(self) -> int:
        """Number of all videos."""
        return self.settled + self.videos_left

    @property
    def videos_left(self) -> int:
        """Number of videos that are neither settled nor staged, planned or not."""
        return self.left + self.unplanned

    @property
    def complete(self) -> bool:
        """Whether every video is planned and every shard committed."""
        return self.shards_left == 0 and not self.unplanned

    @property
    def settled(self) -> int:
        """Number of videos that are not decoded again."""
        return self.done + len(self.failed) + len(self.staged)

    @property
    def by_class(self) -> Counter[str]:
        """Number of failed videos by class."""
        return Counter(failure for failure, _ in self.failed.values())

    def classes(self, *, lasting: bool) -> list[str]:
        """Classes of the failures that trying the same files again cannot change, or of all others; sorted."""
        known = {failure.value for failure in FailureClass if failure.lasting}
        return sorted(name for name in self.by_class if (name in known) == lasting)

    def is_settled(self, video_id: str) -> bool:
        """Whether a video of a shard that is not committed is not decoded again."""
        return video_id in self.again or video_id in self.failed or video_id in self.staged

    def __str__(self) -> str:
        parts = [f"{self.done} done", f"{len(self.failed)} failed"]
        parts += [f"{n} {name}" for name, n in (("staged", len(self.staged)), ("left", self.videos_left)) if n]
        return f"{', '.join(parts)}, of {counted(self.videos, 'video')}"


def of_part(inventory: pd.DataFrame, part: tuple[int, int]) -> pd.DataFrame:
    """Rows of an inventory that belong to a part (index from 0, count)."""
    index, count = part
    if count == 1:
        return inventory
    return inventory[inventory["shard"].map(lambda name: int(name.rpartition("-")[2]) % count == index).astype(bool)]


def standing(
    paths: StorePaths, run: Run, inventory: pd.DataFrame | None = None, commits: Commits | None = None
) -> Standing:
    """The current standing of the videos of `inventory`, which may be some shards only (default: the whole store).

    In a store that was copied without its inventory, only committed videos count.
    """
    commits = committed(paths) if commits is None else commits
    unplanned = 0
    if inventory is None:
        known = is_planned(paths) or paths.planning.exists()
        inventory, unplanned = read_planned(paths) if known else (_committed_inventory(commits), 0)
    ids, shards = inventory["video_id"], inventory["shard"]
    is_done, is_waiting = is_among(ids, commits.done["video_id"]), ~is_among(shards, list(commits))
    open_ids = ids[is_waiting & ~is_done]
    table = merge_failures(commits)
    table = table[is_among(table["video_id"], ids) & ~is_among(table["video_id"], open_ids)]
    failed = dict(zip(table["video_id"], zip(table["failure"], table["message"], strict=True), strict=True))
    waiting = set(shards[is_waiting])
    tried: dict[str, StagedItem] = {}
    for folder in entries(paths.staging):
        if folder.name in waiting:
            tried.update(staged_items(paths, run, folder.name))
    staged = set()
    for video_id in open_ids[is_among(open_ids, list(tried))]:
        failure = tried[video_id].failure
        if failure is None:
            staged.add(video_id)
        else:
            failed[video_id] = failure.failure.value, failure.message
    done = ids[is_done].nunique()
    return Standing(
        done,
        failed,
        frozenset(staged),
        ids.nunique() - done - len(failed) - len(staged),
        _clips(paths, commits, set(shards)),
        shards_left=len(waiting),
        again=frozenset(ids[is_waiting & is_done]),
        unplanned=unplanned,
    )


def _committed_inventory(commits: Commits) -> pd.DataFrame:
    names = np.array(list(commits), dtype=object)
    parts = [table.select(["video_id", "shard"]).to_pandas() for table in (commits.done, commits.failed)]
    found = pd.concat(parts, ignore_index=True)
    shards = names[found["shard"].to_numpy(np.int64)]
    return pd.DataFrame({"video_id": found["video_id"], "shard": shards}).astype("str")


def _clips(paths: StorePaths, commits: Commits, shards: AbstractSet[str]) -> int:
    """Number of clips of some shards, without videos that a later shard has again."""
    of_shard = dict(zip(commits, commits.clips.tolist(), strict=True))
    for shard, moved in commits.moved().items():
        if shard in shards:
            of_shard[shard] = int((~read_fragment(paths, commits[shard])["video_id"].isin(moved)).sum())
    return sum(clips for shard, clips in of_shard.items() if shard in shards)
