"""Objects as `list_videos` lists and `decode` decodes them: like files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from extractor.video.decoding import decode
from extractor.video.listing import Listing, Skipped, list_videos
from extractor.video.objects.cache import ObjectCache
from extractor.video.probing import probe
from schemas.config import ExtractionConfig
from schemas.errors import FailureClass, InventoryError, VideoError
from schemas.records import FileJob, FrameChunk, Item
from tests.videos import write_video

CONFIG = ExtractionConfig(model="none", weights="none", size=64)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


def ids(listing: Listing) -> list[str]:
    return [item.video_id for job in listing.jobs for item in job.items]


def table_of(folder: Path, *rows: str, header: str = "path") -> Path:
    table = folder / "table.csv"
    table.write_text("\n".join((header, *rows)) + "\n")
    return table


def test_objects_below_a_prefix_are_listed_like_a_folder(memory: fsspec.AbstractFileSystem) -> None:
    for name in ("b.mp4", "a/c.MKV", "a/notes.txt", ".hidden/d.mp4", "a/.e.mp4"):
        memory.pipe_file(f"/videos/set/{name}", b"x" * len(name))
    memory.pipe_file("/videos/settled/f.mp4", b"x")
    for address in ("memory://videos/set", "memory://videos/set/"):
        listing = list_videos(address)
        assert listing.root == "memory://videos/set"
        assert ids(listing) == ["a/c.MKV", "b.mp4"]
        assert [(job.path, job.size_bytes) for job in listing.jobs] == [
            ("memory://videos/set/a/c.MKV", 7),
            ("memory://videos/set/b.mp4", 5),
        ]
        assert listing.skipped == (Skipped("a/notes.txt", "without a known video suffix (.txt)"),)


def test_single_object_is_listed(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/videos/a.mp4", b"x")
    listing = list_videos("memory://videos/a.mp4")
    assert (listing.root, ids(listing)) == ("memory://videos", ["a.mp4"])


def test_address_without_videos_is_refused(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/videos/set/notes.txt", b"x")
    for address, message in (
        ("memory://videos/set", "holds no videos"),
        ("memory://videos/none", "there is no such object"),
        ("memory://videos/set/notes.txt", "Download a table"),
    ):
        with pytest.raises(InventoryError, match=message):
            list_videos(address)


def test_addresses_of_a_table_count_from_their_common_prefix(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.pipe_file("/videos/set/a/1.mp4", b"x")
    rows = ("here.mp4,,", "memory://videos/set/a/1.mp4,,", "memory://videos/set/b/1.mp4,1,2", "/else/2.mp4,,")
    listing = list_videos(table_of(tmp_path, *rows, header="path,start_seconds,end_seconds"))
    assert ids(listing) == ["here.mp4", "a/1.mp4", "b/1.mp4#1-2", "2.mp4"]
    assert [job.size_bytes for job in listing.jobs] == [None, 1, None, None]


def test_ids_of_addresses_do_not_repeat_those_of_files(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    listing = list_videos(table_of(tmp_path, "1.mp4", "memory://videos/set/1.mp4"))
    assert ids(listing) == ["1.mp4", "set/1.mp4"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("s3://key:hidden@bucket/a.mp4,", "row 3: expected an address without a user"),
        ("https://host/a.mp4?sig=hidden,", "row 3: expected an address without a query"),
        ("memory://videos/a.mp4,25", "row 3: expected no fps for an address"),
    ],
)
def test_row_whose_address_is_not_taken_is_named(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=message) as raised:
        list_videos(table_of(tmp_path, "a.mp4,", row, header="path,fps"))
    assert "hidden" not in str(raised.value)


def frames_of(job: FileJob, cache: ObjectCache) -> np.ndarray:
    return np.concatenate([e.frames for e in decode(job, CONFIG, cache=cache) if isinstance(e, FrameChunk)])


def test_object_is_decoded_like_a_file(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames=20, size=(64, 64))
    memory.pipe_file("/videos/a.mp4", path.read_bytes())
    (job,) = list_videos("memory://videos/a.mp4").jobs
    cache = ObjectCache(str(tmp_path))
    np.testing.assert_array_equal(frames_of(job, cache), frames_of(list_videos(path).jobs[0], cache))


def test_object_that_is_no_video_fails_under_its_address(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.pipe_file("/videos/a.mp4", b"not a video" * 100)
    (job,) = list_videos("memory://videos/a.mp4").jobs
    with pytest.raises(VideoError, match=r"memory://videos/a\.mp4") as raised:
        frames_of(job, ObjectCache(str(tmp_path)))
    assert str(tmp_path) not in raised.value.message


def test_decoding_that_is_left_early_releases_its_object(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, frames=20, size=(64, 64))
    for name in "ab":
        memory.pipe_file(f"/videos/{name}.mp4", path.read_bytes())
    a, b = list_videos("memory://videos").jobs
    cache = ObjectCache(str(tmp_path), path.stat().st_size)
    events = decode(a, CONFIG, cache=cache)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert len(frames_of(b, cache)) > 0


def test_probing_estimates_an_object_from_its_size_and_fetches_nothing(memory: fsspec.AbstractFileSystem) -> None:
    items = (Item("whole"), Item("part", 5.0, 15.0), Item("late", 3600.0))
    found = probe(FileJob("memory://videos/a.mp4", items, 25_000_000, 1), CONFIG, (8,))
    assert [item.failure for item in found] == [None] * 3
    assert found[1].duration_seconds == 10.0
    assert 95 <= found[1].num_frames <= 105 < found[0].num_frames
    (missing,) = probe(FileJob("memory://videos/a.mp4", items[:1]), CONFIG, (8,))
    assert missing.failure is FailureClass.MISSING
