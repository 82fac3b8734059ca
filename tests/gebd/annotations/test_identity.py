from __future__ import annotations

import json

import numpy as np
import pytest

from gebd import Annotations, VideoAnnotation, load_annotations, tapos_starts
from gebd.annotations.identity import JoinRule, Spans, join_videos, pattern_advice
from schemas.errors import UsageError
from tests.gebd import made


def annotated(*videos, path=None):
    return Annotations([VideoAnnotation(one, 8.0, ((1.0,),), source_path=path) for one in videos])


@pytest.mark.parametrize(
    ("item", "annotation", "path", "rule"),
    [
        ("a/b.mp4", "a/b.mp4", None, JoinRule.ID),
        ("a/b.mp4", "b", None, JoinRule.STEM),
        ("b.mp4#2-4.5", "b", None, JoinRule.STEM),
        ("b.mp4#-4.5", "b", None, JoinRule.STEM),
        ("b.mp4#2-", "b", None, JoinRule.STEM),
        ("a/b.mp4", "x", "/data/k400/a/b.mkv", JoinRule.PATH),
        ("k400/val/a/b.mp4", "x", "a/b.mp4", JoinRule.PATH),
        ("val/a/b.mp4", "a/b", None, JoinRule.PATH),
        ("b.mp4", "x", "D:\\videos\\b.avi", JoinRule.PATH),
        ("yMK2zxDDs2A/s00004_0_100_7_931", "x", "yMK2zxDDs2A/s00004_0_100_7_931", JoinRule.PATH),
        ("v/s0.100-7.931.mp4", "s0.100-7.931", None, JoinRule.STEM),
        ("abseiling/3y1V7BNNBds_000000_000010.mp4", "3y1V7BNNBds", None, JoinRule.KINETICS),
        ("-_1V7BNNBds_000100_000110.mp4", "-_1V7BNNBds", None, JoinRule.KINETICS),
    ],
)
def test_an_annotation_finds_its_item(item, annotation, path, rule):
    found = join_videos([item, "other.mp4"], annotated(annotation, path=path))
    assert (dict(found.items), dict(found.rules)) == ({annotation: item}, {annotation: rule})
    assert found.unused == ("other.mp4",) and not found.missing and not found.ambiguous


@pytest.mark.parametrize(
    ("item", "annotation", "path"),
    [
        ("xa/b.mp4", "x", "a/b.mp4"),  # whole components only
        ("c/b.mp4", "x", "a/b.mp4"),
        ("3y1V7BNNBdsX_000000_000010.mp4", "3y1V7BNNBds", None),
        ("3y1V7BNNBds_0_10.mp4", "3y1V7BNNBds", None),
        ("B.mp4", "b", None),
    ],
)
def test_what_is_only_alike_is_not_joined(item, annotation, path):
    found = join_videos([item], annotated(annotation, path=path))
    assert found.missing == (annotation,) and found.unused == (item,) and not found.items


def test_an_annotation_that_fits_two_items_is_reported_and_not_guessed():
    found = join_videos(["a/v.mp4", "b/v.mp4", "w.mp4"], annotated("v", "w"))
    assert dict(found.items) == {"w": "w.mp4"}
    assert [str(one) for one in found.ambiguous] == ["v fits a/v.mp4, b/v.mp4"]
    assert not found.missing


def test_two_annotations_of_one_item_are_reported_unless_one_has_its_very_id():
    found = join_videos(["v.mp4"], annotated("v", "a/v"))
    assert not found.items and found.ambiguous[0].annotations == ("v", "a/v")
    found = join_videos(["v.mp4"], annotated("v", "v.mp4"))
    assert dict(found.items) == {"v.mp4": "v.mp4"}
    assert found.ambiguous[0].annotations == ("v", "v.mp4")


def test_files_of_one_name_in_many_folders_are_told_apart_quickly():
    items = [f"{k:05d}/video.mp4" for k in range(20_000)]
    found = join_videos(items, annotated(*(f"{k:05d}/video" for k in range(20_000))))
    assert len(found.items) == 20_000 and all(item.startswith(name[:5]) for name, item in found.items.items())


@pytest.mark.parametrize("pattern", [r"clip_(\d+)_", r"clip_(?P<id>\d+)_(\w)", r"(?<=clip_)\d+"])
def test_a_pattern_is_the_only_rule(pattern):
    found = join_videos(["x/clip_17_a.mp4", "18.mp4"], annotated("17", "18"), pattern=pattern)
    assert dict(found.items) == {"17": "x/clip_17_a.mp4"}
    assert found.rules["17"] is JoinRule.PATTERN and found.missing == ("18",)


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(UsageError, match=r"expected a regular expression; got .\(."):
        join_videos(["a"], annotated("a"), pattern="(")


@pytest.mark.parametrize(
    ("items", "names", "pattern"),
    [
        (["x/clip_17_a.mp4", "x/clip_18_a.mp4"], ["17", "18", "19"], r"clip_(\d+)_"),
        (["yt-3y1V7BNNBds-720p.mp4", "yt-QOlSCBRmfWY-1080p.mp4"], ["3y1V7BNNBds", "QOlSCBRmfWY"], "[A-Za-z0-9_-]{11}"),
        (["0017.mov", "x/0018.mov"], ["17", "18"], r"0*([1-9]\d*)"),
        (["a/cook.trim.mkv", "b/walk.trim.mkv"], ["cook", "walk"], r"([^/]+?)"),
    ],
)
def test_advice_is_a_pattern_that_joins(items, names, pattern):
    truth = annotated(*names)
    said = pattern_advice(join_videos(items, truth), truth)
    assert pattern in said and said.endswith(f"and joins 2 of {len(names)}")
    advised = said.split("'")[1]
    assert len(join_videos(items, truth, pattern=advised).items) == 2


def test_advice_without_a_name_in_common_is_an_example():
    truth = annotated("walk")
    said = pattern_advice(join_videos(["a.mp4"], truth), truth)
    assert said == r"for example, --pattern 'clip_(\d+)' finds 17 in x/clip_17.mp4"
    assert dict(join_videos(["x/clip_17.mp4"], annotated("17"), pattern=r"clip_(\d+)").items) == {"17": "x/clip_17.mp4"}


def spans(*pairs):
    return Spans(*np.array(pairs, dtype=float).T)


def test_a_stretch_joins_the_file_that_holds_it_beside_others():
    truth = annotated("v_s1", "v_s2", path="v/s1")
    found = join_videos(
        ["v.mp4", "w.mp4"], truth, starts_seconds={"v_s1": 3.0, "v_s2": 20.0}, spans=spans((0, 40), (0, 40))
    )
    assert dict(found.items) == {"v_s1": "v.mp4", "v_s2": "v.mp4"}
    assert dict(found.starts_seconds) == {"v_s1": 3.0, "v_s2": 20.0}
    assert not found.ambiguous and found.unused == ("w.mp4",)


def test_a_stretch_joins_the_segment_that_holds_it():
    items = ["v.mp4#0-11", "v.mp4#10-19", "v.mp4#18-40"]
    found = join_videos(
        items, annotated("s", path="v/s1"), starts_seconds={"s": 10.5}, spans=spans((0, 11), (10, 19), (18, 40))
    )
    assert dict(found.items) == {"s": "v.mp4#10-19"}


def test_a_stretch_with_a_file_of_its_own_needs_no_start():
    found = join_videos(["v/s1.mp4"], annotated("s", path="v/s1"), starts_seconds={"s": 43.0}, spans=spans((0, 8)))
    assert dict(found.items) == {"s": "v/s1.mp4"} and not found.starts_seconds
    assert found.rules["s"] is JoinRule.PATH


def test_starts_of_tapos_instances(tmp_path):
    path = tmp_path / "tapos.json"
    path.write_text(json.dumps({"a": made.instance_entry(50), "b": made.instance_entry(50) | {"raw": {}}}))
    assert tapos_starts(str(path)) == {"a": pytest.approx(43.46)}
    assert load_annotations(path)["a"].duration_seconds == 8.0
