"""Lists and names of classes from files, which may be anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from schemas.errors import InventoryError
from training.labels import reading
from training.labels.reading import read_class_list, read_class_names


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("run\nwalk\n", {0: "run", 1: "walk"}),
        ("\ufeffrun\r\nwalk\r\n", {0: "run", 1: "walk"}),
        ("1 run\n2 walk fast\n", {1: "run", 2: "walk fast"}),
        ("id,name\n1,walk\n0,run\n", {0: "run", 1: "walk"}),
        ("50 metre run\n100 metre run\n", {0: "50 metre run", 1: "100 metre run"}),
        ('["run", "walk"]', {0: "run", 1: "walk"}),
        ('{"walk": "1", "run": 0}', {0: "run", 1: "walk"}),
        ('{"1": "walk", "0": "run"}', {0: "run", 1: "walk"}),
    ],
)
def test_names_of_classes(tmp_path: Path, text: str, names: dict[int, str]) -> None:
    assert read_class_names(_file(tmp_path, text)) == names
    assert list(names) == list(read_class_names(_file(tmp_path, text)))


@pytest.mark.parametrize(
    "text", ["", "run\nrun\n", '{"run": []}', "[1, 2]", '{"a": 1, "b": 1}', '{"a": -1}', "[" * 10**6]
)
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InventoryError, match="expected") as refused:
        read_class_names(_file(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\x00", "expected UTF-8"),
        ("label,id\nx,a\ny\n", "row 3: expected 2 cells, as in the header; got 1"),
        ("label,id\nx, y,a\n", "row 2: expected 2 cells, as in the header; got 3"),
        (
            "label,youtube_id,time_start,time_end\nx,a,20,10\n",
            "row 2: expected an end after the start at 20 s; got 10 s",
        ),
        ("label,youtube_id,time_start,time_end\nx,a,nan,10\n", "row 2: expected seconds for time_start; got nan"),
        ("label,youtube_id,time_start,time_end\nx,a,1,1e30\n", "row 2: expected seconds for time_end; got 1e30"),
        ("a\0b 1\nc 2\n", "row 1: expected the name of a video"),
        ("label,id\nx,\n", "row 2: expected the name of a video"),
        ("label,path\n", "a row for each video; got none"),
        ('[{"id": "1"}]', "row 1: expected a label for 1; got none"),
        ('[{"id": ["1"], "label": "x"}]', "row 1: expected text for id and template"),
        ('[{"id": 1, "label": {"x": 1}}]', "row 1: expected text for id and template"),
        ('{"database": {}}', "a JSON list"),
        ("[" + "1" * 5000 + "]", "expected JSON"),
        (f"label,id\n{'x' * 200_000},a\n", "expected a csv"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InventoryError, match=message) as refused:
        read_class_list(_file(tmp_path, content))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_files_that_are_too_large_or_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES", 3)
    with pytest.raises(InventoryError, match="at most 256 MiB"):
        read_class_list(_file(tmp_path, "a 1\n"))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InventoryError, match="expected a file"):
            read_class_list(path)


def test_quoted_cells_may_contain_commas_and_lines(tmp_path: Path) -> None:
    listed = read_class_list(_file(tmp_path, 'label,id\n"a, b\nc",x\nd,y\n'))
    assert [(row.number, row.label, row.names) for row in listed.rows] == [(3, "a, b\nc", ("x",)), (4, "d", ("y",))]


def test_a_label_of_something_something_may_be_its_template_or_text(tmp_path: Path) -> None:
    rows = [{"id": 7, "template": "Moving [something] up"}, {"id": "8", "label": "Moving a cup"}]
    listed = read_class_list(_file(tmp_path, json.dumps(rows)))
    assert [(row.names, row.label) for row in listed.rows] == [
        (("7",), "Moving something up"),
        (("8",), "Moving a cup"),
    ]
