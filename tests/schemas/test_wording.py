from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from ray.exceptions import GetTimeoutError, RayActorError, RaySystemError

from schemas.wording import counted, first_refusal, in_a_line, what_to_mend


@pytest.mark.parametrize(("count", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1000, "1000 videos")])
def test_counted_agrees_in_number(count: int, text: str) -> None:
    assert counted(count, "video") == text


def test_counted_takes_an_irregular_plural() -> None:
    assert [counted(count, "class", "classes") for count in (1, 3)] == ["1 class", "3 classes"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    steps: int
    kind: Literal["long", "short"] = "long"

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.name == "none":
            raise ValueError("the name says nothing")
        return self


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    share: float = Field(default=0.5, gt=0, le=1)
    count: int = Field(default=1, ge=1, lt=9)
    parts: list[Part] = Field(default=[], max_length=2)

    @model_validator(mode="after")
    def _check(self) -> Any:
        if self.count == self.share:
            raise ValueError("both are the same")
        return self


NAMED = {"name": "a", "steps": 1}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"share": 0}, "SHARE: expected more than 0.0; got 0"),
        ({"share": 2}, "SHARE: expected at most 1.0; got 2"),
        ({"count": 0}, "COUNT: expected at least 1; got 0"),
        ({"count": 9}, "COUNT: expected less than 9; got 9"),
        ({"count": "six"}, "COUNT: expected a whole number; got 'six'"),
        ({"count": 1.5}, "COUNT: expected a whole number; got 1.5"),
        ({"share": "half"}, "SHARE: expected a number; got 'half'"),
        ({"count": 1, "share": 1}, "both are the same"),
        ({"counts": 1}, "COUNTS is not known: correct its name, or leave it out"),
        ({"parts": [{"name": "a"}]}, "PARTS.0.STEPS: expected a value; got none"),
        ({"parts": [{"name": "a", "stepz": 1}]}, "PARTS.0.STEPZ is not known: correct its name, or leave it out"),
        ({"parts": [{**NAMED, "kind": "wide"}]}, "PARTS.0.KIND: expected 'long' or 'short'; got 'wide'"),
        ({"parts": [{**NAMED, "name": "none"}]}, "PARTS.0: the name says nothing"),
        ({"parts": [NAMED] * 3}, "PARTS: List should have at most 2 items after validation, not 3"),
    ],
)
def test_first_refusal_is_a_sentence(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Model(**values)
    assert first_refusal(caught.value, str.upper) == text


class Wide(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: Model = Model()
    first: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0
    g: int = 0
    h: int = 0
    i: int = 0
    j: int = 0
    k: int = 0
    maybe: Part | None = None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"frist": 1}, "FRIST is not known: write FIRST, or leave it out"),
        ({"colour": 1}, "COLOUR is not known: correct its name, or leave it out"),
        (
            {"model": {"colour": 1}},
            "MODEL.COLOUR is not known: correct its name, or leave it out (known there: share, count, parts)",
        ),
        (
            {"model": {"parts": [{"stepz": 1}]}},
            "MODEL.PARTS.0.STEPZ is not known: write MODEL.PARTS.0.STEPS, or leave it out (known there: name, steps,"
            " kind)",
        ),
        ({"share": 1}, "SHARE is not known: write MODEL.SHARE, or leave it out"),
        (
            {"model": {"first": 1}},
            "MODEL.FIRST is not known: write FIRST, or leave it out (known there: share, count, parts)",
        ),
        (
            {"maybe": {**NAMED, "kinds": 1}},
            "MAYBE.KINDS is not known: write MAYBE.KIND, or leave it out (known there: name, steps, kind)",
        ),
    ],
)
def test_first_refusal_says_which_names_are_known(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Wide.model_validate(values)
    assert first_refusal(caught.value, str.upper, Wide) == text


def test_first_refusal_cuts_what_is_long() -> None:
    with pytest.raises(ValidationError) as caught:
        Model(count="x" * 999)
    assert first_refusal(caught.value).startswith("count: expected a whole number; got 'xxx")
    assert len(first_refusal(caught.value)) < 120


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (int, "x", "expected a whole number; got 'x'"),
        (Annotated[int, Field(ge=2)], "1", "expected at least 2; got '1'"),
    ],
)
def test_first_refusal_of_a_value_without_a_name(kind: Any, value: str, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert first_refusal(caught.value) == text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AttributeError("no such\x1b[2J thing\nand more"), "AttributeError: no such\\x1b[2J thing"),
        (ValueError(), "ValueError"),
        (OSError("x" * 999), f"OSError: {'x' * 291} ..."),
        (RaySystemError("No module named 'decord'\nTraceback"), "System error: No module named 'decord'"),
        (
            RaySystemError("died in \x1b[36mits task\x1b[39m\n  File a\nModuleNotFoundError: No module named 'av'\n"),
            "ModuleNotFoundError: No module named 'av'",
        ),
    ],
)
def test_an_error_is_toldin_a_line(error: Exception, line: str) -> None:
    assert in_a_line(error) == line


LACK = "Is there enough memory?"


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (ModuleNotFoundError("No module named 'av'"), False),
        (RaySystemError("No module named 'decord'\nTraceback"), False),
        (
            RaySystemError("died in its creation task\n  File a\nOSError: libGL.so.1: cannot open shared object file"),
            False,
        ),
        (RayActorError("The actor died unexpectedly before finishing this task.\n\tclass_name: Decoder"), True),
        (GetTimeoutError("Get timed out: some object(s) not ready."), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), True),
        (MemoryError(), True),
        (BlockingIOError(11, "Resource temporarily unavailable"), True),
    ],
)
def test_memory_is_blamed_only_where_it_may_be_the_cause(error: Exception, lacks: bool) -> None:
    assert what_to_mend(in_a_line(error), LACK) == (LACK if lacks else "Mend that, and run the command again")
