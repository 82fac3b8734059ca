from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from schemas.wording import counted, first_refusal


@pytest.mark.parametrize(("count", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1000, "1000 videos")])
def test_counted_agrees_in_number(count: int, text: str) -> None:
    assert counted(count, "video") == text


def test_counted_takes_an_irregular_plural() -> None:
    assert [counted(count, "class", "classes") for count in (1, 3)] == ["1 class", "3 classes"]


class Model(BaseModel):
    share: float = Field(default=0.5, gt=0, le=1)
    count: int = Field(default=1, ge=1, lt=9)

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.count == self.share:
            raise ValueError("both are the same")
        return self


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"share": 0}, "SHARE was expected to be above 0.0, not 0"),
        ({"share": 2}, "SHARE was expected to be at most 1.0, not 2"),
        ({"count": 0}, "COUNT was expected to be at least 1, not 0"),
        ({"count": 9}, "COUNT was expected to be below 9, not 9"),
        ({"count": "x" * 99}, "COUNT: Input should be a valid integer, unable to parse string as an integer, not 'xx"),
        ({"count": 1, "share": 1}, "both are the same"),
    ],
)
def test_first_refusal_is_a_sentence(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model(**values)
    said = first_refusal(caught.value, str.upper)
    assert said.startswith(text) and len(said) < 180
