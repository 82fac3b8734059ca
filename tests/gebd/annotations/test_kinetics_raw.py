from __future__ import annotations

import copy
import math
import random
from itertools import pairwise
from typing import Any

import pytest

from gebd import convert
from gebd.annotations.kinetics_raw import rater_boundaries
from schemas.errors import UsageError
from tests.gebd import made
from tests.gebd.made import EVENT, RANGE, SHOT, mark


def both(*marks: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Boundaries of one rater by the official rules and by the corrected ones."""
    official, corrected = (rater_boundaries(list(marks), 10.0, "x", rules) for rules in ("official", "corrected"))
    return official, corrected


def test_boundaries_near_either_end_are_dropped() -> None:
    marks = [mark(0.29), mark(0.3), mark(9.7), mark(9.71), mark(0.0, 0.58)]
    assert both(*marks) == ([0.3, 9.7], [0.3, 9.7])
    assert rater_boundaries(marks, 10.0, "x", "midpoints") == [0.29, 0.29, 0.3, 9.7, 9.71]


def test_boundaries_of_range_and_event_are_midpoints() -> None:
    assert both(mark(2.0, 4.0, RANGE), mark(6.0, 7.0)) == ([3.0, 6.5], [3.0, 6.5])


def test_boundaries_overlapping_ranges_are_merged() -> None:
    assert both(mark(1.0, 3.0, RANGE), mark(3.0, 4.0, RANGE), mark(3.5, 3.6, RANGE)) == ([2.5], [2.5])


def test_boundaries_inside_a_widened_range_are_removed() -> None:
    assert both(mark(2.0, 4.0, RANGE), mark(1.75), mark(5.0), mark(4.25, label=SHOT)) == ([3.0, 5.0], [3.0, 5.0])


def test_boundaries_of_two_too_close_the_later_goes() -> None:
    for label in (EVENT, SHOT):
        marks = [mark(time, label=label) for time in (2.5, 1.0, 1.5, 2.0)]
        assert both(*marks) == ([1.0, 2.0], [1.0, 2.0])


def test_boundaries_event_near_a_shot_goes() -> None:
    assert both(mark(2.0), mark(2.5, label=SHOT), mark(8.0, label=SHOT)) == ([2.5, 8.0], [2.5, 8.0])


def test_defect_mark_after_a_removed_one_is_skipped() -> None:
    marks = [mark(2.0, 6.0, RANGE), mark(3.0), mark(5.0)]
    assert both(*marks) == ([4.0, 5.0], [4.0])


def test_defect_last_shot_is_not_compared_with_events() -> None:
    assert both(mark(2.0), mark(2.5, label=SHOT)) == ([2.0, 2.5], [2.5])


def test_defect_ranges_are_merged_in_stored_order() -> None:
    official, corrected = both(mark(5.0, 6.0, RANGE), mark(1.0, 2.0, RANGE), mark(5.5, 7.0, RANGE))
    assert corrected == [1.5, 6.0]
    assert official == [6.0]  # 5 to 6 swallows 1 to 2, although they do not touch


def as_told(marks: list[dict[str, Any]], duration: float, d: float) -> list[float]:
    """The official preparation written down as it walks its lists: what is removed shortens the list walked."""
    kept = [m for m in marks if d <= (m["start_time"] + m["end_time"]) / 2 <= duration - d]
    middle = [(m["start_time"] + m["end_time"]) / 2 for m in kept]
    events = [t for m, t in zip(kept, middle, strict=True) if m["label"].split(" ")[0] == "EventChange"]
    ranges = [m for m in kept if m["label"].startswith("ShotChangeGradualRange:")]
    shots = [
        t for m, t in zip(kept, middle, strict=True) if m not in ranges and m["label"].split(" ")[0] != "EventChange"
    ]
    first, last = [m["start_time"] for m in ranges], [m["end_time"] for m in ranges]
    i = 0
    while i + 1 < len(first):
        while last[i] >= first[i + 1]:
            first.remove(first[i + 1])
            last.remove(last[i] if last[i] <= last[i + 1] else last[i + 1])
            if i + 1 == len(first):
                break
        i += 1
    for times in (events, shots):
        for time in times:  # shortened while it is walked, on purpose
            for a, b in zip(first, last, strict=True):
                if a - d <= time <= b + d:
                    times.remove(time)
                    break
        times.sort()
        i = 0
        while i + 1 < len(times):
            if times[i + 1] - times[i] <= 2 * d:
                times.pop(i + 1)
            else:
                i += 1
    for shot in shots[: len(shots) - 1]:
        events = [event for event in events if not abs(shot - event) <= 2 * d]
    return sorted(events + shots + [(a + b) / 2 for a, b in zip(first, last, strict=True)])


def test_official_rules_on_careless_raters() -> None:
    rng = random.Random(0)
    differ = 0
    for _ in range(5000):
        duration = rng.choice([3.0, 6.0, 10.0, rng.uniform(1, 10)])
        marks = made.raw_marks(rng, duration)
        official = rater_boundaries(marks, duration, "x", "official")
        assert official == as_told(copy.deepcopy(marks), duration, 0.3)
        differ += official != rater_boundaries(marks, duration, "x", "corrected")
    assert differ > 100, "the defects were met"


def test_corrected_rules_leave_nothing_that_they_forbid() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        marks = made.raw_marks(rng, 10.0)
        inside = [m for m in marks if 0.3 <= (m["start_time"] + m["end_time"]) / 2 <= 9.7]
        ranges = [(m["start_time"], m["end_time"]) for m in inside if m["label"] == RANGE]
        shots = rater_boundaries([m for m in inside if m["label"] != EVENT], 10.0, "x", "corrected")
        everything = rater_boundaries(marks, 10.0, "x", "corrected")
        assert set(shots) <= set(everything)
        events = [time for time in everything if time not in shots]
        assert all(b - a > 0.6 for a, b in pairwise(events))
        assert not any(a - 0.3 <= event <= b + 0.3 for event in events for a, b in ranges)
        assert everything == rater_boundaries(rng.sample(marks, len(marks)), 10.0, "x", "corrected")


def test_convert_gives_the_processed_schema() -> None:
    raters = ([mark(1.0), mark(4.99)], [], [mark(9.5, 9.9, SHOT)])
    found = convert({"3y1V7BNNBds": made.raw_entry(*raters, num_frames=240)})
    assert found.left_out == {}
    assert found.videos == {
        "3y1V7BNNBds": {
            "num_frames": 240,
            "path_video": "abseiling/3y1V7BNNBds.mp4",
            "fps": 25.0,
            "video_duration": 10.0,
            "path_frame": "abseiling/3y1V7BNNBds",
            "f1_consis": [0.5, 0.6, 0.7],
            "f1_consis_avg": 0.6,
            "substages_myframeidx": [[25.0, float(math.floor(4.99 * 25))], [], [239.0]],
            "substages_timestamps": [[1.0, 4.99], [], [9.7]],
        }
    }
    frames = found.videos["3y1V7BNNBds"]["substages_myframeidx"]
    assert all(type(frame) is float for rater in frames for frame in rater)


def test_convert_says_what_it_leaves_out() -> None:
    three = ([mark(1.0)],) * 3
    raw = {
        "good": made.raw_entry(*three),
        "two": made.raw_entry(*three[:2]),
        "no fps": made.raw_entry(*three, fps=None),
        "frames": made.raw_entry(*three, num_frames="many"),
        "agreement": {key: value for key, value in made.raw_entry(*three).items() if key != "f1_consis_avg"},
    }
    found = convert(raw)
    assert list(found.videos) == ["good"]
    assert found.left_out == {
        "two": "marked by 2 raters, fewer than 3",
        "no fps": "lacks fps",
        "frames": "lacks num_frames",
        "agreement": "lacks f1_consis_avg",
    }
    assert list(convert(raw, rules="midpoints").videos) == ["good", "two"]


def test_convert_refuses_what_is_not_raw() -> None:
    with pytest.raises(UsageError, match=r"raw Kinetics-GEBD format; got kinetics_processed"):
        convert({"a": made.processed_entry([1.0], [2.0], [])})
    with pytest.raises(UsageError, match="rules: expected one of official, corrected, midpoints"):
        convert({"a": made.raw_entry([mark(1.0)])}, rules="best")
    with pytest.raises(UsageError, match="a: f1_consis: expected a list"):
        convert({"a": made.raw_entry(*([mark(1.0)],) * 3, f1_consis=None)})
    with pytest.raises(UsageError, match="f1_consis: expected 3 numbers; got 1"):
        convert({"a": made.raw_entry(*([mark(1.0)],) * 3, f1_consis=[1.0])})
    with pytest.raises(UsageError, match=r"rater 1: start_time: expected a number; got None"):
        convert({"a": made.raw_entry([mark(1.0)], [{"label": EVENT, "end_time": 1.0}], [])})
