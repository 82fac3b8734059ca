"""Planning by headers: in order, saved as it goes, and continued where it was interrupted. Nothing here starts Ray."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from extractor.store import commit_shard, new_attempt, read_inventory
from extractor.store.check import check_store_files
from extractor.video.headers import Length
from extractor.video.listing import Listing, list_videos
from jobs.run import planning
from jobs.run.planning import ShardSupply, decide, planned_inventory, read_lengths
from jobs.run.videos import limit_that_holds, require_same_videos
from jobs.stores.standing import standing
from jobs.stores.status import store_status
from jobs.stores.verify import verify_store
from schemas.errors import ConfigurationError, StorageError, StoreError
from schemas.records import FileJob, Item
from tests.extractor.store.making import make_run, stage
from tests.jobs.run.test_videos import add, said, stored_videos


@pytest.fixture(autouse=True)
def lengths(monkeypatch: pytest.MonkeyPatch) -> dict[str, Length | None]:
    """The lengths of files by name; all others have 1 to 9 seconds, by the digit in their names."""
    known: dict[str, Length | None] = {}

    def length(path: str, fps: float | None) -> Length | None:
        name = Path(path).name
        return known[name] if name in known else Length(1.0 + int(name[1]), 0)

    monkeypatch.setattr("jobs.run.planning.header_length", length)
    return known


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    add(tmp_path / "videos", *(f"v{k % 9}_{k:03d}.mp4" for k in range(120)))
    return tmp_path / "videos"


def taken(supply: ShardSupply) -> dict[str, list[str]]:
    """Ids of the videos of each shard that the supply has now."""
    found = {}
    while (shard := supply.take()) is not None:
        found[shard.name] = [item.video_id for job in shard.jobs for item in job.items]
    return found


def by_shard(inventory: pd.DataFrame) -> dict[str, list[str]]:
    return {str(shard): list(rows["video_id"]) for shard, rows in inventory.groupby("shard")}


class KilledError(Exception):
    """Stands for the end of the process."""


def kill_after(shards: int) -> Callable[[int, int], None]:
    seen = iter(range(shards))

    def tell(done: int, total: int) -> None:
        if next(seen, None) is None:
            raise KilledError

    return tell


def killed(videos: Path, shards: int, shard_bytes: int = 100_000) -> None:
    with pytest.raises(KilledError):
        stored_videos(videos, shard_bytes=shard_bytes).planning(list_videos(videos)).run(kill_after(shards))


def test_planning_that_was_killed_again_and_again_makes_the_same_shards(videos: Path, tmp_path: Path) -> None:
    run = stored_videos(videos, shard_bytes=100_000).run
    whole = planned_inventory(list_videos(videos), run)
    for seed in range(8):
        killed(videos, random.Random(seed).randint(0, 3))
    stored = stored_videos(videos, shard_bytes=100_000)
    assert 0 < len(read_inventory(stored.paths)) < len(whole)
    inventory = stored.planning(list_videos(videos)).run()
    assert inventory is not None and inventory["shard"].nunique() > 10
    pd.testing.assert_frame_equal(inventory, whole)
    pd.testing.assert_frame_equal(read_inventory(stored.paths), whole)
    assert not stored.paths.planning.exists()
    assert said(stored)[0].startswith("planning goes on: ") and said(stored)[0].endswith(" of 120 videos have a shard")


def test_continued_planning_keeps_what_it_decided(videos: Path, lengths: dict[str, Length | None]) -> None:
    """What the sample says now would change the bound, and the estimate of files that state no length."""
    lengths.update({f"v0_{k:03d}.mp4": None for k in range(0, 120, 9)})
    stored = stored_videos(videos, shard_bytes=100_000)
    whole = planned_inventory(list_videos(videos), stored.run)
    killed(videos, 3)
    bounds = by_shard(read_inventory(stored.paths))
    lengths.update({f"v1_{k:03d}.mp4": Length(5000.0) for k in range(1, 10, 9)})  # planned already
    inventory = stored.planning(list_videos(videos)).run()
    assert inventory is not None and bounds.items() <= by_shard(inventory).items()
    pd.testing.assert_frame_equal(inventory, whole)


def test_shards_are_handed_out_while_planning_goes_on(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the log before. Planning waits for us in the middle."""
    monkeypatch.setattr("extractor.store.planning._SYNC_SECONDS", 0.0)
    middle, go_on = threading.Event(), threading.Event()
    read = planning.header_length

    def waits(path: str, fps: float | None) -> Length | None:
        if path.endswith("v8_116.mp4") and not middle.is_set():
            middle.set()
            assert go_on.wait(60)
        return read(path, fps)

    stored = stored_videos(videos, shard_bytes=100_000)
    listing = list_videos(videos)
    monkeypatch.setattr("jobs.run.planning.decide", lambda *_: (planning.Decided(100_000, 1.0), {}))
    monkeypatch.setattr("jobs.run.planning.header_length", waits)
    monkeypatch.setattr("jobs.run.planning._FILES_TOGETHER", 4)
    monkeypatch.setattr("jobs.run.planning._AHEAD", 2)
    with stored.planning(listing) as found:
        assert middle.wait(60)
        first: dict[str, list[str]] = {}
        while not first:
            first = taken(found.supply)
        known = by_shard(read_inventory(stored.paths))
        assert first.items() <= known.items()
        assert 0 < found.planned < found.total == 120 and not found.supply.ended
        status = store_status(stored.paths.root).standing
        assert (status.videos, status.complete) == (120, False) and status.unplanned == 120 - status.left
        assert verify_store(stored.paths.root).unfinished == 120
        go_on.set()
        assert found.supply.wait_for_end(60)
        assert first | taken(found.supply) == by_shard(read_inventory(stored.paths))
        assert found.supply.ended and found.planned == 120


def test_planning_that_is_stopped_goes_on_later(videos: Path) -> None:
    stored = stored_videos(videos, shard_bytes=100_000)
    stopped = stored.planning(list_videos(videos))
    assert stopped.run(lambda done, total: stopped._stopped.set()) is None
    assert 0 < stopped.planned < 120 and stored.paths.planning.exists() and not stored.paths.inventory.exists()
    assert stored.inventory(list_videos(videos), rescan=False)["video_id"].tolist() == sorted(
        path.name for path in videos.iterdir()
    )


def test_planning_that_is_stopped_does_not_fill_its_shard_first(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On slow storage that takes minutes, which a user who interrupts would wait for."""
    stored = stored_videos(videos, shard_bytes=10**12)
    stopped = stored.planning(list_videos(videos))
    asked: list[str] = []

    def length(path: str, fps: float | None) -> Length:
        asked.append(path)
        if len(asked) == 20:
            stopped._stopped.set()
        return Length(1.0)

    monkeypatch.setattr("jobs.run.planning.decide", lambda *_: (planning.Decided(10**12, 1.0), {}))
    monkeypatch.setattr("jobs.run.planning.header_length", length)
    monkeypatch.setattr("jobs.run.planning._FILES_TOGETHER", 1)
    monkeypatch.setattr("jobs.run.planning._AHEAD", 2)
    assert stopped.run() is None
    assert len(asked) < 60 and not stored.paths.inventory.exists()


def test_known_shards_that_are_not_committed_come_first(videos: Path) -> None:
    killed(videos, 4)
    stored = stored_videos(videos, shard_bytes=100_000)
    known = by_shard(read_inventory(stored.paths))
    first = min(known)
    attempt = new_attempt(stored.paths, stored.run, first, "token")
    for video_id in known[first]:
        stage(attempt, video_id)
    commit_shard(attempt, known[first])
    found = stored.planning(list_videos(videos))
    assert set(taken(found.supply)) == set(known) - {first}
    assert found.run() is not None
    assert str(standing(stored.paths, stored.run)).startswith(f"{len(known[first])} done, 0 failed, ")


def test_videos_that_come_while_planning_is_interrupted_are_planned_and_others_stay(videos: Path) -> None:
    killed(videos, 4)
    stored = stored_videos(videos, shard_bytes=100_000)
    known = by_shard(read_inventory(stored.paths))
    add(videos, "v0_0000.mp4")
    (videos / known[min(known)][0]).unlink()
    inventory = stored.planning(list_videos(videos)).run()
    assert inventory is not None and known.items() <= by_shard(inventory).items()
    assert sorted(inventory["video_id"]) == sorted({*(path.name for path in videos.iterdir()), known[min(known)][0]})


def test_two_parts_that_plan_at_once_have_one_inventory(videos: Path) -> None:
    parts = [stored_videos(videos, parts=2, shard_bytes=100_000) for _ in range(2)]
    plannings = [stored.planning(list_videos(videos)) for stored in parts]
    first, second = (found.run() for found in plannings)
    assert first is not None and second is not None
    pd.testing.assert_frame_equal(first, second)
    assert not parts[0].paths.planning.exists()


def test_columns_of_the_table_come_with_the_inventory(videos: Path) -> None:
    (videos / "table.csv").write_text("path,label\n" + "".join(f"v{k % 9}_{k:03d}.mp4,{k}\n" for k in range(120)))
    stored = stored_videos(videos, shard_bytes=100_000)
    with pytest.raises(KilledError):
        stored.planning(list_videos(videos / "table.csv")).run(kill_after(2))
    inventory = stored.planning(list_videos(videos / "table.csv")).run()
    assert inventory is not None and inventory["label"].tolist() == list(range(120))


def test_error_of_the_storage_reaches_whoever_takes_shards(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("jobs.run.planning.PlanningLog.shard", full)
    stored = stored_videos(videos)
    with stored.planning(list_videos(videos)) as found, pytest.raises(StorageError, match="the disk is full"):
        found.supply.wait_for_end(60)


def test_lengths_come_in_order_and_known_ones_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [FileJob(f"/v{k % 9}_{k}", (Item(str(k)),), 1) for k in range(500)]
    found = list(read_lengths(jobs, {"/v1_1": None}))
    assert [job for job, _ in found] == jobs
    assert found[0][1] == Length(1.0) and found[1][1] is None and found[2][1] == Length(3.0)
    assert list(read_lengths([])) == []


def test_bound_follows_from_a_sample_and_so_does_the_rate_of_files_that_state_no_length(
    lengths: dict[str, Length | None],
) -> None:
    jobs = tuple(FileJob(f"/v3_{k}", (Item(str(k)),), 8000) for k in range(1000))
    lengths["v3_0"] = None
    run = make_run()
    decided, sampled = decide(jobs, run, 8)
    assert len(sampled) < 400 and decided.bytes_a_second == pytest.approx(2000)
    shards = planned_inventory(Listing(Path("/"), jobs), run, min_shards=8)["shard"].nunique()
    assert 4 <= shards <= 16
    assert decide(jobs[:1], run, 1)[0].bytes_a_second == planning.LIKELY_BYTES_A_SECOND


def test_files_that_lie_about_their_lengths_leave_a_file_without_one_an_estimate(
    videos: Path, lengths: dict[str, Length | None]
) -> None:
    """Tiny files of a hundred hours each: at their rate, 50 GB would last longer than a number can say."""
    lengths.update({path.name: Length(360_000.0) for path in videos.iterdir()})
    with (videos / "v9_big.ts").open("wb") as file:
        file.truncate(50 * 10**9)
    lengths["v9_big.ts"] = None
    inventory = stored_videos(videos).planning(list_videos(videos)).run()
    assert inventory is not None and inventory["estimated_bytes"].max() < 2**53


def test_shards_without_inventory_and_log_are_refused_and_so_are_other_videos(videos: Path) -> None:
    killed(videos, 2)
    stored = stored_videos(videos, shard_bytes=100_000)
    require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=stored.watcher)
    assert said(stored) == []  # that there are more videos than planned so far is no news
    for path in videos.iterdir():
        path.rename(path.with_name(f"o{path.name[1:]}"))
    with pytest.raises(ConfigurationError, match="the store has none of the 120 videos"):
        require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=stored.watcher)
    attempt = new_attempt(stored.paths, stored.run, "shard-00000", "token")
    stage(attempt, "a")
    commit_shard(attempt, ["a"])
    stored.paths.planning.unlink()
    with pytest.raises(StoreError, match=r"has shards and no inventory\. Restore the file"):
        stored.planning(list_videos(videos))


@pytest.mark.parametrize(("began_with", "says"), [(None, "all files"), (100, "--limit 100")])
def test_planning_goes_on_with_the_limit_that_it_began_with(videos: Path, began_with: int | None, says: str) -> None:
    """With a smaller one the inventory would be published without the files that had no shard yet."""
    stored = stored_videos(videos)
    run = replace(stored.run, settings={**stored.run.settings, "limit": began_with})

    def holds(limit: int | None) -> int | None:
        return limit_that_holds(stored.paths, run, limit, stored.watcher)

    assert holds(5) == 5  # nothing is planned
    killed(videos, 4)
    assert holds(began_with) == began_with and said(stored) == []
    assert holds(5) == began_with and f"goes on with {says}, as it began" in said(stored)[0]
    assert stored.planning(list_videos(videos)).run() is not None
    assert holds(5) == 5  # the inventory decides


def test_log_that_is_left_behind_a_published_inventory_is_removed(videos: Path) -> None:
    killed(videos, 4)
    stored = stored_videos(videos, shard_bytes=100_000)
    log = stored.paths.planning.read_bytes()
    whole = stored.planning(list_videos(videos)).run()
    stored.paths.planning.write_bytes(log)
    pd.testing.assert_frame_equal(stored.inventory(None, rescan=False), whole)
    assert not stored.paths.planning.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_something_else_in_the_place_of_the_log_is_refused_at_once(videos: Path, make: Callable[[Path], None]) -> None:
    stored = stored_videos(videos)
    make(stored.paths.planning)
    with pytest.raises(StoreError, match="expected a plain file at "):
        stored.planning(list_videos(videos))
    with pytest.raises(StoreError, match="expected a plain file at "):
        store_status(stored.paths.root)
    (damage,) = check_store_files(stored.paths, stored.run, deep=False)
    assert damage.file == "inventory.log" and "expected a plain file" in damage.message
