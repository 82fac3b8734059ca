"""The standard streams while a command runs: only text and line breaks reach the terminal, whatever is printed.

No command colours its output or moves the cursor, so any control character is foreign: from a file name, an id, a
library's message. The one exception is tqdm, whose bars return to the start of their line.

Commands print with `say`, which prints a text as one line: a file name or an id in it cannot end the line.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from schemas.escaping import escaped, escaped_lines


class Guarded:
    """A text stream that escapes control characters, and letters that its encoding lacks.

    All else is the stream's. Its `buffer` is hidden: click would write bytes to it, past the guard.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.bars = _Bars(self)
        self._errors = getattr(stream, "errors", None)
        _reconfigure(stream, "backslashreplace")

    def write(self, text: str) -> int:
        """Write text; returns its number of letters."""
        self.stream.write(escaped_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    @classmethod
    def over(cls, stream: TextIO) -> Guarded:
        """Guard another stream the same way: `jobs.run.logs` replaces this one."""
        return cls(stream)

    def restore(self) -> TextIO:
        """Restore the stream and return it."""
        if self._errors is not None:
            _reconfigure(self.stream, self._errors)
        return self.stream

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach"):
            raise AttributeError(name)
        return getattr(self.stream, name)


class _Bars:
    """The same stream for tqdm, whose lines start with a return to the start of the line."""

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded

    def write(self, text: str) -> int:
        if text.startswith("\r"):
            self._guarded.stream.write("\r" + escaped(text[1:]))
        else:
            self._guarded.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guarded, name)


def _reconfigure(stream: TextIO, errors: str) -> None:
    if hasattr(stream, "reconfigure"):  # streams of notebooks and tests may lack it
        stream.reconfigure(errors=errors)


def bar_stream() -> TextIO:
    """Standard error, for progress bars and for lines above them."""
    return cast("TextIO", getattr(sys.stderr, "bars", sys.stderr))


class Block(str):
    """Text of several lines, in which all foreign text is escaped."""

    __slots__ = ()


def say(*lines: str, to: TextIO | None = None) -> None:
    """Print lines on standard output, or on another stream; a `Block` is several lines."""
    for line in lines:
        print(line if isinstance(line, Block) else escaped(line), file=to)
    if to is not None:
        to.flush()


def guard_streams() -> None:
    """Guard standard output and error until the process ends, including its last traceback."""
    _guard()
    sys.excepthook = traceback.print_exception  # Python's own adds colours


def _guard() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):  # None if the process has no such stream
            setattr(sys, name, Guarded(stream))


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard standard output and error during a block."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    _guard()
    try:
        yield
    finally:
        for name, stream in before.items():
            guarded = getattr(sys, name)
            if guarded is not stream and isinstance(guarded, Guarded):
                setattr(sys, name, guarded.restore())
