from __future__ import annotations

import pytest

from schemas.wording import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1000, "1000 videos")])
def test_counted_agrees_in_number(count: int, text: str) -> None:
    assert counted(count, "video") == text


def test_counted_takes_an_irregular_plural() -> None:
    assert [counted(count, "class", "classes") for count in (1, 3)] == ["1 class", "3 classes"]
