"""Names of the columns of a user's table."""

from __future__ import annotations

import random

import pytest

from schemas.manifest import INVENTORY_COLUMNS, MANIFEST_COLUMNS
from schemas.table_columns import TableColumns, manifest_names, no_columns, shown_names


@pytest.mark.parametrize("name", sorted({*MANIFEST_COLUMNS, *INVENTORY_COLUMNS}))
def test_names_of_the_manifest_and_the_inventory_are_not_taken(name: str) -> None:
    assert manifest_names([name, "label"]) == {name: f"table_{name}", "label": "label"}


@pytest.mark.parametrize("seed", range(20))
def test_no_two_columns_are_called_alike(seed: int) -> None:
    state = random.Random(seed)
    endings = ("codec", "shard", "bytes", "label", "table")
    pool = sorted({"table_" * state.randint(0, 3) + ending for ending in endings for _ in range(3)})
    names = state.sample(pool, state.randint(1, len(pool)))
    called = manifest_names(names)
    assert list(called) == names
    assert len(set(called.values())) == len(names)
    ours = {*MANIFEST_COLUMNS, *INVENTORY_COLUMNS}
    assert not ours & set(called.values())
    assert all(called[name] == name for name in names if name not in ours)
    assert all(called[name].startswith("table_") and called[name].endswith(name) for name in names if name in ours)


def test_names_with_their_prefix_are_not_taken_from_another_column() -> None:
    called = manifest_names(["codec", "table_codec"])
    assert called == {"codec": "table_table_codec", "table_codec": "table_codec"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["label", "split"], "label, split"),
        (["a b", "größe"], "a b, größe"),
        (["a\nb", "\x1b[2J", "", " x"], r"'a\nb', '\x1b[2J', '', ' x'"),
        (["n" * 99], "n" * 40 + "..."),
        ([f"c{k}" for k in range(13)], ", ".join(f"c{k}" for k in range(10)) + " and 3 more"),
        ([], ""),
    ],
)
def test_names_are_shown_in_a_line(names: list[str], said: str) -> None:
    assert shown_names(names) == said


def test_summary_says_what_is_carried_under_which_name_and_what_is_not() -> None:
    assert TableColumns().summary() == ""
    columns = TableColumns(no_columns(()), {"label": "label", "codec": "table_codec"})
    assert columns.summary() == "columns carried into the manifest: label, codec (as table_codec)"
    columns = TableColumns(names={"label": "label"}, left_out=(("box", "list is no number"), ("", "it has no name")))
    assert columns.summary() == (
        "columns carried into the manifest: label; columns left out: box (list is no number), '' (it has no name)"
    )
