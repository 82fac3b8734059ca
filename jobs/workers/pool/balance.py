"""How many decoders an extractor has: more while its device waits for frames, fewer while they are ahead of it."""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW_SECONDS = 5.0
_WAITING_SHARE = 0.1  # of a window in which the device had nothing to compute: above it, more decoders would help
_AHEAD_SHARE = 0.95  # of a window's looks at which every decoder had frames ready: above it, one is too many
_WINDOWS_AHEAD = 3  # in a row, before a decoder is given up: starting one takes seconds
_MOST_GROWTH = 1.0  # twice as many decoders at a time: files may have come slowly for another reason


class Balance:
    """Looks at each turn of an extractor's loop, and says now and then by how many decoders to change.

    A window begins with the first look, and anew with each change.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows_ahead = 0
        self._begin()

    def _begin(self) -> None:
        self._began: float | None = None
        self._waited = 0.0
        self._looks = self._ahead = 0

    def look(self, waited_seconds: float, all_ready: bool) -> None:
        """Take note of a turn: how long the device waited for frames, and whether every decoder had some ready."""
        if self._began is None:
            self._began = self._clock()
        self._waited += waited_seconds
        self._looks += 1
        self._ahead += all_ready

    def change(self, decoders: int) -> tuple[int, str]:
        """By how many decoders to change the number, and why; 0 until there is a reason."""
        elapsed = 0.0 if self._began is None else self._clock() - self._began
        if elapsed < _WINDOW_SECONDS:
            return 0, ""
        waiting, ahead = self._waited / elapsed, self._ahead / max(1, self._looks)
        self._begin()
        self._windows_ahead = self._windows_ahead + 1 if ahead > _AHEAD_SHARE else 0
        if waiting > _WAITING_SHARE:
            missing = min(_MOST_GROWTH, waiting / max(0.01, 1 - waiting))  # for a device that is busy all the time
            return max(1, round(decoders * missing)), f"the device waited for frames {waiting:.0%} of the time"
        if self._windows_ahead >= _WINDOWS_AHEAD:
            self._windows_ahead = 0
            return -1, "decoders are ahead of the device"
        return 0, ""
