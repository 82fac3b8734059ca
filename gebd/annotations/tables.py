"""Gather the rows of a CSV table into entries of plain JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gebd.annotations.values import shown
from schemas.errors import UsageError

LENGTHS = ("duration_seconds", "video_duration")
"""Names under which a list of videos may state their length."""

_NEEDED = ("video_id", "duration_seconds", "time_seconds")


def states_length(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry states the length of its video, in seconds or as fps and number of frames."""
    return any(name in entry for name in LENGTHS) or {"fps", "num_frames"} <= set(entry)


def first_row(rows: Sequence[Mapping[str, str]], source: str) -> Mapping[str, str]:
    """Return the first row of a table that holds annotations, or videos without marks; refuse any other."""
    first = rows[0] if rows else {}
    if "video_id" in first and ("duration_seconds" in first or ("time_seconds" not in first and states_length(first))):
        return first
    raise UsageError(
        f"{source}: expected a pickle, JSON, or a CSV table with the columns {', '.join(_NEEDED)}; got "
        f"{shown(', '.join(first)) if rows else 'no rows'}. Add the columns, or check the path"
    )


def entries_of_rows(rows: Sequence[Mapping[str, str]], source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield entries of plain JSON from one row per boundary; a row without a time: a rater who marked none.

    Without the column time_seconds the entries have no marks.
    """
    of_video: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
    for n, row in enumerate(rows):
        of_video.setdefault(row["video_id"], []).append((n, row))
    for video_id, found in of_video.items():
        yield video_id, _gathered(found, f"{source}, row {found[0][0] + 1}")


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
        if "time_seconds" not in row:
            continue
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
