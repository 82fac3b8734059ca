"""The standard streams while a command runs: whatever is printed, nothing but text and line breaks reaches a terminal.

No command colours its output or moves the cursor, so a control character is always somebody else's: of a file name, an
id, a message of a library. The one exception is tqdm, whose bars return to the start of their line.

Commands print by `say`, to which a text is one line: what it holds of a file's name or of an id cannot end that line.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from schemas.escaping import escaped, escaped_lines

__all__ = ["Block", "Guarded", "bar_stream", "guard_streams", "guarded_streams", "say"]


class Guarded:
    """A text stream that shows control characters by their escapes, and letters that its encoding lacks likewise.

    Everything else is the stream's. Its `buffer` is hidden, as bytes would pass by: click looks for it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.bars = _Bars(self)
        self._errors = getattr(stream, "errors", None)
        _reconfigure(stream, "backslashreplace")

    def write(self, text: str) -> int:
        """Write text; gives the number of letters it had."""
        self.stream.write(escaped_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    @classmethod
    def over(cls, stream: TextIO) -> Guarded:
        """Another stream, guarded likewise: `jobs.run.logs` puts one in the place of this."""
        return cls(stream)

    def restore(self) -> TextIO:
        """The stream as it was."""
        if self._errors is not None:
            _reconfigure(self.stream, self._errors)
        return self.stream

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach"):
            raise AttributeError(name)
        return getattr(self.stream, name)


class _Bars:
    """The same stream for tqdm, which begins each of its lines by returning to the start of the one before."""

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
    if hasattr(stream, "reconfigure"):  # a stream of a notebook or of a test may not have it
        stream.reconfigure(errors=errors)


def bar_stream() -> TextIO:
    """The standard error for progress bars, and for lines that are to stand above them."""
    return cast("TextIO", getattr(sys.stderr, "bars", sys.stderr))


class Block(str):
    """Text of several lines whose breaks are ours: all foreign text in it is escaped."""

    __slots__ = ()


def say(*lines: str, to: TextIO | None = None) -> None:
    """Print lines on the standard output, or on another stream; a `Block` is several."""
    for line in lines:
        print(line if isinstance(line, Block) else escaped(line), file=to)
    if to is not None:
        to.flush()


def guard_streams() -> None:
    """Guard the standard output and error until the process ends, its last traceback included."""
    _guard()
    sys.excepthook = traceback.print_exception  # Python's own colours what it prints


def _guard() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):  # None in a process without
            setattr(sys, name, Guarded(stream))


@contextmanager
def guarded_streams() -> Iterator[None]:
    """The same during a block."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    _guard()
    try:
        yield
    finally:
        for name, stream in before.items():
            guarded = getattr(sys, name)
            if guarded is not stream and isinstance(guarded, Guarded):
                setattr(sys, name, guarded.restore())
