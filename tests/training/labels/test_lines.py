"""Lists without a header: what is the path, and what the label."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import InventoryError
from training.labels.lines import rows_of_lines


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a b.mp4 3\nc.mp4 4", [("a b.mp4", "3"), ("c.mp4", "4")]),
        ("a 12.mp4 30 3\nc.mp4 30 4", [("a 12.mp4", "3"), ("c.mp4", "4")]),
        ("a b 30 3\nc 30 4", [("a b", "3"), ("c", "4")]),
        ("a b 3\nc 4", [("a b", "3"), ("c", "4")]),
        ("a.mp4 brushing hair\nc.mp4 run", [("a.mp4", "brushing hair"), ("c.mp4", "run")]),
        ("Doe, Jane.mp4 3\nRoe, Joe.mp4 4", [("Doe, Jane.mp4", "3"), ("Roe, Joe.mp4", "4")]),
        ("a.mp4,Putting x, then y\nc.mp4,Taking z", [("a.mp4", "Putting x, then y"), ("c.mp4", "Taking z")]),
        ('"a, b.mp4",3\nc.mp4,4', [("a, b.mp4", "3"), ("c.mp4", "4")]),
        ("74225;Moving [x] up, slowly\n1;Drinking", [("74225", "Moving [x] up, slowly"), ("1", "Drinking")]),
        ("x/a.MP4\t300\t3\r\ny\t300\t4\r\n", [("x/a.MP4", "3"), ("y", "4")]),
        ("run/a.mp4\nold/walk/b.mp4", [("run/a.mp4", "run"), ("old/walk/b.mp4", "walk")]),
        ("a 3\nb", [("a", "3"), ("b", "")]),
        ("", []),
    ],
)
def test_path_and_label_of_lines(text: str, rows: list[tuple[str, str]]) -> None:
    _, found = rows_of_lines(Path("list.txt"), text)
    assert [(row.names[0], row.label) for row in found] == rows


def test_numbers_of_rows_are_those_of_lines() -> None:
    assert [row.number for row in rows_of_lines(Path("list.txt"), "\na 1\n\n\nb 2\n")[1]] == [2, 5]


def test_a_path_alone_without_a_folder_has_no_class() -> None:
    with pytest.raises(InventoryError, match=r"row 2: expected a path and a label; got a path alone"):
        rows_of_lines(Path("list.txt"), "run/a.mp4\nb.mp4\n")
