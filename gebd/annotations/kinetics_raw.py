"""Turn raw raters' marks into boundaries: the official preparation of Kinetics-GEBD, with and without its defects.

`official` reproduces the published processed files. Its defects change some videos: (1) removing marks inside a gradual
range skips the mark that follows a removed one; (2) the last instant shot of a rater is not compared with the events;
(3) ranges are merged with their neighbour in stored order, even if that is not the order of time. `corrected` follows
the rules as written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gebd.annotations.values import mapping, number, numbers, sequence, shown, text
from schemas.errors import UsageError

_LEAST_RATERS = 3
_NEEDED = ("fps", "num_frames", "video_duration", "f1_consis_avg")


class Rules(StrEnum):
    """How raters' marks become boundaries."""

    OFFICIAL = "official"
    CORRECTED = "corrected"
    MIDPOINTS = "midpoints"  # of all marks: nothing dropped or merged, any number of raters


@dataclass(frozen=True)
class Conversion:
    """`videos` by id in the schema of the processed file; `left_out` gives the reason for every other video."""

    videos: dict[str, dict[str, Any]]
    left_out: dict[str, str]


@dataclass
class _Marks:
    """One rater's marks in seconds, in stored order."""

    events: list[float]
    shots: list[float]
    starts: list[float]  # of the gradual ranges
    ends: list[float]


def convert_raw(
    raw: Mapping[str, Any], *, rules: Rules | str = Rules.OFFICIAL, min_change_seconds: float = 0.3
) -> Conversion:
    """Convert raw Kinetics-GEBD annotations (the content of their file) to the schema of the processed ones.

    Raises UsageError if an entry does not match the format. Entries that the official preparation drops are reported in
    `left_out`.
    """
    rules = Rules(rules)
    done = Conversion({}, {})
    for video_id, entry in raw.items():
        what = f"the annotation of {shown(video_id)}"
        entry = mapping(entry, what)
        raters = sequence(entry.get("substages_timestamps"), f"{what}: substages_timestamps")
        least = 1 if rules is Rules.MIDPOINTS else _LEAST_RATERS
        lacking = _lacking(entry)
        if len(raters) < least:
            done.left_out[video_id] = f"marked by {len(raters)} raters, fewer than {least}"
        elif lacking:
            done.left_out[video_id] = f"lacks {lacking}"
        else:
            done.videos[video_id] = _convert_video(entry, raters, what, rules, min_change_seconds)
    return done


def _lacking(entry: Mapping[str, Any]) -> str:
    """Return the needed fields that are missing, or that hold a number that no video can have."""
    return ", ".join(name for name in _NEEDED if entry.get(name) is None or not _possible(name, entry[name]))


def _possible(name: str, value: Any) -> bool:
    try:
        return name == "f1_consis_avg" or 0 < (int(value) if name == "num_frames" else float(value)) < math.inf
    except (TypeError, ValueError, OverflowError):
        return name != "num_frames"  # that the others are no numbers is said where they are read


def _convert_video(
    entry: Mapping[str, Any], raters: Sequence[Any], what: str, rules: Rules, min_change: float
) -> dict[str, Any]:
    fps = number(entry["fps"], f"{what}: fps")
    num_frames = int(entry["num_frames"])
    duration = number(entry["video_duration"], f"{what}: video_duration")
    path = text(entry.get("path_video", ""), f"{what}: path_video")
    consistency = numbers(entry.get("f1_consis"), f"{what}: f1_consis")
    if len(consistency) < len(raters):
        raise UsageError(f"{what}: f1_consis: expected {len(raters)} numbers; got {len(consistency)}. Fetch it again")
    times = [
        rater_boundaries(rater, duration, f"{what}, rater {n}", rules, min_change) for n, rater in enumerate(raters)
    ]
    return {
        "num_frames": num_frames,
        "path_video": path,
        "fps": fps,
        "video_duration": duration,
        "path_frame": path.split(".mp4")[0],
        "f1_consis": consistency[: len(raters)],
        "f1_consis_avg": number(entry["f1_consis_avg"], f"{what}: f1_consis_avg"),
        "substages_myframeidx": [
            [float(min(num_frames - 1, math.floor(time * fps))) for time in rater] for rater in times
        ],
        "substages_timestamps": times,
    }


def rater_boundaries(
    marks: Sequence[Any], duration_seconds: float, what: str, rules: Rules | str, min_change_seconds: float = 0.3
) -> list[float]:
    """Return one rater's boundaries in seconds, sorted, from that rater's marks `{start_time, end_time, label}`."""
    rules = Rules(rules)
    d = min_change_seconds
    found = _sort_marks(sequence(marks, what), duration_seconds, what, None if rules is Rules.MIDPOINTS else d)
    if rules is Rules.OFFICIAL:
        _merge_in_stored_order(found.starts, found.ends)
        for times in (found.events, found.shots):
            _remove_inside_skipping(times, found, d)
    elif rules is Rules.CORRECTED:
        _merge(found)
        for times in (found.events, found.shots):
            times[:] = [time for time in times if not _inside(time, found, d)]
    if rules is not Rules.MIDPOINTS:
        for times in (found.events, found.shots):
            _keep_apart(times, 2 * d)
        compared = found.shots[:-1] if rules is Rules.OFFICIAL else found.shots
        found.events[:] = [event for event in found.events if all(abs(shot - event) > 2 * d for shot in compared)]
    middles = [(start + end) / 2 for start, end in zip(found.starts, found.ends, strict=True)]
    return sorted(found.events + found.shots + middles)


def _sort_marks(marks: Sequence[Any], duration: float, what: str, margin: float | None) -> _Marks:
    found = _Marks([], [], [], [])
    for mark in marks:
        mark = mapping(mark, what)
        start, end = number(mark.get("start_time"), f"{what}: start_time"), number(mark.get("end_time"), f"{what}: end")
        kind = text(mark.get("label"), f"{what}: label").split(" ")[0]
        middle = (start + end) / 2
        if margin is not None and (middle < margin or middle > duration - margin):
            continue
        if kind == "EventChange":
            found.events.append(middle)
        elif kind == "ShotChangeGradualRange:":
            found.starts.append(start)
            found.ends.append(end)
        else:
            found.shots.append(middle)
    return found


def _merge_in_stored_order(starts: list[float], ends: list[float]) -> None:
    """Defect 3: neighbours in the lists are merged, and the removed one is looked up by value (the first equal)."""
    at = 0
    while at < len(starts) - 1:
        while at < len(starts) - 1 and ends[at] >= starts[at + 1]:
            starts.remove(starts[at + 1])
            ends.remove(min(ends[at], ends[at + 1]))
        at += 1


def _merge(found: _Marks) -> None:
    merged: list[list[float]] = []
    for start, end in sorted(zip(found.starts, found.ends, strict=True)):
        if merged and merged[-1][1] >= start:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    found.starts = [start for start, _ in merged]
    found.ends = [end for _, end in merged]


def _inside(time: float, found: _Marks, d: float) -> bool:
    return any(start - d <= time <= end + d for start, end in zip(found.starts, found.ends, strict=True))


def _remove_inside_skipping(times: list[float], found: _Marks, d: float) -> None:
    """Defect 1: the list shrinks during the loop, so the mark after a removed one is skipped."""
    at = 0
    while at < len(times):
        if _inside(times[at], found, d):
            del times[at]
        at += 1


def _keep_apart(times: list[float], apart: float) -> None:
    """Sort in place; of two neighbours at most `apart` seconds apart, drop the later."""
    times.sort()
    kept: list[float] = []
    for time in times:
        if not kept or time - kept[-1] > apart:
            kept.append(time)
    times[:] = kept
