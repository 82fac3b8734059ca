from __future__ import annotations

import json
import random
import shlex
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from schemas.escaping import escaped, escaped_lines, in_command, plain

HOSTILE = ["\x1b]0;title\x07", "\x9b31m", "\x7f", "\r", "\b", "\u202e", "\u2066", "\u2028", "\u200f", "\udcff"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_moves_the_cursor_or_reorders_is_shown_by_its_escape(text: str) -> None:
    for shown in (escaped(f"a{text}b"), escaped_lines(f"a{text}b")):
        assert shown.isprintable() and shown.startswith("a\\") and shown.endswith("b")
        assert shown.encode().decode("unicode_escape") == f"a{text}b"


def test_line_breaks_and_tabs_are_kept_where_they_are_meant() -> None:
    assert escaped("a\nb\tc") == r"a\nb\tc"
    assert escaped_lines("a\nb\tc") == "a\nb\tc"


def test_letters_of_all_scripts_are_left_alone() -> None:
    for text in ("plain/name #2.mp4", "Ünïcödé", "映像", "می‌خواهم", "न‍", "👩‍👩‍👧", "a\u202fb\xa0c", r"back\slash"):
        assert escaped(text) == escaped_lines(text) == text
    assert escaped(3) == "3"


def test_no_text_holds_a_control_character_afterwards() -> None:
    letters = random.Random(5)
    for _ in range(200):
        text = "".join(chr(letters.choice([letters.randrange(0x2100), letters.randrange(0x110000)])) for _ in range(50))
        found = {unicodedata.category(letter) for letter in escaped(text)}
        assert found.isdisjoint({"Cc", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize("name", ["a b #1", "it's; rm -rf ~", "$(id)", "x"])
def test_a_name_in_a_command_is_one_argument(name: str) -> None:
    assert shlex.split(f"msnet resume {in_command(Path(name))}") == ["msnet", "resume", name]


def test_values_become_plain() -> None:
    content = {"a": np.float32(1.5), "b": float("nan"), "c": (Path("x"), pd.NA, pd.NaT), 4: np.arange(2)}
    assert plain(content) == {"a": 1.5, "b": None, "c": ["x", None, None], "4": [0, 1]}


def test_bytes_of_a_path_that_are_no_text_do_not_break_parsers() -> None:
    found = plain({"a\udc80": [Path("/b\udcff"), "\u00e9\U0001f600"]})
    assert found == {"a\\udc80": ["/b\\udcff", "\u00e9\U0001f600"]}
    json.dumps(found, ensure_ascii=False).encode()
