from __future__ import annotations

import random
from pathlib import Path

import pytest

from extractor.store.commits.run import Run, write_run
from extractor.store.tables import read_inventory, write_inventory
from extractor.video.headers import Length
from extractor.video.listing import Listing
from jobs.run.inventory import jobs_of_shards, limited, split_jobs
from jobs.run.planning import planned_inventory
from jobs.run.sharding import ITEMS_OF_FILE
from schemas.layout import StorePaths
from schemas.manifest import INVENTORY_COLUMNS
from schemas.records import FileJob, Item
from tests.extractor.store.making import make_run

ROOT = Path("/data/set")


def run_with(shard_bytes: int) -> Run:
    run = make_run()
    return Run(run.config, run.shape, run.compression, shard_bytes, str(ROOT), run.created_utc)


def random_listing(seed: int) -> Listing:
    state = random.Random(seed)
    jobs = []
    for number in range(state.randint(1, 12)):
        path = state.choice([f"/data/set/sub/{number}.mp4", f"/data/set/bad {number}.avi", f"/elsewhere/{number}.mkv"])
        segments = state.choice([0, 0, 1, 5, ITEMS_OF_FILE, 2 * ITEMS_OF_FILE + 7])
        items = [
            Item(f"{number}#{k}", k / 3, state.choice([None, k / 3 + state.random()])) for k in range(segments)
        ] or [Item(f"{number}.mp4")]
        known = state.random() < 0.8
        size, mtime = (state.randint(0, 10**12), state.randint(0, 2 * 10**18)) if known else (None, None)
        jobs.append(FileJob(path, tuple(items), size, mtime, state.choice([None, 12.5])))
    return Listing(ROOT, tuple(jobs))


@pytest.mark.parametrize("seed", range(25))
def test_jobs_come_back_from_the_inventory(seed: int, tmp_path: Path) -> None:
    """Through parquet and back: the same files and items, in jobs of a bounded number of items."""
    listing = random_listing(seed)
    frame = planned_inventory(listing, run_with(random.Random(seed).choice([1, 10**5, 10**9])))
    paths = StorePaths(tmp_path)
    write_run(paths, make_run())
    write_inventory(paths, frame)
    shards = jobs_of_shards(read_inventory(paths), ROOT)
    assert list(shards) == [f"shard-{number:05d}" for number in range(len(shards))]
    found = [job for jobs in shards.values() for job in jobs]
    assert found == list(split_jobs(listing.jobs))
    assert max(len(job.items) for job in found) <= ITEMS_OF_FILE


def test_inventory_has_the_columns_of_the_schema_and_estimates_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {"/data/set/a.mp4": Length(2.0, 60), "/data/b": Length(9.0, 90)}
    monkeypatch.setattr("jobs.run.planning.header_length", lambda path, fps: lengths.get(path))
    listing = Listing(
        ROOT,
        (
            FileJob("/data/set/a.mp4", (Item("a.mp4"),), 5, 7),
            FileJob("/data/set/gone.mp4", (Item("gone.mp4"),), None, None),
            FileJob("/data/b", (Item("b", 1.0, 2.5), Item("c", 8.5), Item("d", 9.0)), 1000, 9, 10.0),
            FileJob("/data/set/unstated.avi", (Item("unstated.avi"),), 7 * 1005 // 11, 8),
        ),
    )
    run = run_with(10**9)
    frame = planned_inventory(listing, run, first_shard=3)
    assert list(frame.columns) == list(INVENTORY_COLUMNS)
    assert set(frame["shard"]) == {"shard-00003"}
    assert list(frame["path"]) == ["a.mp4", "gone.mp4", *["/data/b"] * 3, "unstated.avi"]
    assert list(frame["num_frames"]) == [20, 0, 15, 5, 0, 70]
    assert list(frame["duration_seconds"].fillna(-1.0)) == [2.0, -1.0, 1.5, 0.5, -1.0, -1.0]
    bytes_of_rows = {"clips": 0, "frames": 0, "pairs": 0}
    for spec in run.datasets:
        bytes_of_rows[spec.level] += spec.row_bytes
    expected = [
        clips * bytes_of_rows["clips"] + frames * bytes_of_rows["frames"] + (frames - 1) * bytes_of_rows["pairs"]
        for frames, clips in ((20, 5), (15, 4), (5, 2), (70, 18))
    ]
    assert list(frame["estimated_bytes"]) == [expected[0], 0, expected[1], expected[2], 0, expected[3]]


def test_split_jobs_keeps_all_items_and_what_is_known_of_the_file() -> None:
    items = tuple(Item(str(number)) for number in range(2 * ITEMS_OF_FILE + 1))
    parts = list(split_jobs([FileJob("/a", items, 1, 2, 3.0), FileJob("/b", items[:1])]))
    assert [len(part.items) for part in parts] == [ITEMS_OF_FILE, ITEMS_OF_FILE, 1, 1]
    assert sum((part.items for part in parts[:3]), ()) == items
    assert {(p.path, p.size_bytes, p.mtime_ns, p.fps) for p in parts} == {("/a", 1, 2, 3.0), ("/b", None, None, None)}


def test_limited_takes_the_first_files() -> None:
    listing = random_listing(3)
    assert limited(listing, None) is listing
    assert limited(listing, 2).jobs == listing.jobs[:2]
