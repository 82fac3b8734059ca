from __future__ import annotations

import os
import signal
import threading

import pytest

from jobs.signals import Interruptions

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", BOTH)
def test_signal_leaves_at_once_before_there_is_anything_to_drain(number: signal.Signals) -> None:
    with Interruptions() as interruptions, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert not interruptions.happened


@pytest.mark.parametrize("number", BOTH)
def test_first_signal_drains_and_the_second_leaves(number: signal.Signals) -> None:
    with Interruptions() as interruptions:
        interruptions.drain_on_first()
        assert not interruptions.news()
        os.kill(os.getpid(), number)
        assert interruptions.happened
        assert [interruptions.news(), interruptions.news()] == [True, False]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    with pytest.raises(ValueError, match="mine"), Interruptions():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in BOTH] == before


def test_handlers_of_others_put_in_between_are_replaced_and_forgotten() -> None:
    """As those of `ray.init`."""
    before = [signal.getsignal(number) for number in BOTH]
    with Interruptions() as interruptions:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        interruptions.install()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_other_threads_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with Interruptions():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
