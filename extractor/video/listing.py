"""Which videos to extract: those of a folder or below an address, or of a table of files and segments."""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from extractor.video.fingerprints import fingerprint
from extractor.video.objects.addresses import Place, check_address, looks_like_address, place
from extractor.video.objects.remote import below, is_prefix, measure_all
from extractor.video.tables import Row, read_table
from schemas.errors import InventoryError
from schemas.escaping import is_text
from schemas.records import FileJob, Item, is_address
from schemas.table_columns import TableColumns
from schemas.wording import counted

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("264", "265", "3g2", "3gp", "asf", "avi", "divx", "f4v", "flv", "h264", "h265", "hevc", "ivf", "m2ts"),
        *("m2v", "m4v", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut", "ogg", "ogm", "ogv", "qt"),
        *("ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""Suffixes (lower case) of the files in a scanned folder that count as videos; a table may name any file."""

_TABLE_SUFFIXES = frozenset({".csv", ".parquet", ".txt"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry of a scanned folder that is left out. `path` is relative to the folder, `reason` follows its `kind`."""

    path: str
    reason: str
    kind: str = "file"


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found: one job per file, ordered by the first video_id of each, and what was left out.

    root: the folder that ids count from; text where it is an address, under which all objects lie.
    columns: the table's further columns, for all its videos, including those that a limit leaves out.
    """

    root: Place
    jobs: tuple[FileJob, ...]
    skipped: tuple[Skipped, ...] = field(default=())
    columns: TableColumns = field(default_factory=TableColumns, compare=False)

    @property
    def num_items(self) -> int:
        return sum(len(job.items) for job in self.jobs)

    def skipped_summary(self) -> str:
        """'left out: 10 files without a known video suffix (.jpg), ...', or '' where nothing was left out."""
        counts = Counter((entry.kind, entry.reason) for entry in self.skipped)
        parts = [f"{counted(count, kind)} {reason}" for (kind, reason), count in counts.most_common()]
        return f"left out: {', '.join(parts)}" if parts else ""


def list_videos(source: Path | str) -> Listing:
    """List a folder of videos, an address of objects, a table (csv, parquet, txt) or a single video file.

    video_id is the path relative to the folder (or to the table's folder), in POSIX form with its suffix, unless the
    table states one; a segment adds #start-end. Absolute paths of a table that lie outside its folder are relative to
    their common folder. Files are not opened; their size and modification time are recorded. A file in a table that
    does not exist or cannot be reached is listed all the same, and fails when it is decoded. The same holds for
    addresses, which a table may name beside files.

    Raises InventoryError, on one line, where there is nothing to list or the table cannot be used; ConfigurationError
    where a package or credentials for addresses are missing.
    """
    if is_address(str(place(source))):
        return _list_address(str(place(source)))
    source = Path(source)
    try:
        mode = source.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InventoryError(
            f"{source} does not exist: give a folder of videos, or a csv, parquet or txt table of them"
        ) from error
    except OSError as error:
        raise InventoryError(
            f"{source} cannot be reached ({error.strerror}). Check its permissions and its disk, or give another"
        ) from error
    if stat.S_ISDIR(mode):
        return _list_folder(source)
    if not stat.S_ISREG(mode):
        raise InventoryError(
            f"{source}: expected a file or a folder; got a special file. Give a folder of videos, or a table of them"
        )
    suffix = source.suffix.lower()
    if suffix in _TABLE_SUFFIXES:
        return _list_table(source)
    if suffix in VIDEO_SUFFIXES:
        return Listing(source.absolute().parent, (_job(str(source.absolute()), [Item(source.name)], None),))
    raise InventoryError(
        f"{source}: expected a table (.csv, .parquet, .txt) or a known video suffix; got {source.suffix or 'none'}. "
        "Give a folder, or name the file in a table"
    )


def _list_address(root: str) -> Listing:
    """A video, or what lies below a prefix: by the rules of a folder, whose names are the parts of a key."""
    try:
        whole, suffix = not is_prefix(root), PurePosixPath(root).suffix.lower()
        if whole and suffix in VIDEO_SUFFIXES:
            parent, _, name = root.rpartition("/")
            return Listing(parent, (_job(root, [Item(name)], None),))
        if whole:
            raise InventoryError(
                f"{root}: expected a prefix or a video; got another object. Download a table: its rows may be addresses"
            )
        found = list(below(root))
    except OSError as error:
        raise InventoryError(
            f"{root} cannot be listed ({error.strerror or error}). Check the address and the credentials, or give a "
            "table of addresses"
        ) from error
    skipped, jobs = [], []
    for address, measured in found:
        name = address.removeprefix(f"{root}/")
        suffix = PurePosixPath(name).suffix.lower()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if not is_text(name):
            skipped.append(Skipped(name.encode(errors="replace").decode(), "with a name that is not valid UTF-8"))
        elif suffix not in VIDEO_SUFFIXES:
            skipped.append(Skipped(name, f"without a known video suffix ({suffix or 'none'})"))
        else:
            jobs.append(FileJob(address, (Item(name),), *(measured or (None, None))))
    if not jobs:
        raise InventoryError(f"{root} holds no videos: give a prefix with files like .mp4, or name others in a table")
    return Listing(root, tuple(sorted(jobs, key=lambda job: job.items[0].video_id)), tuple(skipped))


def _list_folder(root: Path) -> Listing:
    skipped: list[Skipped] = []
    jobs = []
    for path in _walk(root, skipped):
        relative = path.relative_to(root).as_posix()
        if not is_text(relative):
            skipped.append(Skipped(relative.encode(errors="replace").decode(), "with a name that is not valid UTF-8"))
        elif path.suffix.lower() not in VIDEO_SUFFIXES:
            skipped.append(Skipped(relative, f"without a known video suffix ({path.suffix.lower() or 'none'})"))
        else:
            jobs.append(_job(str(path.absolute()), [Item(relative)], None))
    if not jobs:
        hint = f" ({counted(len(skipped), 'other file')})" if skipped else ""
        raise InventoryError(
            f"{root} holds no videos{hint}: give a folder with files like .mp4, .mkv or .avi, or name others in a table"
        )
    jobs.sort(key=lambda job: job.items[0].video_id)
    skipped.sort(key=lambda entry: entry.path)
    return Listing(root.absolute(), tuple(jobs), tuple(skipped))


def _walk(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Files below `root`. Follows links, but visits every real folder once: a link to a parent would never end."""
    seen: set[tuple[int, int]] = set()

    def complain(error: OSError) -> None:
        name = os.path.relpath(error.filename, root)
        skipped.append(Skipped(name, f"that cannot be read ({error.strerror})", "folder"))

    for folder, folders, files in os.walk(root, followlinks=True, onerror=complain):
        try:
            status = Path(folder).stat()
        except OSError as error:
            complain(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            skipped.append(
                Skipped(Path(folder).relative_to(root).as_posix(), "already listed by another name", "folder")
            )
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                continue
            path = Path(folder, name)
            if _may_be_a_file(path):
                yield path
            else:
                skipped.append(Skipped(path.relative_to(root).as_posix(), "of a special kind or behind a broken link"))


def _may_be_a_file(path: Path) -> bool:
    """Whether it is a regular file or cannot be reached: the latter is listed so that it fails, not goes unnoticed."""
    try:
        return path.is_file()
    except OSError:
        return True


def _list_table(table: Path) -> Listing:
    root = table.absolute().parent
    items: dict[str, list[Item]] = {}
    rates: dict[str, float | None] = {}
    lines: dict[str, int] = {}
    content = read_table(table)
    rows = []
    for row in content.rows:
        _check_segment(row, table)
        if not looks_like_address(row.path):
            rows.append((row, os.path.normpath(root / row.path)))
            continue
        _check_address(row, table)
        rows.append((row, row.path))
    ids = _ids(rows, root.as_posix())
    for (row, path), video_id in zip(rows, ids, strict=True):
        if video_id in lines:
            raise InventoryError(
                f"{table}: row {row.number}: expected a unique video_id; got {video_id!r}, as in row "
                f"{lines[video_id]}. Remove one row, or give each an id of its own in a column video_id"
            )
        lines[video_id] = row.number
        if rates.setdefault(path, row.fps) != row.fps:
            raise InventoryError(
                f"{table}: row {row.number}: expected one fps for {row.path}; got {row.fps} after {rates[path]}. "
                "Use one"
            )
        items.setdefault(path, []).append(Item(video_id, row.start_seconds, row.end_seconds))
    if not items:
        raise InventoryError(f"{table}: expected one row per video; got none. Add a row for each video")
    measured = measure_all(path for path in items if is_address(path))
    jobs = tuple(
        FileJob(path, tuple(rows), *(measured[path] or (None, None)))
        if path in measured
        else _job(path, rows, rates[path])
        for path, rows in items.items()
    )
    return Listing(root, jobs, columns=content.columns.of_videos(ids))


def _check_address(row: Row, table: Path) -> None:
    try:
        check_address(row.path)
    except InventoryError as error:
        raise InventoryError(f"{table}: row {row.number}: {error}") from error
    if row.fps is not None:
        raise InventoryError(
            f"{table}: row {row.number}: expected no fps for an address; got {row.fps}. A folder of images cannot be "
            "read from one: leave the fps out, or copy the folder"
        )


def _check_segment(row: Row, table: Path) -> None:
    start, end = row.start_seconds, row.end_seconds
    for name, value in (("start_seconds", start), ("end_seconds", end), ("fps", row.fps)):
        if value is not None and (not math.isfinite(value) or value < 0 or (name == "fps" and value == 0)):
            least = "above 0" if name == "fps" else "of at least 0"
            raise InventoryError(f"{table}: row {row.number}: expected {name} {least}; got {value}. Correct it")
    if end is not None and end <= (start or 0.0):
        raise InventoryError(
            f"{table}: row {row.number}: expected an end after the start at {start or 0.0} s; got {end} s. "
            "Swap or correct them"
        )


def _ids(rows: Sequence[tuple[Row, str]], root: str) -> list[str]:
    """video_id of every (row, normalised path): the row's own, or its path relative to the table's folder, `root`.

    Absolute paths outside `root` are relative to their common folder; where that repeats another row's id, to the
    first folder above that repeats none, or else they stay absolute. So are addresses, to their common prefix.
    """
    ids = [row.video_id or _inside_id(row, path, root) for row, path in rows]
    for addresses in (False, True):
        places = [n for n, (_, path) in enumerate(rows) if ids[n] is None and is_address(path) is addresses]
        for n, named in zip(places, _common_ids([rows[n] for n in places], {*ids} - {None}), strict=True):
            ids[n] = named
    return [video_id for video_id in ids if video_id is not None]


def _common_ids(rows: Sequence[tuple[Row, str]], taken: set[str | None]) -> list[str]:
    elsewhere = [
        (row, PurePosixPath(path if is_address(path) else "/" + path.lstrip("/")))  # POSIX lets "//" name another root
        for row, path in rows
    ]
    if not elsewhere:
        return []
    common = PurePosixPath(os.path.commonpath([str(path.parent) for _, path in elsewhere]))
    for base in (common, *common.parents):
        named = [with_segment(path.relative_to(base).as_posix(), row) for row, path in elsewhere]
        if taken.isdisjoint(named):
            return named
    return [
        with_segment(path if is_address(path) else whole.as_posix(), row)
        for (row, path), (_, whole) in zip(rows, elsewhere, strict=True)
    ]


def _inside_id(row: Row, path: str, root: str) -> str | None:
    """Id of a row that states none; None for an address, or an absolute path outside the table's folder."""
    if is_address(path):
        return None
    absolute, given = PurePosixPath(path), PurePosixPath(os.path.normpath(row.path))
    if absolute.is_relative_to(root):
        return with_segment(absolute.relative_to(root).as_posix(), row)
    return None if given.is_absolute() else with_segment(given.as_posix(), row)


def with_segment(name: str, of: Row | Item) -> str:
    """`name`, followed by the times of a segment: "a.mp4#2.5-4"."""
    if of.start_seconds is None and of.end_seconds is None:
        return name
    return f"{name}#{_shortest(of.start_seconds)}-{_shortest(of.end_seconds)}"


def _shortest(value: float | None) -> str:
    """Shortest text that reads back as the same number: 3.0 -> '3'; '' for None."""
    return "" if value is None else repr(float(value)).removesuffix(".0")


def _job(path: str, items: list[Item], fps: float | None) -> FileJob:
    size_bytes, mtime_ns = fingerprint(path) or (None, None)
    return FileJob(path, tuple(items), size_bytes, mtime_ns, fps)
