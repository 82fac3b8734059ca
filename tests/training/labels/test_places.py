"""Which files a list means."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.labels.places import FileIndex


def _index(root: Path, *names: str, listed: tuple[str, ...] = ()) -> FileIndex:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return FileIndex(root, listed)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x/a.mp4", "x/a.mp4"),
        ("x/a", "x/a.mp4"),
        ("x/a.avi", "x/a.mp4"),
        ("./x//a.mp4", "x/a.mp4"),
        ("x\\a.mp4", "x/a.mp4"),
        ("data/x/a.mp4", "x/a.mp4"),
        ("b", "y/b.webm"),
        ("v1.5_run", "v1.5_run.mp4"),
        ("a", None),
        ("z/a", None),
        ("no", None),
        ("..", None),
        (".", None),
        ("", None),
    ],
)
def test_a_file_is_found_by_what_its_name_says(tmp_path: Path, name: str, found: str | None) -> None:
    places = _index(tmp_path, "x/a.mp4", "y/a.mp4", "y/b.webm", "v1.5_run.mp4").find(name, "label")
    assert [place.video_id for place in places] == [found] or (found is None and len(places) != 1)


def test_of_several_files_the_one_in_the_folder_of_the_class_is_meant(tmp_path: Path) -> None:
    index = _index(tmp_path, "riding_a_bike/a.mp4", "running/a.mp4")
    assert [place.video_id for place in index.find("a", "riding a bike")] == ["riding_a_bike/a.mp4"]
    assert len(index.find("a", "walking")) == 2


def test_a_file_in_another_folder_is_found_by_name_and_says_so(tmp_path: Path) -> None:
    index = _index(tmp_path, "train/a.mp4", "b.mp4")
    assert [index.find(name, "")[0].by_name for name in ("val/a.mp4", "val/b.mp4", "a")] == [True, False, False]


@pytest.mark.parametrize("name", ["../secret", "x/../../secret.mp4", "/etc/passwd", "..\\secret", "../videos2/a"])
def test_nothing_outside_the_folder_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.mp4").touch()
    (tmp_path / "videos2/a").mkdir(parents=True)
    (tmp_path / "videos2/a/1.jpg").touch()
    assert _index(tmp_path / "videos", "a.mp4").find(name, "") == []
    assert _index(tmp_path / "frames", "a/1.jpg", listed=("a",)).find(name, "") == []


def test_absolute_paths_within_the_folder_are_found(tmp_path: Path) -> None:
    assert _index(tmp_path, "x/a.mp4").find(f"{tmp_path}/x/a.mp4", "")[0].video_id == "x/a.mp4"


def test_folders_of_images_are_found_without_listing_their_images(tmp_path: Path) -> None:
    index = _index(tmp_path, "v1/img_00001.jpg", "x/v2/img_00001.jpg", "v3/notes.txt", listed=("gone", "v1"))
    assert [place.video_id for name in ("v1", "x/v2/", "v3", ".") for place in index.find(name, "")] == ["v1", "x/v2"]
    assert index.files == {} and index.skipped == ""


def test_very_many_files_of_one_name_take_no_time(tmp_path: Path) -> None:
    index = _index(tmp_path, *(f"{n}/video.mp4" for n in range(100)))
    assert len(index.find("video", "7")) == 100 and index.find("7/video", "")[0].video_id == "7/video.mp4"
