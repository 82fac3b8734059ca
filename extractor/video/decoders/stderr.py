"""Captures what decord's FFmpeg writes to the process's standard error while decord has a file open.

decord offers no other way to learn of damage that FFmpeg conceals. Its decoder works ahead in a thread of its own, so
messages come between calls, too: file descriptor 2 points to a temporary file all that time. Lines that others write
there are recognised by their form and passed on whenever the file is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from typing import IO

_FFMPEG = re.compile(
    r"\s*\[[^\]]+ @ (?:0x)?[0-9a-f]+\]"
    r"|\s*Last message repeated \d+ times"
    r"|Consider increasing the value for the '\w+'"  # second line of a message, without a prefix
)
_DECORD = re.compile(r"\[\d\d:\d\d:\d\d\] \S+\.(?:cc|h|cpp):\d+:")


def is_decoder_line(line: str) -> bool:
    """Whether a line has the form of a message of FFmpeg ("[h264 @ 0x55d0] ...") or decord ("[12:00:00] x.cc:1:")."""
    return bool(_FFMPEG.match(line) or _DECORD.match(line))


class _Redirection:
    """File descriptor 2, redirected to a temporary file. All captures of the process share it; the last one ends it."""

    def __init__(self) -> None:
        self.users = 0
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in restore, when the last user leaves)
        self.passed_on = 0  # bytes of the file whose foreign lines have been passed on
        self.saved: int | None = None
        with contextlib.suppress(OSError):  # a daemon may have closed it
            self.saved = os.dup(2)
        os.dup2(self.file.fileno(), 2)

    def read(self, start: int, *, to_end: bool) -> tuple[list[str], int]:
        """Complete lines from byte `start` on (to_end: also an unfinished last one), and where they end."""
        size = os.fstat(self.file.fileno()).st_size
        content = os.pread(self.file.fileno(), size - start, start) if size > start else b""
        if not to_end:
            content = content[: content.rfind(b"\n") + 1]
        return content.decode(errors="replace").splitlines(), start + len(content)

    def pass_on(self, *, to_end: bool) -> None:
        """Write the lines that are not the decoder's to the real standard error."""
        lines, self.passed_on = self.read(self.passed_on, to_end=to_end)
        foreign = [line for line in lines if not is_decoder_line(line)]
        if foreign and self.saved is not None:
            os.write(self.saved, ("\n".join(foreign) + "\n").encode())

    def restore(self) -> None:
        if self.saved is None:
            os.close(2)
        else:
            os.dup2(self.saved, 2)
        self.pass_on(to_end=True)
        if self.saved is not None:
            os.close(self.saved)
        self.file.close()


class _Process:
    """The redirection of this process, if there is one."""

    lock = threading.Lock()
    redirection: _Redirection | None = None


class StderrCapture:
    """Context in which the process's standard error is read instead of shown. Several may be open at a time.

    They share one redirection: a message of one decoder counts for all that are open. At worst that costs a second
    decoding, and it never hides a message.
    """

    def __init__(self) -> None:
        self._start = 0

    def __enter__(self) -> StderrCapture:
        with _Process.lock:
            shared = _Process.redirection = _Process.redirection or _Redirection()
            shared.users += 1
            self._start = os.fstat(shared.file.fileno()).st_size
        return self

    def take(self, *, to_end: bool = False) -> list[str]:
        """The decoder's lines since the last call; other lines go to the real standard error."""
        with _Process.lock:
            shared = _Process.redirection
            if shared is None:
                return []
            shared.pass_on(to_end=to_end)
            lines, self._start = shared.read(self._start, to_end=to_end)
        return [line for line in lines if is_decoder_line(line)]

    def __exit__(self, *_: object) -> None:
        with _Process.lock:
            shared = _Process.redirection
            if shared is None:
                return
            shared.users -= 1
            if not shared.users:
                _Process.redirection = None
                shared.restore()
