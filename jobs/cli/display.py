"""What the command line shows: progress, tables, sizes and times. Everything but results goes to standard error.

`rows`, `table` and `paragraph` return blocks of lines for `jobs.cli.streams.say`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.cli.streams import Block, bar_stream, say
from jobs.run.watcher import Watcher
from schemas.escaping import escaped

if TYPE_CHECKING:
    from tqdm import tqdm

    from jobs.run.outcome import Outcome

_LINE_EVERY_SECONDS = 10.0  # without a terminal
_SILENCE_SECONDS = 2.0  # without a terminal, at the start
_STARTING = "starting: torch and Ray are being loaded"
_BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}, "
_BEGINNING, _GOING_ON = (_BAR + how + "{postfix}" for how in ("measuring the speed", "about {remaining} left"))
_ROWS = 24  # height that tqdm assumes; a bar takes one line
_LEAST_ROOM = 20  # columns, for text wrapped below its own start
_NUMBER = re.compile(r"-?\d[\d.,]*(e[+-]?\d+)?( \w{1,3})*")
_COMMAND = re.compile(r"`[^`]*`|\bmsnet (?:'[^']*'|[^;,()])*")  # in a sentence
_GLUE = "\0"  # stands for the spaces of a command; escaped text has none
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: float) -> str:
    """Bytes for a person: 1234567 -> "1.2 MB"."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds for a person: 3.2 -> "3.2 s", 4000 -> "1 h 07 min"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def rows(cells: Iterable[Sequence[object]], *, indent: int = 2) -> Block:
    """Lines with aligned columns: numbers to the right, the rest to the left.

    Text at the end of a row does not widen its column. It is wrapped to the terminal, below its own start or, if there
    is too little room, on lines of its own. Paths are not broken.
    """
    table = [[escaped(cell) for cell in row] for row in cells]
    widths = [_column_width(table, i) for i in range(max(map(len, table), default=0))]
    return Block("\n".join(_line(row, widths, indent) for row in table))


def table(head: Sequence[str], cells: Iterable[Sequence[object]]) -> Block:
    """`rows` below a line of headings, which are not wrapped and are aligned to the right over numbers."""
    head, body = [escaped(title) for title in head], [[escaped(cell) for cell in row] for row in cells]
    widths = [max(len(title), _column_width(body, i)) for i, title in enumerate(head)]
    over = [
        title.rjust(width) if any(i < len(row) and _is_number(row[i]) for row in body) else title.ljust(width)
        for i, (title, width) in enumerate(zip(head, widths, strict=True))
    ]
    return Block("\n".join([("  " + "  ".join(over)).rstrip(), *(_line(row, widths, indent=2) for row in body)]))


def _column_width(table: Sequence[Sequence[str]], column: int) -> int:
    """Width of the widest cell that is a number or is not the last of its row."""
    wide = [row[column] for row in table if column < len(row) and (column + 1 < len(row) or _is_number(row[column]))]
    return max(map(len, wide), default=0)


def _line(row: Sequence[str], widths: Sequence[int], indent: int) -> str:
    while row and not row[-1]:
        row = row[:-1]
    padded = [
        cell.rjust(width) if _is_number(cell) else cell.ljust(width) for cell, width in zip(row, widths, strict=False)
    ]
    if not row or _is_number(row[-1]):
        return (" " * indent + "  ".join(padded)).rstrip()
    start = " " * indent + "".join(cell + "  " for cell in padded[:-1])
    room = _terminal_width() - len(start)
    if len(row[-1]) <= room:
        return (start + row[-1]).rstrip()
    if room >= _LEAST_ROOM:
        return _wrapped(row[-1], start, " " * len(start))
    below = " " * 2 * indent
    return f"{start.rstrip()}\n{_wrapped(row[-1], below, below)}"


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, with or without a unit; a hash that begins with a digit is none."""
    return _NUMBER.fullmatch(cell) is not None


def paragraph(text: str, *, indent: str = "") -> Block:
    """Text wrapped to the terminal, without breaking paths or commands."""
    return Block(_wrapped(escaped(text), "", indent))


def _wrapped(text: str, first: str, others: str) -> str:
    filled = textwrap.fill(
        _COMMAND.sub(lambda found: found[0].rstrip().replace(" ", _GLUE) + " " * found[0].endswith(" "), text),
        _terminal_width(),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_GLUE, " ")


def _terminal_width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def open_bar(**options: Any) -> tqdm[Any]:
    """A progress bar on standard error, if that is a terminal; `options` are tqdm's.

    The size is set here: on a terminal that reports none, tqdm would draw nothing.
    """
    from tqdm import tqdm

    return tqdm(
        file=bar_stream(),
        ncols=bar_width(),
        nrows=_ROWS,
        disable=not sys.stderr.isatty(),
        smoothing=0,  # the time left by all that was done: videos end in bursts, between which nothing does
        **options,
    )


def bar_width() -> int:
    """Columns of the terminal on standard error."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def notice(message: str) -> None:
    """Print a message on standard error, above a progress bar if there is one."""
    say_above(paragraph(message))


def say_above(block: Block) -> None:
    """Print lines on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(block, file=bar_stream())


@contextmanager
def starting() -> Iterator[TerminalWatcher]:
    """Say that the command has begun, before it imports what takes seconds; yields the watcher of the work.

    At once on a terminal; elsewhere only if the watcher was told nothing for a while, so that a refusal is one line.
    """
    watcher = TerminalWatcher()
    late = threading.Timer(_SILENCE_SECONDS, watcher.say_late, [_STARTING])
    late.daemon = True
    if sys.stderr.isatty():
        say(_STARTING, to=sys.stderr)
    else:
        late.start()
    try:
        yield watcher
    finally:
        late.cancel()


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal; yields a function to call with (done, total)."""
    with open_bar(desc=what, unit=unit, leave=False) as bar:

        def update(done: int, total: int) -> None:
            bar.total, bar.ncols = total, bar_width()
            bar.update(done - bar.n)

        yield update


class TerminalWatcher(Watcher):
    """Shows a progress bar on a terminal, else a plain line now and then; both on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tty = sys.stderr.isatty()
        self._spoken = 0.0
        self._total = 0
        self._what = ""
        self._planning_from: tuple[float, int] | None = None  # time, and videos planned then
        self._planned: dict[str, Any] = {}  # the part of the bar that tells of planning
        self._shown: tuple[int, dict[str, Any]] = (0, {})
        self._heard = False  # anything at all
        self._last, self._unsaid = "", ""  # without a terminal: the line that was last told, and the one to tell

    def say(self, message: str) -> None:
        """A line for the user."""
        self._heard = True
        notice(message)

    def say_late(self, message: str) -> None:
        """A line for the user, unless the watcher was told something before."""
        if not self._heard:
            say(message, to=sys.stderr)

    def probing(self, done: int, total: int) -> None:
        """`done` of the dataset's `total` files were probed."""
        self._open(total, "probing files", "file")
        self._show(done, {})
        if done == total:
            self.end()

    def planning(self, done: int, total: int) -> None:
        """`done` of `total` videos have a shard: in a bar of its own, or behind the bar of the extraction."""
        if self._bar is None or self._what == "planning":
            self._open(total, "planning", "video")
            self._show(done, {})
            if done == total:
                self.end()
            return
        now = time.monotonic()
        since, first = self._planning_from = self._planning_from or (now, done)
        left = f" (about {duration((now - since) * (total - done) / (done - first))} left)" if done > first else ""
        self._planned = {"planned": f"{done}/{total}{left}"} if done < total else {}
        self._show(*self._shown)

    def begin(self, outcome: Outcome) -> None:
        """Extraction starts."""
        self._shown = (outcome.settled, {})
        self._open(outcome.before.videos, "extracting", "video", initial=outcome.settled)
        if outcome.settled:
            notice(f"continuing: {outcome.before}")

    def update(self, outcome: Outcome) -> None:
        """The outcome has changed."""
        extra: dict[str, Any] = {"failed": outcome.failed_so_far}
        if outcome.clips and outcome.wall_seconds > 0:
            extra["clips/s"] = f"{outcome.clips / outcome.wall_seconds:.1f}"
        self._shown = (outcome.settled, extra)
        self._show(*self._shown)

    def end(self) -> None:
        """Close the bar. Where lines stand for it and the last one says less than there was, tell the rest."""
        if self._bar is not None:
            if self._last and self._unsaid not in ("", self._last):
                say(self._unsaid, to=sys.stderr)
            self._last = self._unsaid = ""
            self._bar.close()
            self._bar = None

    def _open(self, total: int, what: str, unit: str, initial: int = 0) -> None:
        self._heard = True
        if self._bar is None:
            self._bar = open_bar(
                total=total,
                initial=initial,
                desc=what,
                unit=unit,
                leave=False,
                bar_format=_BEGINNING,
            )
            self._total, self._spoken, self._what = total, time.monotonic(), what

    def _show(self, at: int, extra: dict[str, Any]) -> None:
        if self._bar is None:
            return
        if self._tty:
            self._bar.ncols = bar_width()
            self._bar.bar_format = _GOING_ON if at > self._bar.initial else _BEGINNING
            self._bar.set_postfix({**extra, **self._planned}, refresh=False)
            self._bar.update(at - self._bar.n)
            return
        numbers = "".join(f", {value} {name}" for name, value in {**extra, **self._planned}.items())
        self._unsaid = f"{self._what}: {at} of {self._total}{numbers}"
        if time.monotonic() - self._spoken >= _LINE_EVERY_SECONDS:
            self._spoken, self._last = time.monotonic(), self._unsaid
            say(self._last, to=sys.stderr)
