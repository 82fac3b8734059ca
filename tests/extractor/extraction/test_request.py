from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from extractor.extraction.request import Request, RequestFields, with_fields
from schemas.config import Precision, Sampling
from schemas.errors import ConfigurationError


def test_calls_take_every_field_by_name() -> None:
    assert set(get_type_hints(RequestFields)) == {field.name for field in fields(Request)}


def test_choices_may_be_given_as_text() -> None:
    found = Request(sampling="dense", dtype="float16", outputs="clip, frame", weights=Path("a/b.pt"))  # type: ignore[arg-type]
    assert found.sampling is Sampling.DENSE and found.dtype is Precision.FLOAT16
    assert (found.outputs, found.weights) == (("clip", "frame"), "a/b.pt")
    assert Request(outputs=["frame"]) == Request(outputs=("frame",))  # type: ignore[arg-type]


def test_a_choice_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sampling among windows, dense, segments, clips; got 'all'"):
        Request(sampling="all")  # type: ignore[arg-type]


def test_fields_win_over_the_request() -> None:
    assert with_fields(None, {}) == Request()
    assert with_fields(Request(size=96, rate_hz=5), {"size": 64}) == Request(size=64, rate_hz=5)


def test_an_unknown_field_is_refused_with_what_was_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"got rate. Did you mean rate_hz\?"):
        with_fields(None, {"rate": 5})
    with pytest.raises(ConfigurationError, match=r"fields among model, weights, .*got zzz. Correct it"):
        with_fields(None, {"zzz": 5})
