"""Folders and tables of videos."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from extractor.video.fingerprints import check_job, fingerprint, numbered_images
from extractor.video.listing import list_videos
from schemas.errors import FailureClass, InventoryError, VideoError
from schemas.records import Item


def refuse_to_look_at(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make the file system fail on files of these names, as a broken disk or a lost server does."""
    look = Path.stat

    def stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name in names:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return look(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def table(folder: Path, text: str, name: str = "videos.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def ids(source: Path) -> list[str]:
    return [item.video_id for job in list_videos(source).jobs for item in job.items]


def test_list_videos_scans_a_folder_in_order_and_reports_what_it_leaves(tmp_path: Path) -> None:
    for name in ("b/x.MKV", "a.mp4", "b/c/y.avi", ".hidden.mp4", ".git/z.mp4", "notes.txt", "img/1.jpg"):
        touch(tmp_path / name)
    listing = list_videos(tmp_path)
    assert [job.items for job in listing.jobs] == [(Item("a.mp4"),), (Item("b/c/y.avi"),), (Item("b/x.MKV"),)]
    assert all(job.size_bytes == 1 and job.mtime_ns for job in listing.jobs)
    assert [entry.path for entry in listing.skipped] == ["img/1.jpg", "notes.txt"]
    assert listing.skipped_summary() == (
        "left out: 1 file without a known video suffix (.jpg), 1 file without a known video suffix (.txt)"
    )
    touch(tmp_path / "more.txt")
    assert (
        list_videos(tmp_path).skipped_summary().startswith("left out: 2 files without a known video suffix (.txt), 1")
    )


def test_list_videos_survives_a_loop_of_links(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.mp4")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    listing = list_videos(tmp_path)
    assert [job.items[0].video_id for job in listing.jobs] == ["a/x.mp4"]
    assert {entry.path for entry in listing.skipped} == {"a/loop", "gone.mp4"}


def test_list_videos_reports_a_name_that_is_no_text(tmp_path: Path) -> None:
    touch(tmp_path / "good.mp4")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes names of valid text only")
    listing = list_videos(tmp_path)
    assert len(listing.jobs) == 1
    assert "UTF-8" in listing.skipped[0].reason


def test_list_videos_takes_a_single_file(tmp_path: Path) -> None:
    assert ids(touch(tmp_path / "one.webm")) == ["one.webm"]


def test_list_videos_groups_segments_of_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "a.mp4")
    path = table(tmp_path, "path,start_seconds,end_seconds\nv/a.mp4,0,2.5\n./v/a.mp4,2.5,\nv/b.mp4,,\nv/a.mp4,,3\n")
    jobs = list_videos(path).jobs
    assert [job.path for job in jobs] == [str(tmp_path / "v/a.mp4"), str(tmp_path / "v/b.mp4")]
    assert jobs[0].items == (Item("v/a.mp4#0-2.5", 0.0, 2.5), Item("v/a.mp4#2.5-", 2.5), Item("v/a.mp4#-3", None, 3.0))
    assert jobs[1].size_bytes is None  # it does not exist, which fails later


def test_list_videos_keeps_text_as_text(tmp_path: Path) -> None:
    path = table(tmp_path, "video_id,path,label\n007,a.mp4,NA\nNA,b.mp4,1\n1e3,c.mp4,\n")
    assert ids(path) == ["007", "NA", "1e3"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("start", "start_seconds"),
        ("time_end", "end_seconds"),
        ("duration", "end_seconds"),
        ("End Seconds", "end_seconds"),
        ("strat_seconds", "start_seconds"),
        ("id", "video_id"),
        ("Video", "video_id"),
        ("frame_rate", "fps"),
    ],
)
def test_list_videos_asks_what_was_meant_by_a_column(tmp_path: Path, name: str, meant: str) -> None:
    asked = f"has a column '{name}' and no column {meant}. Did you mean {meant}?"
    with pytest.raises(InventoryError, match=re.escape(asked)):
        list_videos(table(tmp_path, f"path,{name}\na.mp4,1\n"))
    pd.DataFrame({"path": ["a.mp4"], name: [1.0]}).to_parquet(tmp_path / "videos.parquet")
    with pytest.raises(InventoryError, match=re.escape(asked)):
        list_videos(tmp_path / "videos.parquet")
    listing = list_videos(table(tmp_path, f"path,{name},{meant}\na.mp4,1,2\n"))  # both: nothing is ambiguous
    assert list(listing.columns.values) == [name]


def test_list_videos_carries_other_columns_and_leaves_nothing_out(tmp_path: Path) -> None:
    listing = list_videos(table(tmp_path, "path,label,state,views\na.mp4,dance,old,12\n"))
    assert [job.items for job in listing.jobs] == [(Item("a.mp4"),)]
    assert listing.skipped_summary() == ""
    assert listing.columns.summary() == "columns carried into the manifest: label, state, views"


def test_list_videos_reads_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"path": ["a.mp4", "b.mp4"], "video_id": [7, 8], "start_seconds": [None, 1.0], "fps": [None, None]}
    )
    frame.to_parquet(tmp_path / "videos.parquet")
    assert [job.items[0] for job in list_videos(tmp_path / "videos.parquet").jobs] == [Item("7"), Item("8", 1.0)]


def test_list_videos_reads_lines_of_text(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffa, b.mp4\n\n/elsewhere/c.mp4\n../d.mp4\n", "list.txt")
    assert ids(path) == ["a, b.mp4", "c.mp4", "../d.mp4"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path\n/x/y/a/1.mp4\n/x/y/b/1.mp4\n", ["a/1.mp4", "b/1.mp4"]),
        ("path\n/x/y/1.mp4\n", ["1.mp4"]),
        ("path\n/x/y/1.mp4\n/x/y2/2.mp4\n", ["y/1.mp4", "y2/2.mp4"]),  # /x/y is a common prefix but no folder
        ("path\n/x/1.mp4\n/z/2.mp4\n", ["x/1.mp4", "z/2.mp4"]),
        ("path\n/x/./y/../1.mp4\n//x/2.mp4\n", ["1.mp4", "2.mp4"]),
        ("path\nROOT/in/1.mp4\n/x/2.mp4\n../3.mp4\n", ["in/1.mp4", "2.mp4", "../3.mp4"]),
        ("path,start_seconds,end_seconds\n/x/1.mp4,0,2\n/x/1.mp4,2,\n", ["1.mp4#0-2", "1.mp4#2-"]),
        # an id that another row has
        ("path\n1.mp4\n/x/y/1.mp4\n", ["1.mp4", "y/1.mp4"]),
        ("path\n1.mp4\ny/1.mp4\n/x/y/1.mp4\n/x/y/2.mp4\n", ["1.mp4", "y/1.mp4", "x/y/1.mp4", "x/y/2.mp4"]),
        ("path\n1.mp4\nx/1.mp4\n/x/1.mp4\n", ["1.mp4", "x/1.mp4", "/x/1.mp4"]),
        ("path,video_id\n/x/y/1.mp4,\n/z/2.mp4,1.mp4\n", ["y/1.mp4", "1.mp4"]),
    ],
)
def test_absolute_paths_elsewhere_count_from_their_common_folder(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    folder = tmp_path / "tables"
    assert ids(table(folder, text.replace("ROOT", str(folder)))) == expected


def test_one_file_elsewhere_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"row 3: expected a unique video_id; got '1.mp4', as in row 2"):
        list_videos(table(tmp_path, "path\n/x/1.mp4\n/x/y/../1.mp4\n"))


def test_list_videos_takes_a_folder_of_images_with_its_rate(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        touch(tmp_path / "frames" / f"img_{number}.jpg")
    (job,) = list_videos(table(tmp_path, "path,fps\nframes,12.5\n")).jobs
    assert (job.fps, job.size_bytes) == (12.5, 3)
    assert [image.name for image in numbered_images(tmp_path / "frames")] == ["img_1.jpg", "img_2.jpg", "img_10.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.mp4\n", "expected a column path; got file"),
        ("path\n", "expected one row per video; got none"),
        ("", "expected a column path; got no columns"),
        ("path\na.mp4\n./a.mp4\n", "row 3: expected a unique video_id; got 'a.mp4', as in row 2"),
        ("path,video_id\na.mp4,x\nb.mp4,x\n", "video_id; got 'x'"),
        ("path,start_seconds\na.mp4,soon\n", "expected a number for start_seconds; got 'soon'"),
        ("path,start_seconds\na.mp4,nan\n", "start_seconds of at least 0; got nan"),
        ("path,start_seconds\na.mp4,-1\n", "start_seconds of at least 0; got -1.0"),
        ("path,end_seconds\na.mp4,inf\n", "end_seconds of at least 0; got inf"),
        ("path,start_seconds,end_seconds\na.mp4,3,2\n", "expected an end after the start at 3.0 s; got 2.0 s"),
        ("path,start_seconds,end_seconds\na.mp4,3,3\n", "expected an end after the start at 3.0 s; got 3.0 s"),
        ("path,fps\na,0\n", "expected fps above 0; got 0.0"),
        ("path,fps,start_seconds\na,10,0\na,20,1\n", "expected one fps for a; got 20.0 after 10.0"),
        ("path,video_id\n,x\n", "row 2: expected a path; got none"),
        ("path,label\na,b.mp4,c\n", "expected as many cells as the header has; got more"),
        ("path,path\na,b\n", "got path twice"),
        ('path\n"a.mp4\n', "cannot be read"),
    ],
)
def test_list_videos_refuses_a_table_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InventoryError) as caught:
        list_videos(table(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_list_videos_refuses_what_is_no_table(tmp_path: Path) -> None:
    touch(tmp_path / "broken.parquet", b"nothing")
    touch(tmp_path / "latin.csv", b"path\nm\xfcll.mp4\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    touch(tmp_path / "texts" / "a.doc")
    for name, said in [
        ("gone", "does not exist"),
        ("empty", "holds no videos"),
        ("texts", "1 other file"),
        ("broken.parquet", "expected a parquet file"),
        ("latin.csv", "expected UTF-8 text"),
        ("texts/a.doc", r"expected a table .*; got \.doc"),
    ]:
        with pytest.raises(InventoryError, match=said):
            list_videos(tmp_path / name)


def test_what_cannot_be_looked_at_is_listed_and_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v/a.mp4", "v/bad.mp4", "v/closed/c.mp4"):
        touch(tmp_path / name)
    refuse_to_look_at(monkeypatch, "bad.mp4", "closed")
    assert fingerprint(tmp_path / "v/bad.mp4") is None
    found = list_videos(tmp_path / "v")
    assert [job.items[0].video_id for job in found.jobs] == ["a.mp4", "bad.mp4"]
    assert [(entry.path, entry.reason) for entry in found.skipped] == [
        ("closed", "that cannot be read (Input/output error)")
    ]
    for job in (found.jobs[1], list_videos(table(tmp_path, "path\nv/bad.mp4\n")).jobs[0]):
        assert (job.size_bytes, job.mtime_ns) == (None, None)
        with pytest.raises(VideoError, match="Input/output error") as caught:
            check_job(job)
        assert caught.value.failure is FailureClass.CANNOT_OPEN
    with pytest.raises(InventoryError, match="Input/output error"):
        list_videos(tmp_path / "v" / "bad.mp4")
