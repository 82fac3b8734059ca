"""Recognise the format of annotations and parse each format into `Annotations`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gebd.annotations.kinetics_raw import Rules, convert_raw
from gebd.annotations.records import AnnotationFormat, Annotations, PerRater, VideoAnnotation
from gebd.annotations.values import mapping, number, numbers, sequence, shown, text, whole
from schemas.errors import UsageError

PLAIN_HEADER = "gebd-annotations"
_PLAIN_VERSION = 1
_CSV_NEEDED = ("video_id", "duration_seconds", "time_seconds")


def parse(content: Any, source: str, *, rules: Rules, min_change_seconds: float) -> Annotations:
    """Parse the content of a file of any format; error messages call it `source`.

    Raises UsageError if the format is unknown or an entry does not match it.
    """
    found = recognise(content, source)
    left_out: dict[str, str] = {}
    if found is AnnotationFormat.CSV:
        return Annotations(_from_rows(content["rows"], source), format=found)
    entries = _entries(content, source)
    if found is AnnotationFormat.KINETICS_RAW:
        conversion = convert_raw(entries, rules=rules, min_change_seconds=min_change_seconds)
        entries, left_out = conversion.videos, conversion.left_out
    read = {
        AnnotationFormat.TAPOS_INSTANCES: _from_instance,
        AnnotationFormat.PLAIN: _from_plain,
    }.get(found, _from_kinetics)
    videos = [read(video_id, entry) for video_id, entry in entries.items()]
    return Annotations(videos, format=found, left_out=left_out)


def recognise(content: Any, source: str) -> AnnotationFormat:
    """Return the format, judged by the keys of the entries; raises UsageError if it is unknown."""
    if isinstance(content, Mapping) and isinstance(content.get("rows"), list) and set(content) == {"rows"}:
        return AnnotationFormat.CSV
    entries = _entries(content, source)
    first = next(iter(entries.values()))
    if "boundaries_seconds" in first:
        return AnnotationFormat.PLAIN
    if "my_substages_frameidx" in first:
        return AnnotationFormat.TAPOS_INSTANCES
    if any("substages_timestamps" in entry for entry in entries.values()):
        lists = [entry.get("substages_timestamps") for entry in entries.values()]
        raters = [value if isinstance(value, list | tuple) else () for value in lists]
        marks = (mark for one in raters for times in one if isinstance(times, list | tuple) for mark in times)
        if any(isinstance(mark, Mapping) for mark in marks):
            return AnnotationFormat.KINETICS_RAW
        one_rater = all(len(one) == 1 for one in raters)
        return AnnotationFormat.TAPOS_KINETICS if one_rater else AnnotationFormat.KINETICS_PROCESSED
    raise UsageError(
        f"{source}: expected substages_timestamps (Kinetics-GEBD, TAPOS), my_substages_frameidx (TAPOS) or "
        f"boundaries_seconds (plain JSON) for every video; got {shown(', '.join(sorted(first))) or 'nothing'}. "
        "Convert it to one of the formats in docs/gebd.md"
    )


def _entries(content: Any, source: str) -> Mapping[str, Mapping[str, Any]]:
    """Return entries by video id, without the header of plain JSON."""
    found = mapping(content, source)
    if found.get("format") == PLAIN_HEADER:
        if found.get("version") != _PLAIN_VERSION:
            raise UsageError(
                f"{source}: expected version {_PLAIN_VERSION}; got {found.get('version')!r:.40}. Read it with "
                "the release that wrote it"
            )
        found = mapping(found.get("videos"), f"{source}: videos")
    if not found:
        raise UsageError(f"{source}: expected annotations of videos; got none. Check the path")
    if all(isinstance(entry, list | tuple | np.ndarray) for entry in found.values()):
        raise UsageError(
            f"{source}: expected annotations; got a list for every video, as predictions have. Give the annotations "
            "(the order is `msnet gebd evaluate PREDICTIONS ANNOTATIONS`)"
        )
    return {video_id: mapping(entry, f"{source}: {shown(video_id)}") for video_id, entry in found.items()}


def _from_kinetics(video_id: str, entry: Mapping[str, Any]) -> VideoAnnotation:
    """Parse the processed schema of Kinetics-GEBD, in which TAPOS is published too."""
    what = f"the annotation of {shown(video_id)}"
    return VideoAnnotation(
        video_id,
        number(_get(entry, "video_duration", what), f"{what}: video_duration"),
        _raters(_get(entry, "substages_timestamps", what), f"{what}: substages_timestamps"),
        fps=number(_get(entry, "fps", what), f"{what}: fps"),
        num_frames=whole(_get(entry, "num_frames", what), f"{what}: num_frames"),
        rater_frames=_optional_raters(entry.get("substages_myframeidx"), f"{what}: substages_myframeidx"),
        consistency=_optional_numbers(entry.get("f1_consis"), f"{what}: f1_consis"),
        consistency_average=_optional_number(entry.get("f1_consis_avg"), f"{what}: f1_consis_avg"),
        source_path=_optional_text(entry.get("path_video"), f"{what}: path_video"),
    )


def _from_instance(video_id: str, entry: Mapping[str, Any]) -> VideoAnnotation:
    """Parse TAPOS by frame numbers: one rater, no consistency."""
    what = f"the annotation of {shown(video_id)}"
    fps = number(_get(entry, "myfps", what), f"{what}: myfps")
    if fps <= 0:
        raise UsageError(f"{what}: expected an fps above 0; got {fps}. Correct it")
    frames = tuple(numbers(_get(entry, "my_substages_frameidx", what), f"{what}: my_substages_frameidx"))
    return VideoAnnotation(
        video_id,
        number(_get(entry, "my_duration", what), f"{what}: my_duration"),
        (tuple(frame / fps for frame in frames),),
        fps=fps,
        num_frames=whole(_get(entry, "my_num_frames", what), f"{what}: my_num_frames"),
        rater_frames=(frames,),
        source_path=_optional_text(entry.get("path"), f"{what}: path"),
    )


def _from_plain(video_id: str, entry: Mapping[str, Any]) -> VideoAnnotation:
    what = f"the annotation of {shown(video_id)}"
    num_frames = entry.get("num_frames")
    return VideoAnnotation(
        video_id,
        number(_get(entry, "duration_seconds", what), f"{what}: duration_seconds"),
        _raters(_get(entry, "boundaries_seconds", what), f"{what}: boundaries_seconds"),
        fps=_optional_number(entry.get("fps"), f"{what}: fps"),
        num_frames=None if num_frames is None else whole(num_frames, f"{what}: num_frames"),
        rater_frames=_optional_raters(entry.get("boundaries_frames"), f"{what}: boundaries_frames"),
        consistency=_optional_numbers(entry.get("consistency"), f"{what}: consistency"),
        consistency_average=_optional_number(entry.get("consistency_average"), f"{what}: consistency_average"),
        source_path=_optional_text(entry.get("source_path"), f"{what}: source_path"),
    )


def plain_content(annotations: Annotations) -> dict[str, Any]:
    """Return annotations as plain JSON content, which `parse` turns back into the same annotations."""
    videos = {}
    for video_id, video in annotations.items():
        agreement = video.consistency
        entry: dict[str, Any] = {
            "duration_seconds": video.duration_seconds,
            "fps": video.fps,
            "num_frames": video.num_frames,
            "source_path": video.source_path,
            "consistency_average": video.consistency_average,
            "consistency": None if agreement is None else [None if math.isnan(value) else value for value in agreement],
            "boundaries_seconds": [list(times) for times in video.rater_seconds],
            "boundaries_frames": None if video.rater_frames is None else [list(n) for n in video.rater_frames],
        }
        videos[video_id] = {name: value for name, value in entry.items() if value is not None}
    return {"format": PLAIN_HEADER, "version": _PLAIN_VERSION, "videos": videos}


def _from_rows(rows: Sequence[Mapping[str, str]], source: str) -> Iterator[VideoAnnotation]:
    """Parse one row per boundary; a row without a time stands for a rater who marked none."""
    if not rows or not all(column in rows[0] for column in _CSV_NEEDED):
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise UsageError(
            f"{source}: expected a pickle, JSON, or a CSV table with the columns {', '.join(_CSV_NEEDED)}; got "
            f"{shown(columns)}. Add the columns, or check the path"
        )
    of_video: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    for n, row in enumerate(rows):
        of_video.setdefault(row["video_id"], []).append((n, row))
    for video_id, found in of_video.items():
        yield _from_plain(video_id, _gathered(found, f"{source}, row {found[0][0] + 1}"))


def _gathered(rows: Sequence[tuple[int, Mapping[str, str]]], what: str) -> dict[str, Any]:
    """Gather the rows of one video into an entry of plain JSON."""
    raters: dict[str, list[float]] = {}
    agreement: dict[str, float] = {}
    first = rows[0][1]
    if not first["video_id"]:
        raise UsageError(f"{what}: expected a video_id; got none. Fill in the cell")
    for n, row in rows:
        for column in ("duration_seconds", "fps", "num_frames", "consistency_average", "source_path"):
            if row.get(column) != first.get(column):
                raise UsageError(f"{what} and row {n + 1} are of one video but differ in {column}. Correct one of them")
        times = raters.setdefault(row.get("rater", ""), [])
        if row["time_seconds"]:
            times.append(_cell(row, "time_seconds", n))
        if row.get("consistency"):
            agreement[row.get("rater", "")] = _cell(row, "consistency", n)
    entry: dict[str, Any] = {"boundaries_seconds": list(raters.values()), "source_path": first.get("source_path")}
    for column in ("duration_seconds", "fps", "num_frames", "consistency_average"):
        entry[column] = _cell(first, column, rows[0][0]) if first.get(column) else None
    if agreement:
        entry["consistency"] = [agreement.get(rater) for rater in raters]
    return entry


def _cell(row: Mapping[str, str], column: str, n: int) -> float:
    try:
        return float(row[column])
    except ValueError:
        raise UsageError(f"row {n + 1}: {column}: expected a number; got {row[column]!r:.60}. Correct it") from None


def _get(entry: Mapping[str, Any], name: str, what: str) -> Any:
    if entry.get(name) is None:
        raise UsageError(f"{what}: expected {name}; got {shown(', '.join(sorted(entry)))}. Add it to the file")
    return entry[name]


def _raters(value: Any, what: str) -> PerRater:
    raters = sequence(value, what)
    if any(isinstance(times, int | float) for times in raters):
        raise UsageError(f"{what}: expected a list for every rater; got numbers. Nest them, like [[1.5, 4.0]]")
    return tuple(tuple(numbers(times, what)) for times in raters)


def _optional_raters(value: Any, what: str) -> PerRater | None:
    return None if value is None else _raters(value, what)


def _optional_numbers(value: Any, what: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    return tuple(math.nan if one is None else number(one, what) for one in sequence(value, what))


def _optional_number(value: Any, what: str) -> float | None:
    """Return a number, or None if it is missing or NaN, which stands for "unknown"."""
    found = None if value is None else number(value, what)
    return None if found is None or math.isnan(found) else found


def _optional_text(value: Any, what: str) -> str | None:
    return text(value, what) if value else None
