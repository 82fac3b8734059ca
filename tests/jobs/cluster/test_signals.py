from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.cluster.signals import Interruptions, interruptible_from_threads, keeping_handlers
from tests.jobs.running import SMALL, Running
from training.world.videos import write_demo_videos

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
        assert not interruptions.newly_happened()
        os.kill(os.getpid(), number)
        assert interruptions.happened
        assert [interruptions.newly_happened(), interruptions.newly_happened()] == [True, False]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_interruption_that_python_dropped_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the interruption is raised here, and dropped

    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))
    with Interruptions() as interruptions:
        interruptions.raise_again()
        Dropping()
        assert dropped == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            interruptions.raise_again()
        with pytest.raises(KeyboardInterrupt):
            interruptions.drain_on_first()


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    with pytest.raises(ValueError, match="mine"), Interruptions():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.parametrize("number", BOTH)
def test_handlers_that_others_put_in_between_are_not_heard(number: signal.Signals) -> None:
    """Such as those of `ray.init`."""
    before = [signal.getsignal(number) for number in BOTH]
    with Interruptions():
        with pytest.raises(KeyboardInterrupt), keeping_handlers():
            signal.signal(number, lambda number, frame: None)
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert [signal.getsignal(number) for number in BOTH] == before
    assert signal.signal.__module__ == "signal"


def test_another_thread_makes_the_main_one_leave() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with pytest.raises(KeyboardInterrupt), interruptible_from_threads() as leave:
        assert leave is not None
        threading.Timer(0.1, leave).start()
        time.sleep(60)
    assert signal.getsignal(signal.SIGUSR2) is before
    leave()  # too late: nothing happens


def test_nobody_leaves_where_it_is_not_the_main_thread() -> None:
    yielded: list[object] = []

    def enter() -> None:
        with interruptible_from_threads() as leave:
            yielded.append(leave)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert yielded == [None]


def test_handlers_of_other_signals_are_heard() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with keeping_handlers():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.signal(signal.SIGUSR1, before) == signal.SIG_IGN


@pytest.mark.ray
@pytest.mark.slow  # the handlers above, and `keeping_handlers` around the start of Ray, are its parts
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_sigterm_while_ray_starts_is_a_ctrl_c(seconds: float, tmp_path: Path) -> None:
    write_demo_videos(tmp_path / "videos", 1, height=64, width=64, seconds=(2.0, 3.0))
    store = tmp_path / "store"
    running = Running("extract", tmp_path / "videos", "--out", store, *SMALL)
    running.wait_for((store / "logs").exists)  # the step before Ray starts
    time.sleep(seconds)
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.end() == 130
    assert "interrupted" in running.err and "Traceback" not in running.err and "SIGTERM" not in running.err


def test_a_process_ends_by_its_code_where_the_interpreter_would_abort() -> None:
    """As Ray does when it is interrupted during a fraction of a second of its start."""
    script = """
import atexit, os, sys, jobs.cli.main, msnet_features

class Aborting:
    def __del__(self):
        os.abort()

kept = Aborting()
atexit.register(print, "exit handlers are called")
jobs.cli.main.main = lambda: sys.exit(CODE)
msnet_features.main()
"""
    for code, ending in ((130, 130), (2, 2), ("'a sentence'", -signal.SIGABRT)):
        command = [sys.executable, "-c", script.replace("CODE", str(code))]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (ending, "exit handlers are called\n"), ended.stderr


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
