"""Recognise the format of annotations and parse each format into `Annotations`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gebd.annotations.kinetics_raw import Rules, convert_raw
from gebd.annotations.records import AnnotationFormat, Annotations, PerRater, UnusableVideoError, VideoAnnotation
from gebd.annotations.tables import LENGTHS, entries_of_rows, first_row, states_length
from gebd.annotations.values import mapping, number, numbers, sequence, shown, text, whole
from schemas.errors import UsageError

PLAIN_HEADER = "gebd-annotations"
_PLAIN_VERSION = 1
_PATHS = ("source_path", "path_video", "path")  # names that a list may use
_CAPTIONED = "boundaries with captions"  # key of an entry of GEB+, which in the file is a bare list


def parse(content: Any, source: str, *, rules: Rules, min_change_seconds: float) -> Annotations:
    """Parse the content of a file of any format; error messages call it `source`.

    A video with a value that no video can have, or without a rater, costs itself and is listed in `left_out`. Raises
    UsageError if the format is unknown, an entry does not match it, or no video is left.
    """
    found = recognise(content, source)
    left_out: dict[str, str] = {}
    if _is_table(content):
        entries: Mapping[str, Mapping[str, Any]] = dict(entries_of_rows(content["rows"], source))
    else:
        entries = _entries(content, source)
    if found is AnnotationFormat.KINETICS_RAW:
        conversion = convert_raw(entries, rules=rules, min_change_seconds=min_change_seconds)
        entries, left_out = conversion.videos, conversion.left_out
    read = {
        AnnotationFormat.KINETICS_RAW: _from_kinetics,
        AnnotationFormat.KINETICS_PROCESSED: _from_kinetics,
        AnnotationFormat.TAPOS_KINETICS: _from_kinetics,
        AnnotationFormat.TAPOS_INSTANCES: _from_instance,
        AnnotationFormat.GEB_PLUS: _from_geb_plus,
        AnnotationFormat.PLAIN: _from_plain,
        AnnotationFormat.CSV: _from_plain,
        AnnotationFormat.LIST: _from_list,
    }[found]
    videos = []
    for video_id, entry in entries.items():
        try:
            video = read(video_id, entry)
            if not video.num_raters and found is not AnnotationFormat.LIST:
                raise UnusableVideoError(video_id, "expected at least one rater; got none")
            videos.append(video)
        except UnusableVideoError as unusable:
            left_out[video_id] = unusable.reason
            first = unusable
    if entries and not videos:
        raise UsageError(f"{source}: expected a video that can be used; got none of {len(entries)}: {first}")
    return Annotations(videos, format=found, left_out=left_out)


def recognise(content: Any, source: str) -> AnnotationFormat:
    """Return the format, judged by the keys of the entries; raises UsageError if it is unknown."""
    if _is_table(content):
        marked = "time_seconds" in first_row(content["rows"], source)
        return AnnotationFormat.CSV if marked else AnnotationFormat.LIST
    entries = _entries(content, source)
    first = next(iter(entries.values()))
    if _CAPTIONED in first:
        return AnnotationFormat.GEB_PLUS
    if any("boundaries_seconds" in entry for entry in entries.values()):
        return AnnotationFormat.PLAIN
    if "my_substages_frameidx" in first:
        return AnnotationFormat.TAPOS_INSTANCES
    if any("substages_timestamps" in entry for entry in entries.values()):
        return _kind_of_kinetics(entries.values())
    if all(states_length(entry) for entry in entries.values()):
        return AnnotationFormat.LIST
    raise UsageError(
        f"{source}: expected substages_timestamps (Kinetics-GEBD, TAPOS), my_substages_frameidx (TAPOS) or "
        f"boundaries_seconds (plain JSON) for every video; got {shown(', '.join(sorted(first))) or 'nothing'}. "
        "Convert it to one of the formats in docs/gebd.md"
    )


def _is_table(content: Any) -> bool:
    """Return whether content is that of a CSV table, as `read_content` returns it."""
    return isinstance(content, Mapping) and isinstance(content.get("rows"), list) and set(content) == {"rows"}


def _kind_of_kinetics(entries: Iterable[Mapping[str, Any]]) -> AnnotationFormat:
    lists = [entry.get("substages_timestamps") for entry in entries]
    raters = [value if isinstance(value, list | tuple) else () for value in lists]
    marks = (mark for one in raters for times in one if isinstance(times, list | tuple) for mark in times)
    if any(isinstance(mark, Mapping) for mark in marks):
        return AnnotationFormat.KINETICS_RAW
    one_rater = all(len(one) == 1 for one in raters)
    return AnnotationFormat.TAPOS_KINETICS if one_rater else AnnotationFormat.KINETICS_PROCESSED


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
    if all(isinstance(entry, int | float) for entry in found.values()):
        return {video_id: {"duration_seconds": seconds} for video_id, seconds in found.items()}
    if is_geb_plus(found):
        return {video_id: {_CAPTIONED: boundaries} for video_id, boundaries in found.items()}
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
    if not fps > 0:
        raise UnusableVideoError(video_id, f"expected an fps above 0; got {fps}")
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


def is_geb_plus(content: Mapping[str, Any]) -> bool:
    """Return whether the content of a file is that of Kinetics-GEB+: lists of boundaries with captions by video id."""
    if not all(isinstance(boundaries, list | tuple) for boundaries in content.values()):
        return False
    first = next((boundaries[0] for boundaries in content.values() if len(boundaries)), None)
    return isinstance(first, Mapping) and "timestamp" in first


def _from_geb_plus(video_id: str, entry: Mapping[str, Any]) -> VideoAnnotation:
    """Parse Kinetics-GEB+: the boundaries of one rater, each once or more, with captions of several.

    No length is stated: the video ends where its last boundary has its `next_timestamp`, as in the official code.
    """
    what = f"the annotation of {shown(video_id)}"
    boundaries = [mapping(one, what) for one in sequence(entry[_CAPTIONED], what)]
    if not boundaries:
        raise UnusableVideoError(video_id, "expected a boundary, which tells how long the video is; got none")
    ends = [number(_get(one, "next_timestamp", what), f"{what}: next_timestamp") for one in boundaries]
    times = sorted({number(_get(one, "timestamp", what), f"{what}: timestamp") for one in boundaries})
    return VideoAnnotation(video_id, max(ends), (tuple(times),))


def _from_list(video_id: str, entry: Mapping[str, Any]) -> VideoAnnotation:
    """Parse a video without marks, under the keys of Kinetics-GEBD (also `path`, and counts as text) or plain JSON."""
    what = f"the annotation of {shown(video_id)}"
    fps, frames = entry.get("fps"), entry.get("num_frames")
    fps = None if fps is None else number(fps, f"{what}: fps")
    frames = int(frames) if isinstance(frames, str) and frames.isdecimal() and len(frames) < 20 else frames
    frames = None if frames is None else whole(frames, f"{what}: num_frames")
    length = next((entry[name] for name in LENGTHS if entry.get(name) is not None), None)
    if length is None:
        length = frames / fps if frames is not None and fps else math.nan
    path = next((text(entry[name], f"{what}: {name}") for name in _PATHS if entry.get(name)), None)
    return VideoAnnotation(
        video_id, number(length, f"{what}: duration"), (), fps=fps, num_frames=frames, source_path=path
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
            "boundaries_seconds": [list(times) for times in video.rater_seconds] or None,
            "boundaries_frames": None if video.rater_frames is None else [list(n) for n in video.rater_frames],
        }
        videos[video_id] = {name: value for name, value in entry.items() if value is not None}
    return {"format": PLAIN_HEADER, "version": _PLAIN_VERSION, "videos": videos}


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
