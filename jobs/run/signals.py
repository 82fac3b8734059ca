"""Ctrl-C and SIGTERM: during extraction the first lets the videos at hand finish, any other leaves at once.

SIGTERM is what batch schedulers end jobs by; all of `msnet` takes it as a Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruptions", "interruptible_from_threads", "keeping_handlers"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FROM_ELSEWHERE = signal.SIGUSR2


class Interruptions(AbstractContextManager["Interruptions"]):
    """While entered, both signals are ours. `happened` is True from the first one on that was allowed to drain.

    The handler only sets a flag or raises KeyboardInterrupt: whatever it would do might interrupt itself. Signals
    reach the main thread only; entered elsewhere (a notebook's worker, a test) it changes nothing.
    """

    def __init__(self) -> None:
        self.happened = False
        self.draining = False
        self._left = False
        self._told = False
        self._before: dict[signal.Signals, Any] = {}

    def drain_on_first(self) -> None:
        """From now on the first signal only sets `happened`; whoever asks for it lets the work at hand finish."""
        self.raise_again()
        self.draining = True

    def raise_again(self) -> None:
        """Raise KeyboardInterrupt again where it was raised and nobody heard.

        Python drops what is raised in a callback of its own, such as those of weak references, and importing has many.
        """
        if self._left:
            raise KeyboardInterrupt

    def newly_happened(self) -> bool:
        """True once, after the first signal that drains."""
        told, self._told = self._told, self.happened
        return self.happened and not told

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.happened or not self.draining:
            self._left = True
            raise KeyboardInterrupt
        self.happened = True


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """Whoever asks for another handler of our signals during the block is not heard.

    `ray.init` is meant: SIGTERM would end the process in silence, by one code or another, for the seconds that it
    takes, and its parts in C++ would print their stack. An interruption that Python drops meanwhile (logging
    has a callback for forks) is not told: `Interruptions.raise_again` raises it again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    register = signal.signal

    def without_ours(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in kept else register(number, handler)

    tell = sys.unraisablehook

    def without_interruptions(told: Any) -> None:
        if told.exc_type is not KeyboardInterrupt:
            tell(told)

    signal.signal, sys.unraisablehook = without_ours, without_interruptions  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal, sys.unraisablehook = register, tell
        for number, handler in kept.items():
            register(number, handler)  # what C++ put there goes unnoticed by Python


@contextmanager
def interruptible_from_threads() -> Iterator[Callable[[], None] | None]:
    """Yield a function by which another thread raises KeyboardInterrupt in the main one while the block runs.

    It is done by a signal: Ray's C++ looks for those every second while it waits, and for nothing else. None where the
    block is entered outside the main thread.
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
            signal.pthread_kill(main, _FROM_ELSEWHERE)

    before = signal.signal(_FROM_ELSEWHERE, leave)
    try:
        yield ask
    finally:
        inside = False
        signal.signal(_FROM_ELSEWHERE, before)
