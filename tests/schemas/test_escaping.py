from __future__ import annotations

import random
import unicodedata

import pytest

from schemas.escaping import escaped, escaped_lines

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
