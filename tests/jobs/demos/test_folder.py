"""The folder of a demonstration: what it remembers, and what it refuses."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from jobs.demos.folder import begin_demo
from schemas.errors import ConfigurationError

SEED_0 = {"videos": 6, "seed": 0}


def test_begin_demo_names_all_that_differs(tmp_path: Path) -> None:
    begin = functools.partial(begin_demo, tmp_path / "demo")
    begin(SEED_0)
    begin(SEED_0)
    with pytest.raises(ConfigurationError, match=r"\(videos: expected 6, got 4; seed: expected 0, got 8\)"):
        begin({"videos": 4, "seed": 8})
    with pytest.raises(ConfigurationError, match="training_videos: expected None, got 60"):
        begin({"training_videos": 60, "seed": 0})


def test_begin_demo_takes_ranges_as_they_are_read_back(tmp_path: Path) -> None:
    for _ in range(2):
        begin_demo(tmp_path, {"seconds": (8.0, 12.0)})


@pytest.mark.parametrize("content", ["", "[1]", "null", json.dumps("seed"), "{"])
def test_begin_demo_refuses_a_record_that_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(ConfigurationError, match="is not what a demonstration wrote"):
        begin_demo(tmp_path, SEED_0)
