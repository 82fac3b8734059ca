from __future__ import annotations

import os
import signal
import threading

import pytest

from jobs.signals import Interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_drains_and_the_second_leaves(number: signal.Signals) -> None:
    said: list[str] = []
    drained: list[int] = []
    interruptions = Interruptions(said.append)
    with pytest.raises(KeyboardInterrupt), interruptions.on_first(lambda: drained.append(1)):
        assert not interruptions.happened
        os.kill(os.getpid(), number)
        assert interruptions.happened
        assert (len(said), drained) == (1, [1])
        os.kill(os.getpid(), number)
    assert drained == [1]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruptions(lambda line: None).on_first(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    with pytest.raises(ValueError, match="mine"), Interruptions(lambda line: None).on_first(lambda: None):
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with Interruptions(lambda line: None).on_first(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
