from __future__ import annotations

import unicodedata

import pytest

from jobs.stores.exporting.names import Names, OwnIds, is_plain, safe_name
from schemas.errors import UsageError
from tests.jobs.stores.test_export import HOSTILE


@pytest.mark.parametrize(
    "video_id", ["a.mp4", "cats/one.mp4", "cats & dogs/é #1 (2).mp4", "猫.mp4", "-rf", "a.mp4#t=3", "_a", "zarr.json5"]
)
def test_plain_ids_are_names(video_id):
    assert is_plain(video_id)
    assert Names()[video_id] == video_id


@pytest.mark.parametrize(
    "video_id",
    [
        *("", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a/.b.tmp", " a", "a ", "a.", "a\\b", "a\0"),
        *(
            "a:b",
            "a*",
            'a"',
            "con",
            "NUL.mp4",
            "b/Com1.avi",
            "a\n",
            "a\x1b[2J",
            "a\u202eb",
            "a" * 181,
            "a/" * 600 + "a",
        ),
        *("a/" * 600 + "a", "_names/a", "_NAMES/a", "a/zarr.json", unicodedata.normalize("NFD", "é.mp4"), "\udcff.mp4"),
    ],
)
def test_other_ids_get_a_hash_elsewhere(video_id):
    assert not is_plain(video_id)
    assert Names()[video_id] == f"_names/{safe_name(video_id)}"


def test_safe_names_differ_where_ids_do_and_case_is_not_told():
    names = [safe_name(video_id).lower() for video_id in HOSTILE]
    assert len(set(names)) == len(HOSTILE)
    assert all(len(name) < 100 and name.replace("-", "").isalnum() and name.isascii() for name in names)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.mp4", "A.mp4"), ("Straße", "STRASSE"), ("a", "a/b"), ("a/b", "A"), ("ﬁ", "fi")],
)
def test_the_second_of_two_ids_that_a_file_system_may_confuse_moves(first, second):
    names = Names()
    assert (names[first], names[second]) == (first, f"_names/{safe_name(second)}")
    assert (names[first], names[second]) == (first, f"_names/{safe_name(second)}")  # and stays there


def test_an_ending_counts():
    names = Names(".safetensors", taken=("index.json",))
    assert names["a"] == "a"
    assert names["a/b"] == "a/b"  # beside a.safetensors
    assert names["a.safetensors/b"] != "a.safetensors/b"
    assert names["index.json"] == "index.json"
    assert Names(taken=("index.json",))["Index.json"] != "Index.json"


def test_names_of_earlier_calls_stay():
    earlier = Names()
    before = {video_id: earlier[video_id] for video_id in ("A", "a", "../b")}
    names = Names()
    names.keep({video_id: before[video_id] for video_id in ("a", "../b", "A")}, "index.json")
    assert {video_id: names[video_id] for video_id in before} == before
    assert "A" in names and "B" not in names


@pytest.mark.parametrize("given", [{"a": "b"}, {"a": "../a"}, {"../a": "../a"}, {"a": "a", "A": "A"}, {"a": ""}])
def test_names_that_are_not_ours_are_refused(given):
    with pytest.raises(UsageError, match="index was altered: it calls"):
        Names().keep(given, "index")


def test_ids_as_values_are_left_as_they_are():
    ids = OwnIds()
    ids.keep({"../a": "../a"}, "record")
    assert "../a" in ids and "b" not in ids and ids["b"] == "b" and "b" in ids
