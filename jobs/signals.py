"""Ctrl-C and SIGTERM: during extraction the first lets the videos at hand finish, any other leaves at once."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruptions"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions(AbstractContextManager["Interruptions"]):
    """While entered, both signals are ours. `happened` is True from the first one on that was allowed to drain.

    The handler only sets a flag or raises KeyboardInterrupt: whatever it would do might interrupt itself. Signals
    reach the main thread only; entered elsewhere (a notebook's worker, a test) it changes nothing.
    """

    def __init__(self) -> None:
        self.happened = False
        self.draining = False
        self._told = False
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Take the signals (again): `ray.init` puts handlers of its own in place."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.signal(number, self._handle)
                self._before.setdefault(number, handler)

    def drain_on_first(self) -> None:
        """From now on the first signal only sets `happened`; whoever asks for it lets the work at hand finish."""
        self.draining = True

    def news(self) -> bool:
        """True once, after the first signal that drains."""
        told, self._told = self._told, self.happened
        return self.happened and not told

    def __enter__(self) -> Interruptions:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.happened or not self.draining:
            raise KeyboardInterrupt
        self.happened = True
