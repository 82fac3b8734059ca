from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gebd import (
    AnnotationFormat,
    Annotations,
    VideoAnnotation,
    evaluate,
    load_annotations,
    load_predictions,
    write_annotations,
)
from gebd.annotations.kinetics_raw import convert_raw
from schemas.errors import UsageError
from tests.gebd import made

PROCESSED = {
    "3y1V7BNNBds": made.processed_entry([1.0, 2.5], [], [2.4], f1_consis=[0.5, 0.25, 0.75]),
    "-odd_id0000": made.processed_entry([0.1], [0.2], [0.3], [10.5], duration=10.15, fps=29.97, f1_consis_avg=0.2),
}
MARKS = ([made.mark(1.0), made.mark(3.0, 4.0, made.RANGE)], [made.mark(2.0)], [])
RAW = {"3y1V7BNNBds": made.raw_entry(*MARKS), "two raters": made.raw_entry(*MARKS[:2])}
CSV = """video_id,duration_seconds,rater,time_seconds,fps,num_frames,consistency_average,consistency,source_path
a.mp4,10.0,ann,1.5,25,250,0.5,0.4,x/a.mp4
a.mp4,10.0,bob,,25,250,0.5,0.6,x/a.mp4
a.mp4,10.0,ann,0.75,25,250,0.5,0.4,x/a.mp4
b.mp4,3.5,ann,9,30,105,,,
"""


def test_load_kinetics_processed_from_dictionary_pickle_and_json(tmp_path: Path) -> None:
    numpy_like = made.with_numpy(PROCESSED)
    (tmp_path / "old.pkl").write_bytes(made.as_old_numpy(numpy_like))
    (tmp_path / "new.pkl").write_bytes(pickle.dumps(numpy_like, 4))
    (tmp_path / "named_wrongly.txt").write_text(json.dumps(PROCESSED))
    expected = load_annotations(PROCESSED)
    assert expected["3y1V7BNNBds"] == VideoAnnotation(
        "3y1V7BNNBds",
        10.0,
        ((1.0, 2.5), (), (2.4,)),
        fps=25.0,
        num_frames=250,
        rater_frames=((25.0, 62.0), (), (60.0,)),
        consistency=(0.5, 0.25, 0.75),
        consistency_average=0.5,
        source_path="abseiling/3y1V7BNNBds.mp4",
    )
    for source in (numpy_like, *tmp_path.iterdir()):
        found = load_annotations(source)
        assert dict(found) == dict(expected) and list(found) == list(PROCESSED)
        assert found.format is AnnotationFormat.KINETICS_PROCESSED and found.left_out == {}
        assert type(found["3y1V7BNNBds"].rater_seconds[0][0]) is float
    assert load_annotations(expected) is expected


def test_load_kinetics_raw_gives_what_its_conversion_gives(tmp_path: Path) -> None:
    (tmp_path / "raw.pkl").write_bytes(made.as_old_numpy(made.with_numpy(RAW)))
    found = load_annotations(tmp_path / "raw.pkl")
    assert found.format is AnnotationFormat.KINETICS_RAW
    assert found.left_out == {"two raters": "marked by 2 raters, fewer than 3"}
    assert dict(found) == dict(load_annotations(convert_raw(RAW).videos))
    assert found["3y1V7BNNBds"].rater_seconds == ((1.0, 3.5), (2.0,), ())
    assert list(load_annotations(RAW, rules="midpoints")) == list(RAW)


def test_load_tapos_in_both_schemas() -> None:
    name = "yMK2zxDDs2A_s00004_0_100_7_931"
    found = load_annotations({name: made.instance_entry(79, 120)})
    assert found.format is AnnotationFormat.TAPOS_INSTANCES
    assert found[name].rater_seconds == ((79 / 25.0, 120 / 25.0),) and found[name].frames() == ((79.0, 120.0),)
    assert (found[name].duration_seconds, found[name].consistency_average) == (8.0, None)
    assert found[name].source_path == "yMK2zxDDs2A/s00004_0_100_7_931"
    alike = made.processed_entry([3.16], f1_consis=[1.0], f1_consis_avg=1.0, substages_myframeidx=[[79]])
    found = load_annotations({name: alike})
    assert found.format is AnnotationFormat.TAPOS_KINETICS
    assert found[name].frames() == ((79.0,),) and found[name].consistency == (1.0,)


def test_load_csv(tmp_path: Path) -> None:
    for newline in ("\n", "\r\n"):
        path = tmp_path / "table.csv"
        path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", newline).encode())
        found = load_annotations(path)
        assert found.format is AnnotationFormat.CSV
        assert found["a.mp4"] == VideoAnnotation(
            "a.mp4", 10.0, ((1.5, 0.75), ()), 25.0, 250, None, (0.4, 0.6), 0.5, "x/a.mp4"
        )
        assert found["b.mp4"] == VideoAnnotation("b.mp4", 3.5, ((9.0,),), 30.0, 105)
    path.write_text("video_id,duration_seconds,time_seconds\na,5,1\na,5,2\n")
    assert load_annotations(path)["a"] == VideoAnnotation("a", 5.0, ((1.0, 2.0),))


@pytest.mark.parametrize("source", [PROCESSED, RAW, {"t": made.instance_entry(7)}])
def test_written_json_is_loaded_to_the_last_bit(source: dict[str, Any], tmp_path: Path) -> None:
    expected = write_annotations(source, tmp_path / "annotations.json")
    found = load_annotations(tmp_path / "annotations.json")
    assert dict(found) == dict(expected) and found.format is AnnotationFormat.PLAIN


def test_plain_form_takes_little_and_keeps_what_is_not_known(tmp_path: Path) -> None:
    found = load_annotations({"a": {"duration_seconds": 5, "boundaries_seconds": [[1], []]}})
    assert found["a"] == VideoAnnotation("a", 5.0, ((1.0,), ()))
    with pytest.raises(UsageError, match="the annotation of a: expected fps"):
        found["a"].frames()
    odd = {"a": made.processed_entry([1.0], [2.0], f1_consis=[0.5, math.nan], f1_consis_avg=math.nan)}
    write_annotations(odd, tmp_path / "odd.json")
    loaded = load_annotations(tmp_path / "odd.json")["a"]
    assert loaded.consistency is not None and loaded.consistency[0] == 0.5 and math.isnan(loaded.consistency[1])
    assert loaded.consistency_average is None


def test_frames_are_counted_as_the_official_file_counts() -> None:
    video = VideoAnnotation("a", 10.0, ((0.0, 0.99, 9.999), (12.0,)), fps=10.0, num_frames=95)
    assert video.frames() == ((0.0, 9.0, 94.0), (94.0,))


def test_summary_counts_what_is_odd() -> None:
    summary = load_annotations(PROCESSED).summary()
    assert (summary.videos, summary.boundaries, summary.raters_least, summary.raters_most) == (2, 7, 3, 4)
    assert (summary.empty_raters, summary.boundaries_outside, summary.low_consistency) == (1, 1, 1)
    assert (summary.videos_without_boundary, summary.left_out) == (0, 0)
    assert load_annotations(RAW).summary().left_out == 1
    assert load_annotations({"a": made.processed_entry([], [], [])}).summary().videos_without_boundary == 1


WRONG: dict[str, tuple[Any, str]] = {
    "no video": ({}, "expected annotations of videos; got none"),
    "unknown format": ({"a": {"boxes": []}}, r"for every video; got boxes\. Convert it"),
    "a list": ({"a": {"boundaries_seconds": [[]]}, "b": [1.0]}, "b: expected a dictionary"),
    "predictions": ({"a": [1.0], "b": []}, r"as predictions have\. .* evaluate PREDICTIONS ANNOTATIONS"),
    "predictions as arrays": ({"a": np.ones(2)}, "as predictions have"),
    "number as id": ({1: {}}, "dictionary with text as keys"),
    "no duration": (
        {"a": {"fps": 25.0, "num_frames": 9, "substages_timestamps": [[1.0], []]}},
        "annotation of a: expected video_duration",
    ),
    "no rater in any": (
        {"a": {"duration_seconds": 9, "boundaries_seconds": []}},
        "got none of 1: .* of a: .* one rater",
    ),
    "duration zero": ({"a": made.processed_entry([1.0], video_duration=0.0)}, "a duration above 0 seconds"),
    "fps zero": ({"a": made.instance_entry(7, fps=25.0) | {"myfps": 0}}, "fps above 0"),
    "boundary is text": ({"a": made.processed_entry([1.0]) | {"substages_timestamps": [["1"]]}}, "a number; got '1'"),
    "boundary is NaN": (
        {"a": made.processed_entry([1.0]) | {"substages_timestamps": [[math.nan]]}},
        "finite boundaries",
    ),
    "boundary is true": (
        {"a": made.processed_entry([1.0]) | {"substages_timestamps": [[True]]}},
        "a number; got True",
    ),
    "boundary is huge": (
        {"a": made.processed_entry([1.0]) | {"substages_timestamps": [[10**400]]}},
        "expected a number",
    ),
    "half a frame": ({"a": made.processed_entry([1.0], num_frames=2.5)}, "a whole number; got 2.5"),
    "frames do not fit": ({"a": made.processed_entry([1.0], substages_myframeidx=[[]])}, "one frame number a boundary"),
    "agreement does not fit": ({"a": made.processed_entry([1.0], f1_consis=[])}, "one consistency a rater"),
    "flat": (
        {"a": {"duration_seconds": 9, "boundaries_seconds": [1.5]}},
        r"list for every rater; got numbers\. Nest them, like \[\[1\.5, 4\.0\]\]",
    ),
    "version": ({"format": "gebd-annotations", "version": 9, "videos": {}}, "expected version 1; got 9"),
}


UNUSABLE = {
    "fps zero": (made.processed_entry([1.0]) | {"fps": 0.0}, "expected an fps above 0"),
    "fps NaN": (made.processed_entry([1.0]) | {"fps": math.nan}, "expected an fps above 0"),
    "no rater": (made.processed_entry(), "expected at least one rater"),
    "no length": (made.processed_entry([1.0], video_duration=0.0), "expected a duration above 0 seconds"),
    "boundary NaN": (made.processed_entry([1.0], substages_timestamps=[[math.nan]]), "expected finite boundaries"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_value_that_no_video_can_have_costs_that_video_alone(what: str) -> None:
    entry, reason = UNUSABLE[what]
    found = load_annotations({"good": made.processed_entry([1.0], [2.0]), "bad": entry})
    assert list(found) == ["good"] and list(found.left_out) == ["bad"]
    assert found.left_out["bad"].startswith(reason)


@pytest.mark.parametrize("change", [{"fps": 0.0}, {"fps": math.nan}, {"video_duration": math.inf}, {"num_frames": 0}])
def test_impossible_values_of_raw_annotations_cost_that_video_alone(change: dict[str, Any]) -> None:
    found = load_annotations({"good": made.raw_entry(*MARKS), "bad": made.raw_entry(*MARKS, **change)})
    assert list(found) == ["good"] and found.left_out == {"bad": f"lacks {next(iter(change))}"}


LISTS: dict[str, tuple[Any, VideoAnnotation]] = {
    "as Kinetics-GEBD": (
        {"a": {"fps": 25.0, "num_frames": "240", "path_video": "x/a.mp4", "video_duration": 9.7}},
        VideoAnnotation("a", 9.7, (), fps=25.0, num_frames=240, source_path="x/a.mp4"),
    ),
    "without length": (
        {"a": {"fps": np.float64(25), "num_frames": 240, "path": "x/a.mp4"}},
        VideoAnnotation("a", 9.6, (), fps=25.0, num_frames=240, source_path="x/a.mp4"),
    ),
    "seconds alone": ({"a": 9.6}, VideoAnnotation("a", 9.6, ())),
    "plain": ({"a": {"duration_seconds": 9.6, "fps": 25}}, VideoAnnotation("a", 9.6, (), fps=25.0)),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_without_marks_are_annotations_without_raters(what: str, tmp_path: Path) -> None:
    content, expected = LISTS[what]
    found = write_annotations(content, tmp_path / "list.json")
    assert found.format is AnnotationFormat.LIST and dict(found) == {"a": expected}
    again = load_annotations(tmp_path / "list.json")
    assert again.format is AnnotationFormat.LIST and dict(again) == dict(found)
    with pytest.raises(UsageError, match="expected raters' marks to evaluate by; got none for 1 of 1 videos, a among"):
        evaluate({"a": [1.0]}, found)


def test_lists_leave_out_what_has_no_length_and_tables_can_be_lists(tmp_path: Path) -> None:
    found = load_annotations({"a": {"fps": 0, "num_frames": 240}, "b": {"fps": 24, "num_frames": 240}})
    assert list(found) == ["b"] and found.left_out["a"].startswith("expected an fps above 0")
    (tmp_path / "a.csv").write_text("video_id,fps,num_frames,source_path\na,24,240,x/a.mp4\nb,24,48,\n")
    found = load_annotations(tmp_path / "a.csv")
    assert found.format is AnnotationFormat.LIST
    assert [video.duration_seconds for video in found.values()] == [10.0, 2.0]
    assert found["a"].source_path == "x/a.mp4"


def captioned(name: str, *times: float, end: float = 9.97) -> list[dict[str, Any]]:
    after = [*times[1:], end]
    return [
        {"boundary_id": f"{name}_{n}{who}", "timestamp": time, "next_timestamp": after[n], "subject": "a cook"}
        for n, time in enumerate(times)
        for who in "AB"
    ]


def test_geb_plus_is_annotations_of_one_rater_and_no_predictions(tmp_path: Path) -> None:
    content = {"empty": [], "SIbQ1aJ8eLM": captioned("SIbQ1aJ8eLM", 3.5, 5.25), "x": captioned("x", 1.0, end=4.0)}
    (tmp_path / "val.json").write_text(json.dumps(content))
    found = load_annotations(tmp_path / "val.json")
    assert found.format is AnnotationFormat.GEB_PLUS
    assert dict(found) == {
        "SIbQ1aJ8eLM": VideoAnnotation("SIbQ1aJ8eLM", 9.97, ((3.5, 5.25),)),
        "x": VideoAnnotation("x", 4.0, ((1.0,),)),
    }
    assert list(found.left_out) == ["empty"]
    with pytest.raises(UsageError, match=r"annotations of GEB\+ have\. Give the predictions"):
        load_predictions(tmp_path / "val.json")
    del content["x"][0]["next_timestamp"]
    with pytest.raises(UsageError, match="annotation of x: expected next_timestamp"):
        load_annotations(content)


@pytest.mark.parametrize("what", WRONG)
def test_load_refuses_in_one_sentence(what: str) -> None:
    source, message = WRONG[what]
    with pytest.raises(UsageError, match=message) as raised:
        load_annotations(source)
    assert "\n" not in str(raised.value)


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b" \n", "got an empty file"),
    "bytes": (b"\xff\xfe\x00", "a pickle, JSON or CSV; got neither"),
    "broken JSON": (b'{"a": ', "expected JSON; got text that cannot be parsed"),
    "deep JSON": (b"[" * 200_000, "expected JSON; got text that cannot be parsed"),
    "NaN in JSON": (b'{"a": {"duration_seconds": NaN}}', "got NaN"),
    "key twice": (b'{"a": {}, "a": {}}', "unique keys; got 'a' twice"),
    "other table": (b"name,time\na,1\n", "a CSV table with the columns video_id, .*; got name, time"),
    "columns only": (b"video_id,duration_seconds,time_seconds\n", "got no rows"),
    "short row": (b"video_id,duration_seconds,time_seconds\na,5\n", "line 2: expected 3 cells"),
    "column twice": (b"video_id,video_id\na,5\n", "unique columns; got video_id, video_id"),
    "no number": (
        b"video_id,duration_seconds,time_seconds\na,5,soon\n",
        "row 1: time_seconds: expected a number; got 'soon'",
    ),
    "two durations": (b"video_id,duration_seconds,time_seconds\na,5,1\na,6,2\n", "differ in duration_seconds"),
    "no id": (b"video_id,duration_seconds,time_seconds\n,5,1\n", "expected a video_id; got none"),
}


@pytest.mark.parametrize("what", FILES)
def test_load_refuses_other_files_in_one_sentence(what: str, tmp_path: Path) -> None:
    data, message = FILES[what]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        load_annotations(tmp_path / "file")


def test_load_refuses_paths_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "none.pkl"):
        with pytest.raises(UsageError, match="cannot be read"):
            load_annotations(path)
    with pytest.raises(UsageError, match=r"folder .* does not exist"):
        write_annotations(PROCESSED, tmp_path / "none" / "a.json")
    monkeypatch.setattr("gebd.annotations.files.MAX_FILE_BYTES", 10)
    (tmp_path / "large").write_bytes(b"{" * 11)
    with pytest.raises(UsageError, match="at most 10 bytes"):
        load_annotations(tmp_path / "large")


def test_load_refuses_a_hostile_pickle_and_nothing_runs(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(PROCESSED | {"c": Runs()}))
    with pytest.raises(UsageError, match=r"hostile\.pkl was refused unread: .* which could run code"):
        load_annotations(tmp_path / "hostile.pkl")
    assert not (tmp_path / "ran").exists()


def test_annotations_survive_pickling_to_a_worker_and_refuse_an_id_twice() -> None:
    found = load_annotations(PROCESSED)
    assert dict(pickle.loads(pickle.dumps(found))) == dict(found)
    with pytest.raises(UsageError, match="unique video ids; got 3y1V7BNNBds twice"):
        Annotations([found["3y1V7BNNBds"]] * 2)


def test_arrays_in_dictionaries_are_taken() -> None:
    entry = made.processed_entry([1.0, 2.0]) | {"substages_timestamps": [np.array([1.0, 2.0], dtype=np.float32)]}
    assert load_annotations({"a": entry})["a"].rater_seconds == ((1.0, 2.0),)


def test_a_count_of_thousands_of_digits_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="num_frames: expected a number; got '999"):
        load_annotations({"v": {"fps": 25.0, "num_frames": "9" * 5000}})
