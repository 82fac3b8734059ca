"""Ctrl-C and SIGTERM: the first lets the videos at hand finish, the second leaves at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interruptions"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """Counts interruptions. `happened` is True from the first on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.happened = False
        self._say = say

    @contextmanager
    def on_first(self, drain: Callable[[], None]) -> Iterator[None]:
        """Within the block the first signal calls `drain`, the second raises KeyboardInterrupt.

        Signals reach the main thread only; elsewhere (a notebook's worker, a test) the block changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.happened:
                raise KeyboardInterrupt
            self.happened = True
            self._say("finishing the videos at hand; interrupt again to leave at once (nothing finished is lost)")
            drain()

        before = {number: signal.signal(number, handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
