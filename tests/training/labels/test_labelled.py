"""Labelled videos in every form of the field, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, InventoryError
from training.labels.labelled import LabelledVideos, read_labelled_videos


def _files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def _list(tmp_path: Path, text: str, name: str = "list.txt") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def _labels(found: LabelledVideos) -> dict[str, str]:
    return {e.video_id: found.classes[e.label or 0] for e in (*found.training, *found.validation)}


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    found = read_labelled_videos(_files(tmp_path, "run/a.mp4", "run/b.avi", "walk/c.mp4", "stray.mp4"))
    assert found.classes == ("run", "walk")
    assert _labels(found) == {"run/a.mp4": "run", "run/b.avi": "run", "walk/c.mp4": "walk"}
    assert not found.validation and found.report.outside == ("stray.mp4",) and not found.report.fits


def test_a_folder_for_each_class_within_its_splits(tmp_path: Path) -> None:
    _files(tmp_path, "train/run/a.mp4", "train/walk/b.mp4", "val/run/c.mp4", "test/run/d.mp4")
    found = read_labelled_videos(tmp_path)
    assert [e.video_id for e in found.training] == ["train/run/a.mp4", "train/walk/b.mp4"]
    assert [e.video_id for e in found.validation] == ["val/run/c.mp4"]
    assert found.report.test == 1 and found.report.fits
    assert ("training only", "1 class: walk") in found.report.lines()
    _files(tmp_path, "stray.mp4")  # what lies above the splits does not make classes of them
    assert read_labelled_videos(tmp_path).classes == ("run", "walk")
    (tmp_path / "val/run/c.mp4").unlink()
    assert [e.video_id for e in read_labelled_videos(tmp_path).validation] == ["test/run/d.mp4"]


def test_a_table_with_path_and_label(tmp_path: Path) -> None:
    _files(tmp_path, "a.mp4", "b.mp4")
    table = _list(
        tmp_path,
        "path,label,split,start_seconds,end_seconds\na.mp4,jump,train,0,2\na.mp4,sit,train,2,4\nb.mp4,sit,test,,\ngone.mp4,sit,train,,\n",
        "table.csv",
    )
    found = read_labelled_videos(table)
    assert found.classes == ("jump", "sit")
    assert [(e.start_seconds, e.end_seconds) for e in found.training] == [(0, 2), (2, 4)]
    assert [e.video_id for e in found.validation] == ["b.mp4"]
    assert found.report.missing == ("gone.mp4",) and not found.report.fits


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("x/a.mp4 0\nb 1\n", "lines of path, label"),
        ("x/a.mp4 30 0\nb 30 1\n", "lines of path, frames and label"),
        ("a.mp4,0\nb.mp4,1\n", "comma-separated lines of path, label"),
        ("x/a.mp4\t300\t0\nb.mp4\t300\t1\n", "tab-separated lines of path, frames and label"),
        ("a;0\nb;1\n", "lines with ; of path, label"),
        ("id,label\na,0\nb,1\n", "csv with id and label"),
    ],
)
def test_a_list_beside_a_folder(tmp_path: Path, text: str, form: str) -> None:
    _files(tmp_path / "videos", "x/a.mp4", "b.mp4", "c.mp4")
    found = read_labelled_videos(tmp_path / "videos", _list(tmp_path, text))
    assert _labels(found) == {"x/a.mp4": "0", "b.mp4": "1"}
    assert found.report.form == form and found.report.unlisted == ("c.mp4",)


def test_a_path_may_hold_spaces_before_a_numbered_label(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "my video 1.mp4", "b.mp4")
    found = read_labelled_videos(tmp_path / "videos", _list(tmp_path, "my video 1.mp4 0\nb.mp4 1\n"))
    assert _labels(found) == {"my video 1.mp4": "0", "b.mp4": "1"}


def test_a_list_of_kinetics(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "riding/abc_000010_000020.mp4", "ride.mp4", "xyz.mp4")
    rows = ("riding,abc,10,20,train", "swimming,xyz,5,15,train", "riding,ride,5,15,train", "riding,no,1,2,val")
    text = "\n".join(["label,youtube_id,time_start,time_end,split", *rows])
    with pytest.raises(InventoryError, match="expected files for the rows of validation; found none of 1"):
        read_labelled_videos(tmp_path / "videos", _list(tmp_path, text, "k.csv"))
    found = read_labelled_videos(tmp_path / "videos", _list(tmp_path, text.replace("train\nswim", "validate\nswim")))
    (trained,), (held_out,) = found.training[:1], found.validation
    assert (trained.video_id, trained.start_seconds, trained.end_seconds) == ("xyz.mp4#5-15", 5, 15)
    assert (held_out.video_id, held_out.start_seconds) == ("riding/abc_000010_000020.mp4", None)


def test_lists_of_something_something(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "1.webm", "2.webm", "3.webm")
    rows = [
        {"id": "1", "label": "pushing a cup from left to right", "template": "Pushing [something] from left to right"},
        {"id": "2", "label": "pushing a pen from right to left", "template": "Pushing [something] from right to left"},
    ]
    train = _list(tmp_path, json.dumps(rows), "train.json")
    held_out = _list(tmp_path, json.dumps([{**rows[0], "id": "3"}]), "val.json")
    left, right = "Pushing something from left to right", "Pushing something from right to left"
    names = _list(tmp_path, json.dumps({right: "0", left: "1"}), "labels.json")
    found = read_labelled_videos(tmp_path / "videos", train, validation=held_out, class_names=names)
    assert found.classes == (right, left)
    assert [e.label for e in found.training] == [1, 0] and [e.label for e in found.validation] == [1]
    assert "2 classes (a flip makes 2 their mirror image)" in dict(found.report.lines())["naming a side"]


def test_folders_of_images_and_numbered_classes_with_names(tmp_path: Path) -> None:
    _files(tmp_path / "frames", "v1/img_00001.jpg", "v2/img_00001.jpg")
    names = _list(tmp_path, "apply\nblow\n", "names.txt")
    found = read_labelled_videos(tmp_path / "frames", _list(tmp_path, "v1 30 1\nv2 30 0\n"), class_names=names)
    assert _labels(found) == {"v1": "blow", "v2": "apply"}
    assert all(example.fps for example in found.training)
    with pytest.raises(InventoryError, match="largest is 7; got 2 names, for 0 to 1"):
        read_labelled_videos(tmp_path / "frames", _list(tmp_path, "v1 1\nv2 7\n"), class_names=names)


def test_a_share_for_validation_keeps_each_file_on_one_side(tmp_path: Path) -> None:
    _files(tmp_path, *(f"{name}{n}.mp4" for name in "ab" for n in range(5)))
    rows = [f"{name}{n}.mp4,{name},{start},{start + 1}" for name in "ab" for n in range(5) for start in range(3)]
    table = _list(tmp_path, "\n".join(["path,label,start_seconds,end_seconds", *rows]), "t.csv")
    found = read_labelled_videos(table, validation_share=0.2, seed=1)
    assert len(found.validation) == 6 and len(found.training) == 24
    assert {e.path for e in found.validation}.isdisjoint(e.path for e in found.training)
    assert {e.label for e in found.validation} == {0, 1}
    assert read_labelled_videos(table, validation_share=0.2, seed=1) == found
    assert read_labelled_videos(table, validation_share=0.2, seed=2) != found


def test_videos_without_labels(tmp_path: Path) -> None:
    found = read_labelled_videos(_files(tmp_path, "a.mp4", "x/b.mp4"), needs_labels=False)
    assert [e.label for e in found.training] == [None, None] and found.classes == ()
    assert dict(found.report.lines()) | {"training": "2 videos", "validation": "none"} == dict(found.report.lines())


def test_videos_without_labels_are_divided_by_folders_columns_or_a_share(tmp_path: Path) -> None:
    names = [f"{side}/{label}/{n}.mp4" for side in ("train", "val", "test") for label in "xy" for n in range(2)]
    folder = _files(tmp_path / "divided", *names)
    found = read_labelled_videos(folder, needs_labels=False)
    assert (len(found.training), len(found.validation), found.report.test) == (4, 4, 4)
    assert all(e.video_id.startswith("val/") and e.label is None for e in found.validation)
    lines = ["path,split", *(f"divided/{name},{name.split('/')[0]}" for name in names)]
    of_table = read_labelled_videos(_list(tmp_path, "\n".join(lines), "t.csv"), needs_labels=False)
    assert {e.path for e in of_table.validation} == {e.path for e in found.validation}
    plain = _files(tmp_path / "plain", *(f"{n}.mp4" for n in range(8)))
    drawn = read_labelled_videos(plain, needs_labels=False, validation_share=0.25)
    assert (len(drawn.training), len(drawn.validation)) == (6, 2)
    assert {e.path for e in drawn.training}.isdisjoint(e.path for e in drawn.validation)


def test_lists_of_labels_are_refused_where_none_are_used(tmp_path: Path) -> None:
    folder = _files(tmp_path / "videos", "a.mp4")
    with pytest.raises(ConfigurationError, match="expected no lists of labels, which are not used here; got some"):
        read_labelled_videos(folder, _list(tmp_path, "a 0\n"), needs_labels=False)


def test_what_does_not_fit_is_reported(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "x/a.mp4", "y/a.mp4", "b.mp4", "c.mp4")
    train = _list(tmp_path, "a 0\nb 1\nb 1\nb 0\nc 0\nno 1\n../secret 3\n/etc/passwd 0\nz/c 0\n")
    held_out = _list(tmp_path, "b 1\nc 2\n", "val.txt")
    report = read_labelled_videos(tmp_path / "videos", train, validation=held_out).report
    assert report.missing == ("no", "../secret", "/etc/passwd") and report.absent == ("3",)
    assert (report.ambiguous, report.repeated) == (("a",), ("b.mp4", "b.mp4", "c.mp4"))
    assert (report.relabelled, report.in_both) == (("b.mp4",), ("b.mp4", "c.mp4"))
    text = dict(report.lines())
    assert text["rows"] == "11, of which 4 fit"
    assert text["validation only"] == "1 class: 2" and text["missing"].startswith("3, no such file: no")
    assert text["names of classes"] == "none: 3 labels occur, 0 to 2, and are taken in this order"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a row for each video; got none"),
        ("no 0\nwhere 1\n", "found none of 2, such as no"),
        ("a 0\nb 0\n", "at least two classes for training; got 0 alone"),
        ("a 0\nb\n", "row 2: expected a label for b; got none"),
        ("a,0\nb,\n", "row 2: expected a label for b; got none"),
        ("path,label,split\na,0,train\nb,1,train\n", "rows for validation .* got train. Add some, or"),
        ("label,youtube_id,time_start,time_end\nx,a,ten,20\n", "row 2: expected seconds for time_start; got ten"),
        ('[{"name": 1}]', "JSON list"),
        ("[" * 100_000, "expected JSON"),
        ('{"a": ', "expected JSON"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    _files(tmp_path / "videos", "a.mp4", "b.mp4")
    with pytest.raises(InventoryError, match=message) as refused:
        read_labelled_videos(tmp_path / "videos", _list(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_other_refusals(tmp_path: Path) -> None:
    _files(tmp_path / "flat", "a.mp4")
    with pytest.raises(InventoryError, match="a folder for each class, or --labels"):
        read_labelled_videos(tmp_path / "flat")
    with pytest.raises(ConfigurationError, match="expected a training list beside --validation"):
        read_labelled_videos(tmp_path / "flat", validation=tmp_path / "val.txt")
    with pytest.raises(InventoryError, match="cannot be read"):
        read_labelled_videos(tmp_path / "flat", tmp_path / "none.txt")
    table = _list(tmp_path, "path,label\nx.mp4,a\ny.mp4,b\n", "t.csv")
    with pytest.raises(InventoryError, match="none of 2 exists"):
        read_labelled_videos(table)
    with pytest.raises(InventoryError, match="a column label"):
        read_labelled_videos(_list(tmp_path, "path\na.mp4\n", "p.csv"))


def test_a_split_without_validation_is_filled_by_a_share(tmp_path: Path) -> None:
    _files(tmp_path, *(f"train/{name}/{n}.mp4" for name in "ab" for n in range(2)))
    with pytest.raises(InventoryError, match=r"rows for validation .* got train"):
        read_labelled_videos(tmp_path)
    found = read_labelled_videos(tmp_path, validation_share=0.9)
    assert (found.report.training, found.report.validation) == ((1, 1), (1, 1))  # never all of a class


def test_cells_of_a_table_may_be_numbers_or_missing(tmp_path: Path) -> None:
    _files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    table = _list(tmp_path, "path,label,split\na.mp4,10,train\nb.mp4,9,val\nc.mp4,9,\n", "t.csv")
    with pytest.raises(InventoryError, match="two classes for training"):
        read_labelled_videos(table)
    table.write_text("path,label,split\na.mp4,10,train\nb.mp4,9,val\nc.mp4,9,train\n")
    assert read_labelled_videos(table).classes == ("9", "10")
    table.write_text("path,label\na.mp4,10\nb.mp4,\nc.mp4,9\n")
    with pytest.raises(InventoryError, match=r"a label for each video; got none for b.mp4, the 2\. video"):
        read_labelled_videos(table)


def test_rows_without_split_or_with_another_are_reported(tmp_path: Path) -> None:
    _files(tmp_path, *(f"{n}.mp4" for n in range(5)))
    rows = ("0.mp4,a,train", "1.mp4,b,Training", "2.mp4,a,val", "3.mp4,a,", "4.mp4,b,holdout")
    report = read_labelled_videos(_list(tmp_path, "\n".join(["path,label,split", *rows]), "t.csv")).report
    assert report.odd_splits == {"": 1, "holdout": 1} and not report.fits
    assert dict(report.lines())["other splits"].endswith("empty (1), holdout (1)")


def test_lists_of_ucf101_name_classes_by_number_and_by_folder(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "Apply/v_1.avi", "Apply/v_2.avi", "HandstandPushups/v_3.avi")
    train = _list(tmp_path, "Apply/v_1.avi 1\nHandstandPushups/v_3.avi 2\n")
    test = _list(tmp_path, "Apply/v_2.avi\n", "test.txt")
    names = _list(tmp_path, "1 Apply\n2 HandStandPushups\n", "classInd.txt")
    found = read_labelled_videos(tmp_path / "videos", train, validation=test, class_names=names)
    assert found.classes == ("Apply", "HandStandPushups") and found.report.validation == (1, 0)
    with pytest.raises(InventoryError, match=r"expected numbers as labels, as 1 in .*got Apply.*--class-names"):
        read_labelled_videos(tmp_path / "videos", train, validation=test)


def test_files_that_are_gone_are_left_out_without_labels_too(tmp_path: Path) -> None:
    _files(tmp_path, "a.mp4")
    found = read_labelled_videos(_list(tmp_path, "path\na.mp4\ngone.mp4\n", "t.csv"), needs_labels=False)
    assert len(found.training) == 1 and found.report.missing == ("gone.mp4",)
    assert dict(found.report.lines())["rows"] == "2, of which 1 fit"


def test_two_long_segments_of_a_file_keep_ids_of_their_own(tmp_path: Path) -> None:
    _files(tmp_path / "videos", "a.mp4")
    text = "id,label,start_seconds,end_seconds\na,x,100000.25,100001.25\na,y,100000.5,100001.25\n"
    found = read_labelled_videos(tmp_path / "videos", _list(tmp_path, text))
    assert [e.video_id for e in found.training] == ["a.mp4#100000.25-100001.25", "a.mp4#100000.5-100001.25"]
