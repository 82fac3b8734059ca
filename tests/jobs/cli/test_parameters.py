from __future__ import annotations

import inspect
from typing import Annotated

import pytest
import typer

from extractor.extraction.request import Request
from jobs.cli.parameters import (
    parse_bytes,
    parse_outputs,
    parse_part,
    request_options,
    shard_options,
    takes,
    work_options,
)
from jobs.cluster.options import Options
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("256MiB", 256 * 1024**2),
        ("2G", 2 * 10**9),
        ("2GB", 2 * 10**9),
        ("1.5 KiB", 1536),
        ("512", 512),
        ("7B", 7),
        (" 3tb ", 3 * 10**12),
        ("1kib", 1024),
    ],
)
def test_parse_bytes_reads_sizes_as_people_write_them(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0MiB", "0.2", "five", "1e9", "MiB", "1 000", "12XB", "1..5G", "nan", "5i"]
)
def test_parse_bytes_refuses_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a size; got .* Give one like 256MiB or 2GB"):
        parse_bytes(text)


def test_parse_part_counts_from_1() -> None:
    assert parse_part(None) == (0, 1)
    assert parse_part("1/1") == (0, 1)
    assert parse_part("2/8") == (1, 8)
    assert parse_part(" 8/8 ") == (7, 8)


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.5/2", "1 / 4 x"])
def test_parse_part_refuses_what_is_no_part(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a part, counted from 1; got .* Give one like 1/4"):
        parse_part(text)


def test_parse_outputs_splits_at_commas() -> None:
    assert parse_outputs(None) is None
    assert parse_outputs("clip, motion:4 ,frame,") == ("clip", "motion:4", "frame")
    assert parse_outputs("") == ()


def test_defaults_of_the_command_line_are_those_of_the_functions() -> None:
    assert request_options() == Request()
    assert work_options() == Options()
    assert Options(**shard_options()) == Options()


def test_layout_holds_what_was_given_alone() -> None:
    assert shard_options() == {"compression": "none"}
    assert shard_options(shard_bytes="1kB", limit=3) == {"compression": "none", "shard_bytes": 1000, "limit": 3}


def group(first: int = 1, second: Annotated[str, typer.Option("--second")] = "two") -> tuple[int, str]:
    return first, second


def test_takes_puts_a_group_in_the_place_of_its_parameter() -> None:
    @takes(built=group)
    def command(before: str, built: tuple[int, str], after: bool = False) -> object:
        """A docstring."""
        return before, built, after

    assert list(inspect.signature(command).parameters) == ["before", "first", "second", "after"]
    assert command.__annotations__["first"] is int
    assert command.__doc__ == "A docstring."
    assert command(before="x", first=5, second="y", after=True) == ("x", (5, "y"), True)


def test_takes_works_with_several_groups() -> None:
    def other(third: int = 3) -> int:
        return third * 2

    @takes(a=group, b=other)
    def command(a: tuple[int, str], b: int) -> object:
        return a, b

    assert command(first=1, second="s", third=4) == ((1, "s"), 8)
