"""Ctrl-C and SIGTERM: during extraction the first lets the videos in progress finish, the next one stops at once.

Batch schedulers end jobs with SIGTERM; all of `msnet` treats it as Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FROM_THREADS = signal.SIGUSR2


class Interruptions:
    """Handles both signals while entered. `happened` becomes True at the first signal after `drain_on_first`.

    The handler only sets a flag or raises KeyboardInterrupt: anything more might interrupt itself. Signals reach the
    main thread only; entered in another thread (of a notebook, of a test) it does nothing.
    """

    def __init__(self) -> None:
        self.happened = False
        self._drains = False
        self._raised = False
        self._noticed = False
        self._before: dict[signal.Signals, Any] = {}

    def drain_on_first(self) -> None:
        """Let the first signal from now on only set `happened`, so that the caller can finish the work in progress."""
        self.raise_again()
        self._drains = True

    def raise_again(self) -> None:
        """Raise KeyboardInterrupt again if it was raised and dropped.

        Python drops what is raised in its own callbacks, such as those of weak references; imports run many of them.
        """
        if self._raised:
            raise KeyboardInterrupt

    def newly_happened(self) -> bool:
        """True once, after the first signal that drains."""
        noticed, self._noticed = self._noticed, self.happened
        return self.happened and not noticed

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.happened or not self._drains:
            self._raised = True
            raise KeyboardInterrupt
        self.happened = True


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """Keep the handlers of our signals during the block: other handlers for them are ignored.

    This is for `ray.init`. While it runs, with handlers of its own, SIGTERM would silently end the process with an
    arbitrary exit code, and Ray's C++ would print its stack. If Python drops an interruption meanwhile (logging has a
    callback for forks), nothing is printed: `Interruptions.raise_again` raises it later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    register = signal.signal

    def without_ours(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in kept else register(number, handler)

    report = sys.unraisablehook

    def without_interruptions(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            report(dropped)

    signal.signal, sys.unraisablehook = without_ours, without_interruptions  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal, sys.unraisablehook = register, report
        for number, handler in kept.items():
            register(number, handler)  # also replaces handlers that C++ set, which Python does not see


@contextmanager
def interruptible_from_threads() -> Iterator[Callable[[], None] | None]:
    """Yield a function with which other threads raise KeyboardInterrupt in the main thread while the block runs.

    It sends a signal: while Ray's C++ waits, it checks for signals every second, and for nothing else. Yields None if
    the block is entered outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    inside = True

    def leave(number: int, frame: FrameType | None) -> None:
        if inside:
            raise KeyboardInterrupt

    def ask() -> None:
        if inside and (main := threading.main_thread().ident) is not None:
            signal.pthread_kill(main, _FROM_THREADS)

    before = signal.signal(_FROM_THREADS, leave)
    try:
        yield ask
    finally:
        inside = False
        signal.signal(_FROM_THREADS, before)
