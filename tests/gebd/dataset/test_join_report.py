from __future__ import annotations

import numpy as np
import pytest

from gebd import GEBDDataset, evaluate, load_annotations
from tests.gebd import stores


def annotation(*raters, seconds=4.0, **changes):
    return {"duration_seconds": seconds, "boundaries_seconds": [list(rater) for rater in raters]} | changes


@pytest.fixture
def store(tmp_path):
    videos = {
        "a.mp4": stores.regular(4.0),
        "b.mp4": stores.regular(3.0, fps=25.0),
        "x/c.mp4": stores.regular(4.0),
        "y/c.mp4": stores.regular(4.0),
        "slow.mp4": stores.regular(4.0, hz=5.0),
        "alone.mp4": stores.regular(4.0),
    }
    return stores.make(tmp_path / "store", videos, failed=["bad.mp4"])


@pytest.fixture
def truth():
    return {
        "a": annotation([1.0, 2.0], [], [1.1], consistency=[0.6, 0.2, 0.5], consistency_average=0.43, fps=30.0),
        "b": annotation([0.5, 3.9, 4.5], fps=30.0, num_frames=120, consistency_average=0.2),
        "c": annotation([1.0]),
        "slow": annotation([1.0, 1.1, 3.1], seconds=4.1, consistency=[0.5]),
        "bad": annotation([1.0]),
        "gone": annotation([1.0]),
        "a.mp4": annotation([2.0]),
    }


def test_report_says_what_was_joined_and_what_was_not(store, truth):
    # a.mp4 has the very id; a, which also fits it, is not guessed to be the same
    del truth["a.mp4"]
    report = GEBDDataset(store, truth, rate_hz=10).join
    found = report.annotations
    assert report.videos == found.matched == 3
    assert dict(found.join.items) == {"a": "a.mp4", "b": "b.mp4", "slow": "slow.mp4"}
    assert (found.annotated, found.items, found.coverage) == (6, 6, 0.5)
    assert found.join.missing == ("bad", "gone")
    assert dict(found.failed) == {"bad": "bad.mp4 is broken"}
    assert [str(one) for one in found.join.ambiguous] == ["c fits x/c.mp4, y/c.mp4"]
    assert found.join.unused == ("x/c.mp4", "y/c.mp4", "alone.mp4")
    assert dict(found.other_duration) == {"b": (4.0, 3.0)}
    assert dict(found.other_fps) == {"b": (30.0, 25.0)}
    assert found.summary.empty_raters == 1 and found.summary.boundaries_outside == 1
    assert found.summary.low_consistency == 1
    assert (found.boundaries, found.unrepresented) == (8, 1)  # 3.9 s of a video that has frames up to 2.9 s


def test_an_annotation_with_the_very_id_wins_and_the_other_is_reported(store, truth):
    found = GEBDDataset(store, truth, rate_hz=10).join.annotations
    assert found.join.items["a.mp4"] == "a.mp4" and "a" not in found.join.items
    assert str(found.join.ambiguous[-1]) == "a, a.mp4 fits a.mp4"


def test_failed_videos_are_found_by_the_pattern_too(store):
    truth = {"A": annotation([1.0]), "BAD": annotation([1.0])} | {"a": annotation([1.0]), "bad": annotation([2.0])}
    found = GEBDDataset(store, truth, pattern=r"^(a|bad)\.").join.annotations
    assert dict(found.join.items) == {"a": "a.mp4"} and dict(found.failed) == {"bad": "bad.mp4 is broken"}
    assert found.join.missing == ("A", "BAD", "bad")


def test_report_says_what_the_sampling_is(store):
    report = GEBDDataset(store, rate_hz=10).join
    sampling = report.sampling
    assert report.annotations is None and sampling.usual_hz == pytest.approx(10)
    assert sampling.other_rate == 1
    assert (sampling.samples, sampling.held, sampling.invalid) == (40 * 4 + 30 + 39, 19, 0)
    assert GEBDDataset(store).join.sampling.held == 0


def test_text_has_everything_in_eighty_columns(store, truth):
    del truth["a.mp4"]
    long = {f"a_video_with_quite_a_long_name_{k:05d}": annotation([1.0]) for k in range(20)}
    text = str(GEBDDataset(store, truth | long, rate_hz=10).join)
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    for part in (
        "joined 3 of 26 annotated videos, coverage 0.115; by file stem 3",
        "without features 22: bad, gone, a_video_with_quite_a_long_name_00000 and 19 more",
        "extraction failed 1: bad (bad.mp4 is broken)",
        "without annotation 3: x/c.mp4, y/c.mp4, alone.mp4 (of 6 in the store)",
        "ambiguous 1: c fits x/c.mp4, y/c.mp4",
        "other duration 1: b (4 s annotated, 3 extracted)",
        "other fps 1: b (30 fps annotated, 25 extracted); joined by time",
        "raters without mark 1",
        "outside their video 1",
        "low consistency 1",
        "rate 10 Hz stored, another rate in 1 of 3 videos (5 to 10 Hz); sampled at 10 Hz",
        "held samples 19 of 109 (17.43%): no frame of their own in the store",
        "not representable 1 of 8 (12.50%) boundaries: no sample within 0.15 s",
        "perfect labels reach F1@0.05 0.889, average 0.889 (2 of 25 videos, coverage 0.080)",
        "missing ones counted F1@0.05 0.250",
    ):
        assert part in said, part
    assert "no boundary at all" not in said


def test_text_without_annotations_is_short(store):
    assert str(GEBDDataset(store, rate_hz=10).join).startswith("videos                  6\nrate ")


def test_perfect_labels_reach_everything_where_samples_are_dense(tmp_path):
    rng = np.random.default_rng(0)
    videos = {f"{k}.mp4": stores.regular(10.0) for k in range(10)}
    store = stores.make(tmp_path / "store", videos)
    truth = {
        str(k): annotation(
            np.sort(rng.choice(np.arange(1, 19), 6, replace=False) / 2 + rng.uniform(-0.05, 0.05)), seconds=10.0
        )
        for k in range(10)
    }
    found = GEBDDataset(store, truth, rate_hz=10).join.annotations
    assert found.unrepresented == 0 and found.ceiling.f1[0.05] == 1.0 == found.ceiling_of_all.average_f1
    with pytest.warns(UserWarning, match="below 5"):
        sparse = GEBDDataset(store, truth, rate_hz=0.8).join.annotations
    assert sparse.unrepresented > 20 and sparse.ceiling.f1[0.05] < 0.75


def test_neighbours_that_labels_cannot_part_cost_the_ceiling(tmp_path):
    store = stores.make(tmp_path / "store", {"a.mp4": stores.regular(4.0)})
    truth = {"a": annotation([1.0, 1.12, 3.0])}
    found = GEBDDataset(store, truth, rate_hz=10).join.annotations
    assert found.unrepresented == 0
    assert found.ceiling.counts.detected.tolist() == [2]
    assert found.ceiling.f1[0.05] == pytest.approx(0.8)


def test_ceiling_is_that_of_the_official_metric(store, truth):
    del truth["a.mp4"]
    found = GEBDDataset(store, truth, rate_hz=10).join.annotations
    perfect = {"a": [1.0, 2.0], "b": [0.5], "slow": [1.05, 3.1]}
    expected = evaluate(perfect, load_annotations(truth))
    assert found.ceiling_of_all.f1 == pytest.approx(expected.f1)
    assert found.ceiling_of_all.coverage == expected.coverage == 0.4


@pytest.mark.parametrize(("raters", "told"), [("best", 1), ("top2", 1), ("separate", 1), ("vote", 0), ("all", 0)])
def test_unknown_consistency_is_told_where_it_chooses_the_raters(tmp_path, raters, told):
    store = stores.make(tmp_path / "STORE", {"a.mp4": stores.regular(4.0)})
    truth = {"format": "gebd-annotations", "version": 1}
    truth["videos"] = {"a.mp4": {"duration_seconds": 4.0, "boundaries_seconds": [[1.0], [2.0]]}}
    report = str(GEBDDataset(store, truth, rate_hz=10, raters=raters).join)
    assert report.count("consistency not stated") == told
