"""Files that one process appends to while others read them, and sealed lines in them.

A line is the SHA-256 of a JSON text, in hex, a space and that text, between two line breaks: one changed bit costs one
line, wherever it lies. What follows the last line break was cut off by a crash, and counts as not written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import StoreError

_MAX_LINE_BYTES = 128 * 1024 * 1024  # a record of a million clips has some 60 MB


class AppendOnlyFile:
    """A new file at `path`, or an existing one of which the first `kept` bytes stay. A write that fails leaves it as it
    was.
    """

    def __init__(self, path: Path, kept: int | None = None) -> None:
        self.path = path
        self.size = kept or 0
        self._durable = 0
        how = os.O_CREAT | os.O_EXCL if kept is None else 0
        self._handle = os.open(path, os.O_RDWR | how | getattr(os, "O_CLOEXEC", 0), 0o666)
        if kept is not None:
            os.ftruncate(self._handle, kept)

    def append(self, pieces: Sequence[memoryview]) -> int:
        """Append pieces of bytes one after another; returns the offset of the first."""
        start = end = self.size
        try:
            for piece in pieces:
                done = 0
                while done < len(piece):
                    done += os.pwrite(self._handle, piece[done:], end + done)
                end += done
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._handle, start)
            raise
        self.size = end
        return start

    def sync(self) -> None:
        """Make what was appended so far durable. Raises FileNotFoundError if the file was removed meanwhile."""
        if self._durable < self.size:
            os.fsync(self._handle)
            self._durable = self.size
        if not os.path.samestat(self.path.stat(), os.fstat(self._handle)):
            raise FileNotFoundError(2, "another file took its place", str(self.path))

    def close(self) -> None:
        """Close the file. Harmless if it is closed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def encode_line(content: Mapping[str, Any]) -> bytes:
    """A JSON object as a sealed line, with the line breaks around it; raises StoreError if it is too long."""
    text = json.dumps(content, separators=(",", ":")).encode()
    if len(text) > _MAX_LINE_BYTES - 100:
        raise StoreError(
            f"expected a record of at most {_MAX_LINE_BYTES:,} bytes; got {len(text):,}. Cut the video into segments"
        )
    return b"\n%s %s\n" % (_seal(text), text)


def decode_line(line: bytes) -> dict[str, Any]:
    """Inverse of `encode_line`, with or without the first line break; raises ValueError if any bit has changed."""
    text = _text_of(line)
    if text is None:
        raise ValueError("its seal does not hold")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("expected an object")
    return document


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of every line of a file, sound or not, empty ones left out. Holds one line in memory.

    Ends at a line that is longer than any of ours: the file may be a hole of terabytes.
    """
    with path.open("rb") as file:
        offset = 0
        while line := file.readline(_MAX_LINE_BYTES):
            if len(line) == _MAX_LINE_BYTES:
                return
            if line != b"\n":
                yield offset, line
            offset += len(line)


def line_at(path: Path, offset: int) -> bytes:
    """The line at an offset that `lines` gave."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.readline(_MAX_LINE_BYTES)


def is_damaged(line: bytes) -> bool:
    """Whether a line was written and then changed: its seal does not hold, and it is not just cut off."""
    if line.endswith(b"\n"):
        return _text_of(line) is None
    return _text_of(line[:-1] + b"\n") is not None  # all of it is there, and the line break has changed


def _text_of(line: bytes) -> bytes | None:
    """The JSON text of a line whose seal holds."""
    seal, _, text = line.removeprefix(b"\n").partition(b" ")
    sound = text.endswith(b"\n") and seal == _seal(text[:-1])
    return text[:-1] if sound else None


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
