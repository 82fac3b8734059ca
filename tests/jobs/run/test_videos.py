"""The videos of a store: planned once, extended, and left to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from extractor.store import commit_shard, new_attempt, read_inventory, write_inventory, write_run
from extractor.video.headers import Length
from extractor.video.listing import Listing, list_videos
from jobs.cluster.devices import Workers
from jobs.cluster.placement import Placement
from jobs.run.inventory import limited
from jobs.run.videos import StoreVideos, require_same_videos
from jobs.run.watcher import Watcher
from jobs.stores.standing import of_part, standing
from jobs.stores.status import store_status
from jobs.stores.verify import verify_store
from jobs.workers.driver import PlannedShard
from schemas.errors import ConfigurationError, StoreError
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS
from tests.extractor.store.making import fail, make_run, stage

WORKERS = Placement((Workers(1, 1, 1, 0, 16),))


class Heard(Watcher):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file is a second long; returns the names of the files whose headers were read."""
    seen: list[str] = []

    def length(path: str, fps: float | None) -> Length:
        seen.append(Path(path).name)
        return Length(1.0, 25)

    monkeypatch.setattr("jobs.run.planning.header_length", length)
    return seen


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    add(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    return tmp_path / "videos"


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"content of {name}")


def stored_videos(videos: Path, *, parts: int = 1, shard_bytes: int = 1, workers: Placement = WORKERS) -> StoreVideos:
    """A store beside the folder of videos, with a run and nothing else; by default one shard per video."""
    paths = StorePaths(videos.parent / "store")
    paths.root.mkdir(exist_ok=True)
    run = replace(make_run(), shard_bytes=shard_bytes, settings={"videos": str(videos)})
    return StoreVideos(paths, write_run(paths, run), videos, workers, parts, Heard())


def said(stored: StoreVideos) -> list[str]:
    assert isinstance(stored.watcher, Heard)
    return stored.watcher.lines


def finish(stored: StoreVideos, shard: str, good: Sequence[str] = (), bad: Sequence[str] = ()) -> None:
    """Commit a shard with these items."""
    attempt = new_attempt(stored.paths, stored.run, shard, "token")
    for video_id in good:
        stage(attempt, video_id)
    for video_id in bad:
        fail(attempt, video_id)
    commit_shard(attempt, (*good, *bad))


def pending(stored: StoreVideos, inventory: pd.DataFrame, part: tuple[int, int] = (0, 1)) -> list[PlannedShard]:
    supply = stored.pending(inventory, part)
    found = []
    while not supply.ended:
        shard = supply.take()
        assert shard is not None
        found.append(shard)
    return found


def planned(inventory: pd.DataFrame) -> dict[str, list[str]]:
    return {str(shard): list(group["video_id"]) for shard, group in inventory.groupby("shard")}


def test_inventory_is_made_once(videos: Path, asked: list[str]) -> None:
    stored = stored_videos(videos)
    made = stored.inventory(list_videos(videos), rescan=False)
    assert planned(made) == {"shard-00000": ["a.mp4"], "shard-00001": ["b.mp4"], "shard-00002": ["c.mp4"]}
    add(videos, "d.mp4")
    again = stored.inventory(list_videos(videos), rescan=False)
    pd.testing.assert_frame_equal(again, made)
    assert asked == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(("extractors", "parts", "shards"), [(1, 1, 1), (2, 1, 3), (1, 2, 3)])
def test_inventory_has_shards_for_all_who_work(videos: Path, extractors: int, parts: int, shards: int) -> None:
    workers = Placement(WORKERS.groups * extractors)
    stored = stored_videos(videos, parts=parts, shard_bytes=10**9, workers=workers)
    assert stored.inventory(list_videos(videos), rescan=False)["shard"].nunique() == shards


def test_inventory_that_was_lost_is_not_made_anew_beside_shards(videos: Path) -> None:
    stored = stored_videos(videos)
    stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4"])
    stored.paths.inventory.unlink()
    stored.paths.copy(stored.paths.inventory).unlink()
    with pytest.raises(StoreError, match=r"has shards and no inventory\. Restore the file"):
        stored.inventory(list_videos(videos), rescan=False)


def test_what_a_record_forgot_is_planned_again_and_what_the_inventory_lacks_is_told(videos: Path) -> None:
    stored = stored_videos(videos, shard_bytes=10**9)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4", "stranger.mp4"])
    mended = stored.whole(inventory)
    assert planned(mended) == {"shard-00000": ["a.mp4", "b.mp4", "c.mp4"], "shard-00001": ["b.mp4", "c.mp4"]}
    assert "lacks 1 video that shards have" in said(stored)[0] and "--rescan" in said(stored)[0]
    assert "plans 2 videos into shards" in said(stored)[1]
    pd.testing.assert_frame_equal(read_inventory(stored.paths), mended)
    pd.testing.assert_frame_equal(stored.whole(mended), mended)


def test_shards_that_an_older_inventory_does_not_know_are_not_planned_again_under_their_names(videos: Path) -> None:
    stored = stored_videos(videos)
    older = stored.inventory(list_videos(videos), rescan=False)
    add(videos, "d.mp4")
    stored.inventory(list_videos(videos), rescan=True)
    finish(stored, "shard-00003", good=["d.mp4"])
    write_inventory(stored.paths, older, replace=True)
    assert planned(stored.inventory(list_videos(videos), rescan=True))["shard-00004"] == ["d.mp4"]


def test_rescan_plans_what_is_new_into_new_shards(videos: Path, asked: list[str]) -> None:
    stored = stored_videos(videos)
    before = stored.inventory(list_videos(videos), rescan=False)
    pd.testing.assert_frame_equal(stored.inventory(list_videos(videos), rescan=True), before)
    add(videos, "d.mp4", "aa.mp4")
    after = stored.inventory(list_videos(videos), rescan=True)
    assert planned(after) == {**planned(before), "shard-00003": ["aa.mp4"], "shard-00004": ["d.mp4"]}
    pd.testing.assert_frame_equal(read_inventory(stored.paths), after)
    assert asked[3:] == ["aa.mp4", "d.mp4"]
    assert said(stored) == [f"0 new videos in {videos}", f"2 new videos in {videos}"]


def test_rescan_of_a_table_that_has_grown_keeps_the_ids_of_files_elsewhere(videos: Path, tmp_path: Path) -> None:
    """These ids are relative to the common folder, which has changed."""
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "list.txt"
    a, b, c = ("/nowhere/x/a.mp4", "/nowhere/x/b.mp4", "/nowhere/a.mp4")
    table.write_text(f"{a}\n{b}\n")
    stored = stored_videos(videos)
    before = stored.inventory(list_videos(table), rescan=False)
    assert list(before["video_id"]) == ["a.mp4", "b.mp4"]
    table.write_text(f"{c}\n{a}\n{b}\nown.mp4\n")
    assert [job.items[0].video_id for job in list_videos(table).jobs] == ["a.mp4", "x/a.mp4", "x/b.mp4", "own.mp4"]
    heard = Heard()
    require_same_videos(stored.paths, list_videos(table), limited=False, watcher=heard)
    assert [line.split(";")[0] for line in heard.lines] == ["new since the store was planned: 2 videos"]
    after = stored.inventory(list_videos(table), rescan=True)
    assert list(after["video_id"]) == ["a.mp4", "b.mp4", c, "own.mp4"]
    assert list(after["path"])[:3] == [a, b, c]
    pd.testing.assert_frame_equal(stored.inventory(list_videos(table), rescan=True), after)


def test_ids_that_a_table_gives_are_those_of_the_table(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "list.csv"
    table.write_text("path,video_id\n/nowhere/a.mp4,one\n/nowhere/b.mp4,both\n")
    stored = stored_videos(videos)
    stored.inventory(list_videos(table), rescan=False)
    table.write_text("path,video_id\n/nowhere/a.mp4,two\n/nowhere/b.mp4,both\n")
    assert sorted(stored.inventory(list_videos(table), rescan=True)["video_id"]) == ["both", "one", "two"]


def test_rescan_takes_new_segments_of_a_known_file(videos: Path) -> None:
    table = videos / "table.csv"
    table.write_text("path,start_seconds,end_seconds\na.mp4,0,1\n")
    stored = stored_videos(videos)
    stored.inventory(list_videos(table), rescan=False)
    table.write_text("path,start_seconds,end_seconds\na.mp4,0,1\na.mp4,1,2\n")
    assert planned(stored.inventory(list_videos(table), rescan=True))["shard-00001"] == ["a.mp4#1-2"]
    assert said(stored) == [f"1 new video in {videos}"]


def test_rescan_names_finished_videos_whose_files_are_others_now(videos: Path) -> None:
    """It plans nothing for them, and does not name unfinished videos or those of unknown size."""
    add(videos, "d.mp4", "e.mp4")
    stored = stored_videos(videos)
    listing = list_videos(videos)
    unknown = replace(listing.jobs[4], size_bytes=None, mtime_ns=None)
    before = stored.inventory(replace(listing, jobs=(*listing.jobs[:4], unknown)), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4"])
    stage(new_attempt(stored.paths, stored.run, "shard-00001", "token"), "b.mp4")
    finish(stored, "shard-00004", good=["e.mp4"])
    (videos / "a.mp4").write_text("another video, and a longer one")
    os.utime(videos / "b.mp4", ns=(7, 7))
    for name in ("c.mp4", "d.mp4", "e.mp4"):
        (videos / name).write_text("not finished, or never measured")
    pd.testing.assert_frame_equal(stored.inventory(list_videos(videos), rescan=True), before)
    new, size, time, advice = said(stored)
    assert new == f"0 new videos in {videos}"
    assert size == "replaced since the store was planned (another size): 1 finished video, a.mp4"
    assert time == (
        "copied, touched or replaced since the store was planned (another time, the same size): 1 finished video, b.mp4"
    )
    assert advice.startswith("finished features are kept as they are; ") and "another --out" in advice


def test_of_many_replaced_videos_the_first_are_named(videos: Path) -> None:
    names = [f"v{i}.mp4" for i in range(7)]
    add(videos, *names)
    stored = stored_videos(videos, shard_bytes=10**9)
    stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4", "b.mp4", "c.mp4", *names])
    for name in names:
        (videos / name).write_text("another")
    heard = Heard()
    require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=heard)  # as does a second `extract`
    assert heard.lines[0].endswith("7 finished videos, v0.mp4, v1.mp4, v2.mp4, v3.mp4, v4.mp4, ...")


def test_a_video_that_was_mended_and_tried_again_is_held_against_its_later_file(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    (videos / "a.mp4").write_text("mended")
    stored.with_retries(inventory, [])
    finish(stored, "shard-00003", good=["a.mp4"])
    stored.inventory(list_videos(videos), rescan=True)
    table = videos / "table.csv"
    table.write_text("path\na.mp4\n")
    (videos / "a.mp4").unlink()  # a missing file is not a replaced one
    require_same_videos(stored.paths, list_videos(table), limited=True, watcher=stored.watcher)
    assert said(stored)[1:] == [f"0 new videos in {videos}"]


def test_a_retry_that_failed_is_counted_once_where_its_first_shard_is_gone(videos: Path) -> None:
    """As after `verify --deep` removed the first shard: the video waits there, and has not failed for good."""
    stored = stored_videos(videos, shard_bytes=10**9)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4"], bad=["b.mp4", "c.mp4"])
    inventory = stored.with_retries(inventory, [])
    finish(stored, "shard-00001", good=["b.mp4"], bad=["c.mp4"])
    stored.paths.commit("shard-00000").unlink()
    (shard,) = pending(stored, inventory)
    assert [item.video_id for job in shard.jobs for item in job.items] == ["a.mp4", "b.mp4", "c.mp4"]
    report = verify_store(stored.paths.root)
    assert (report.videos, report.failed, report.unfinished) == (1, 0, 2)
    found = store_status(stored.paths.root).standing
    assert (found.done, len(found.failed), found.left) == (1, 0, 2)


def test_retries_are_planned_anew_with_files_as_they_are_now(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    finish(stored, "shard-00001", good=["b.mp4"])
    (videos / "a.mp4").write_text("mended")
    os.utime(videos / "a.mp4", ns=(7, 7))
    after = stored.with_retries(inventory, ["corrupt"])
    assert planned(after) == {**planned(inventory), "shard-00003": ["a.mp4"]}
    row = after.iloc[-1]
    assert (row["bytes"], row["mtime_ns"]) == (6, 7)
    assert said(stored) == ["trying 1 failed video again"]


def test_retries_take_the_classes_asked_for_and_nothing_twice(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    pd.testing.assert_frame_equal(stored.with_retries(inventory, ["timed_out"]), inventory)
    once = stored.with_retries(inventory, [])
    assert planned(once)["shard-00003"] == ["a.mp4"]
    pd.testing.assert_frame_equal(stored.with_retries(once, []), once)  # it is already planned
    finish(stored, "shard-00003", bad=["a.mp4"])
    assert planned(stored.with_retries(once, []))["shard-00004"] == ["a.mp4"]
    assert [line.split()[1] for line in said(stored)] == ["0", "1", "0", "1"]


def table_in(videos: Path, text: str) -> Listing:
    (videos / "table.csv").write_text(text)
    return list_videos(videos / "table.csv")


def test_columns_of_the_table_lie_in_the_inventory(videos: Path) -> None:
    stored = stored_videos(videos)
    listing = table_in(videos, "path,label,shard\nb.mp4,1,x\na.mp4,,y\n")
    made = stored.inventory(listing, rescan=False)
    assert list(made.columns) == [*INVENTORY_COLUMNS, "label", "table_shard"]
    values = made.set_index("video_id")[["label", "table_shard"]]
    assert values.loc["b.mp4"].tolist() == [1, "x"] and values.loc["a.mp4"].tolist() == [pd.NA, "y"]
    assert said(stored) == ["columns carried into the manifest: label, shard (as table_shard)"]
    pd.testing.assert_frame_equal(stored.inventory(listing, rescan=True), made)
    assert said(stored)[1:] == [f"0 new videos in {videos}"]


def test_columns_of_a_limited_listing_are_typed_by_the_whole_table(videos: Path) -> None:
    stored = stored_videos(videos)
    listing = limited(table_in(videos, "path,code\na.mp4,7\nb.mp4,007\n"), 1)
    assert stored.inventory(listing, rescan=False)["code"].tolist() == ["7"]


def test_rescan_takes_the_columns_of_the_table_over(videos: Path, asked: list[str]) -> None:
    """New values replace old ones, missing ones stay; nothing is planned again."""
    stored = stored_videos(videos)
    stored.inventory(table_in(videos, "path,label,old\na.mp4,1,x\nb.mp4,2,y\n"), rescan=False)
    said(stored).clear()
    grown = table_in(videos, "path,label,split\nc.mp4,three,train\na.mp4,1,test\n")
    heard = Heard()
    require_same_videos(stored.paths, grown, limited=True, watcher=heard)
    assert heard.lines[1:] == [
        "columns of the table differ from the store's (new: split; changed: label (str, was Int64)); "
        f"to take them: msnet resume {stored.paths.root} --rescan"
    ]
    after = stored.inventory(grown, rescan=True)
    assert said(stored) == [
        f"1 new video in {videos}",
        "columns of the table are taken over (new: split; changed: label (str, was Int64))",
        "columns of an earlier table are kept: old",
    ]
    values = after.set_index("video_id")[["label", "old", "split"]].astype("object")
    assert values.where(values.notna(), None).T.to_dict("list") == {
        "a.mp4": ["1", "x", "test"],
        "b.mp4": ["2", "y", None],
        "c.mp4": ["three", None, "train"],
    }
    assert sorted(asked) == ["a.mp4", "b.mp4", "c.mp4"]
    pd.testing.assert_frame_equal(read_inventory(stored.paths), after)
    require_same_videos(stored.paths, grown, limited=True, watcher=heard)
    assert len(heard.lines) == 2


def test_table_that_brings_the_first_columns_extends_a_store_without(videos: Path) -> None:
    stored = stored_videos(videos)
    stored.inventory(list_videos(videos), rescan=False)
    after = stored.inventory(table_in(videos, "path,good\nb.mp4,true\n"), rescan=True)
    assert after["good"].dtype == "boolean"
    assert after.set_index("video_id")["good"].dropna().to_dict() == {"b.mp4": True}
    again = stored.inventory(list_videos(videos), rescan=True)  # a folder has no columns
    pd.testing.assert_frame_equal(again, after)
    assert said(stored)[-1] == "columns of an earlier table are kept: good"


def test_columns_stay_with_videos_that_are_tried_again(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(table_in(videos, "path,label\na.mp4,5\nb.mp4,6\n"), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    again = stored.with_retries(inventory, [])
    assert again["video_id"].tolist() == ["a.mp4", "b.mp4", "a.mp4"] and again["label"].tolist() == [5, 6, 5]


def test_columns_stay_with_files_elsewhere_when_the_table_grows(videos: Path, tmp_path: Path) -> None:
    """Their ids are relative to their common folder, which has changed."""
    (tmp_path / "tables").mkdir()
    stored = stored_videos(videos)
    stored.inventory(table_in(tmp_path / "tables", "path,label\n/no/x/a.mp4,1\n/no/x/b.mp4,2\n"), rescan=False)
    grown = table_in(tmp_path / "tables", "path,label\n/no/a.mp4,9\n/no/x/a.mp4,1\n/no/x/b.mp4,3\n")
    after = stored.inventory(grown, rescan=True)
    assert dict(zip(after["video_id"], after["label"], strict=True)) == {"a.mp4": 1, "b.mp4": 3, "/no/a.mp4": 9}


def test_retry_of_a_file_that_is_gone_knows_nothing_of_it(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    (videos / "a.mp4").unlink()
    assert stored.with_retries(inventory, []).iloc[-1]["bytes"] == -1


def test_pending_is_what_no_record_names(videos: Path) -> None:
    stored = stored_videos(videos)
    add(videos, "d.mp4")
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", good=["a.mp4"])
    finish(stored, "shard-00001", bad=["b.mp4"])
    stage(new_attempt(stored.paths, stored.run, "shard-00002", "token"), "c.mp4")
    shards = pending(stored, inventory)
    assert [(shard.name, [Path(job.path).name for job in shard.jobs]) for shard in shards] == [
        ("shard-00002", ["c.mp4"]),
        ("shard-00003", ["d.mp4"]),
    ]
    assert all(shard.estimated_bytes > 0 for shard in shards)
    assert str(standing(stored.paths, stored.run)) == "1 done, 1 failed, 1 staged, 1 left, of 4 videos"


def test_pending_counts_a_failed_video_that_is_tried_again_as_open(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    finish(stored, "shard-00000", bad=["a.mp4"])
    again = stored.with_retries(inventory, [])
    assert [shard.name for shard in pending(stored, again)][-1] == "shard-00003"
    assert standing(stored.paths, stored.run).settled == 0
    finish(stored, "shard-00003", good=["a.mp4"])
    found = standing(stored.paths, stored.run)
    assert (found.done, found.failed) == (1, {})


def test_parts_share_the_shards(videos: Path) -> None:
    add(videos, "d.mp4", "e.mp4")
    stored = stored_videos(videos, parts=2)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    names = []
    for part in range(2):
        shards = pending(stored, inventory, (part, 2))
        names.append([shard.name for shard in shards])
        assert set(of_part(inventory, (part, 2))["video_id"]) == {
            item.video_id for shard in shards for job in shard.jobs for item in job.items
        }
    assert names == [["shard-00000", "shard-00002", "shard-00004"], ["shard-00001", "shard-00003"]]
    assert said(stored) == []


def test_parts_without_a_shard_are_told(videos: Path) -> None:
    stored = stored_videos(videos)
    inventory = stored.inventory(list_videos(videos), rescan=False)
    assert pending(stored, inventory, (2, 5))
    assert not pending(stored, inventory, (3, 5))
    first, second = said(stored)
    assert first.startswith("3 shards for 5 parts: some parts have nothing to do; ")
    assert second.startswith("3 shards for 5 parts: this part has nothing to do; ")


def test_other_videos_are_refused_and_differences_told(videos: Path) -> None:
    stored, heard = stored_videos(videos), Heard()
    stored.inventory(list_videos(videos), rescan=False)
    require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=heard)
    assert heard.lines == []
    (videos / "a.mp4").rename(videos / "z.mp4")
    (videos / "b.mp4").unlink()
    require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=heard)
    assert [line.rpartition(": ")[2].partition(";")[0] for line in heard.lines] == [
        f"msnet resume {stored.paths.root} --rescan",
        "2 videos",
    ]
    assert "planned: 1 video; to add" in heard.lines[0]
    heard.lines.clear()
    require_same_videos(stored.paths, list_videos(videos), limited=True, watcher=heard)
    assert len(heard.lines) == 1  # missing videos look like unlisted ones
    for path in videos.iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(ConfigurationError, match=r"none of the 2 videos in .*\. Give the dataset it was made from"):
        require_same_videos(stored.paths, list_videos(videos), limited=False, watcher=heard)


def test_a_rescan_with_other_ids_is_refused_and_nothing_is_planned(videos: Path) -> None:
    """Else every video would be extracted once more, under another id."""
    stored = stored_videos(videos)
    before = stored.inventory(list_videos(videos), rescan=False)
    (videos.parent / "table.csv").write_text(f"path,label\n{videos.name}/a.mp4,1\n{videos.name}/b.mp4,2\n")
    table = list_videos(videos.parent / "table.csv")
    mine = f"{videos.name}/a.mp4"
    with pytest.raises(ConfigurationError, match=f"Ids differ: '{mine}' here, 'a.mp4' in the store.*column video_id"):
        stored.inventory(table, rescan=True)
    pd.testing.assert_frame_equal(read_inventory(stored.paths), before)
